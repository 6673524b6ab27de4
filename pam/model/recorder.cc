// SPDX-License-Identifier: Apache-2.0
// See recorder.h. As bytes: recorder_io.cc.
#include "pam/model/recorder.h"

#include <algorithm>
#include <cmath>

namespace shadow::pam {
namespace {

constexpr double kLeastKeep = 1.0 / 32;
constexpr double kLeastFollow = 1.0 / (1 << 20);
constexpr std::size_t kMemory = 32;  // events that lead up to a sample; training reads 16 to 31
/// No window brings more than this share of the record, so that a flood is met before it is stored.
constexpr std::size_t kWindowShare = 8;

std::uint32_t PerSpan(std::int64_t span_us, std::int64_t window_us) {
  return static_cast<std::uint32_t>(std::max<std::int64_t>(1, span_us / window_us));
}

}  // namespace

Recorder::Recorder(std::int64_t window_us, std::size_t max_samples, std::uint64_t seed)
    : max_samples_(std::max<std::size_t>(max_samples, 1000)),
      seed_(seed),
      per_hour_(PerSpan(3'600'000'000, window_us)),
      week_(PerSpan(604'800'000'000, window_us)) {
  data_.ends = HazardEnds(window_us);
  data_.half_life = kFutureHalfLife * 60e6 / static_cast<double>(window_us);
}

double Recorder::HourRate(std::uint32_t hour) const {
  const auto at = hours_.find(hour);
  return at == hours_.end() ? 1.0 : at->second;
}

bool Recorder::Follows(std::uint32_t block, double rate) const {
  return rate >= 1 || SampleDraw(block, 0xf0110, seed_ + 2) < rate;
}

void Recorder::Choose(const FeatureEngine& engine, std::vector<std::uint32_t>* out) const {
  out->clear();
  const std::uint32_t hour = HourOf(engine.now());
  const double of_hour = HourRate(hour);
  for (std::uint32_t b = 0; b < engine.size(); ++b) {
    const std::uint32_t block = engine.state(b).block;
    if (!Follows(block, follow_)) continue;
    const double rate = SampleRate(engine.Idle(b), keep_);
    if (rate < 1.0 && SampleDraw(block, engine.now(), seed_) >= rate) continue;
    if (of_hour < 1.0 && SampleDraw(block, hour, seed_ + 1) >= of_hour) continue;
    out->push_back(b);
  }
}

void Recorder::Tighten() {
  if (keep_ > kLeastKeep) {
    keep_ = keep_ > 1e6 ? 64 : keep_ / 2;
  } else {
    follow_ = std::max(follow_ / 2, kLeastFollow);
  }
}

void Recorder::LearnBlocks(const FeatureEngine& engine) {
  data_.block_events.resize(engine.size());
  while (blocks_.size() < engine.size()) {
    blocks_.push_back(engine.state(static_cast<std::uint32_t>(blocks_.size())).block);
  }
}

/// Vectors double when they are full; these stop at what they may ever hold.
void Recorder::MakeRoom(std::size_t samples, std::size_t events) {
  const std::size_t n = data_.samples.size() + samples;
  if (n > data_.samples.capacity()) {
    const std::size_t room = std::max(n, std::min(2 * n, max_samples_ * 9 / 8));
    data_.samples.reserve(room);
    drawn_.reserve(room);
    data_.features.reserve(room * kFeatures);
  }
  const std::size_t m = data_.event_window.size() + events;
  if (m > data_.event_window.capacity()) {
    const std::size_t room = std::max(m, std::min(2 * m, max_samples_ * 9 / 4));
    data_.event_window.reserve(room);
    data_.event_count.reserve(room);
    data_.event_writes.reserve(room);
    data_.events.reserve(room * kEventInputs);
  }
}

void Recorder::Observe(const FeatureEngine& engine, const Window& window) {
  const std::uint32_t at = engine.now();
  const std::size_t most = max_samples_ / kWindowShare;
  data_.windows = at;
  LearnBlocks(engine);
  if (at % per_hour_ == 0 && follow_ < 1 && data_.samples.size() < max_samples_ / 4 &&
      RecentEvents() < max_samples_ / 2) {
    follow_ *= 2;
  }
  while (static_cast<double>(window.accesses.size()) * follow_ > static_cast<double>(most) &&
         follow_ > kLeastFollow) {
    follow_ /= 2;
  }
  std::vector<std::uint32_t> chosen;
  Choose(engine, &chosen);
  while (chosen.size() > most && (keep_ > kLeastKeep || follow_ > kLeastFollow)) {
    Tighten();
    Choose(engine, &chosen);
  }
  MakeRoom(chosen.size(), std::min(window.accesses.size(), 2 * most));
  for (std::size_t i = 0; i < engine.active().size(); ++i) {
    if (!Follows(window.accesses[i].block, follow_)) continue;
    const auto number = static_cast<std::uint32_t>(data_.event_window.size());
    data_.block_events[engine.active()[i]].push_back(number);
    data_.event_window.push_back(at - 1);
    data_.event_count.push_back(window.accesses[i].count);
    data_.event_writes.push_back(window.accesses[i].writes);
    const auto ev = engine.event(i);
    data_.events.insert(data_.events.end(), ev.begin(), ev.end());
  }
  float row[kFeatures];
  const double of_hour = HourRate(HourOf(at));
  for (const std::uint32_t b : chosen) {
    if (data_.block_events[b].empty()) continue;  // not followed when it was accessed last
    const std::uint32_t idle = engine.Idle(b);
    Sample s;
    s.block = b;
    s.event = data_.block_events[b].back();
    s.at = at;
    s.weight = static_cast<float>(1.0 / (follow_ * SampleRate(idle, keep_) * of_hour));
    data_.samples.push_back(s);
    drawn_.push_back({idle, static_cast<float>(follow_)});
    engine.Query(b, row);
    data_.features.insert(data_.features.end(), row, row + kFeatures);
    ++taken_;
  }
  if (data_.samples.size() > max_samples_ || data_.event_window.size() > 2 * max_samples_) Thin();
}

bool Recorder::Keeps(std::size_t i) const {
  const Sample& s = data_.samples[i];
  const std::uint32_t block = blocks_[s.block];
  if (s.at + week_ < data_.windows || !Follows(block, follow_)) return false;
  const double rate = SampleRate(drawn_[i].idle, keep_);
  if (rate < 1.0 && SampleDraw(block, s.at, seed_) >= rate) return false;
  const double of_hour = HourRate(HourOf(s.at));
  return of_hour >= 1.0 || SampleDraw(block, HourOf(s.at), seed_ + 1) < of_hour;
}

std::size_t Recorder::Kept() const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < data_.samples.size(); ++i) n += Keeps(i) ? 1 : 0;
  return n;
}

std::size_t Recorder::RecentEvents() const {
  // Events come in the order of their windows.
  const std::uint32_t day = data_.ends[kHazards - 1];
  const std::uint32_t from = data_.windows > day ? data_.windows - day : 0;
  const auto first = std::lower_bound(data_.event_window.begin(), data_.event_window.end(), from);
  return static_cast<std::size_t>(data_.event_window.end() - first);
}

void Recorder::LevelHours(std::size_t target) {
  std::map<std::uint32_t, std::size_t> recent, old;
  std::size_t recent_sum = 0;
  std::size_t old_sum = 0;
  const std::uint32_t newest = HourOf(data_.windows);
  for (std::size_t i = 0; i < data_.samples.size(); ++i) {
    if (!Keeps(i)) continue;
    const std::uint32_t hour = HourOf(data_.samples[i].at);
    const bool late = hour + 1 >= newest;
    ++(late ? recent : old)[hour];
    ++(late ? recent_sum : old_sum);
  }
  const auto level = [this](const std::map<std::uint32_t, std::size_t>& counts, double room) {
    // The height that hours are cut down to: those below it leave their share to the others.
    std::vector<std::size_t> sorted;
    for (const auto& [hour, n] : counts) sorted.push_back(n);
    std::sort(sorted.begin(), sorted.end());
    double height = 0;
    for (std::size_t i = 0; i < sorted.size(); ++i) {
      height = room / static_cast<double>(sorted.size() - i);
      if (static_cast<double>(sorted[i]) > height) break;
      room -= static_cast<double>(sorted[i]);
    }
    for (const auto& [hour, n] : counts) {
      if (static_cast<double>(n) <= height) continue;
      hours_[hour] = HourRate(hour) * height / static_cast<double>(n);
    }
  };
  const std::size_t half = target / 2;
  const std::size_t of_recent = std::max(half, target - std::min(target, old_sum));
  const std::size_t of_old = std::max(half, target - std::min(target, recent_sum));
  if (recent_sum > of_recent) level(recent, static_cast<double>(of_recent));
  if (old_sum > of_old) level(old, static_cast<double>(of_old));
}

void Recorder::Thin() {
  (void)Labelled();
  for (Sample& s : data_.samples) {
    if (s.exposure < data_.ends[kHazards - 1] || s.settled) continue;
    s.settled = true;
    data_.settled_to = data_.windows;
  }
  std::size_t target = max_samples_ * 3 / 4;
  if (data_.samples.size() > max_samples_) {
    do {
      keep_ = keep_ > 1e6 ? 32 : std::max(keep_ / 2, kLeastKeep);
    } while (keep_ > kLeastKeep && Kept() >= target);
  }
  if (Kept() >= target) LevelHours(target);
  Compact();
  while (data_.event_window.size() > 2 * max_samples_ && RecentEvents() > max_samples_ &&
         follow_ > kLeastFollow) {
    follow_ /= 2;
    Compact();
  }
  // Old samples that lie far apart have many events that lead up to them.
  for (int i = 0; i < 6 && data_.event_window.size() > 2 * max_samples_; ++i) {
    target /= 2;
    LevelHours(target);
    Compact();
  }
  const std::uint32_t oldest = data_.windows > week_ ? HourOf(data_.windows - week_) : 0;
  hours_.erase(hours_.begin(), hours_.lower_bound(oldest));
}

void Recorder::Compact() {
  // Which samples stay, and which events: those of the last day, those that lead up to a sample,
  // and the newest of each block, from which its state is rebuilt.
  std::vector<bool> stays(data_.samples.size());
  for (std::size_t i = 0; i < data_.samples.size(); ++i) stays[i] = Keeps(i);
  const std::uint32_t day = data_.ends[kHazards - 1];
  const std::uint32_t recent = data_.windows > day ? data_.windows - day : 0;
  std::vector<bool> wanted(data_.event_window.size(), false);
  for (std::size_t i = 0; i < data_.samples.size(); ++i) {
    if (stays[i]) wanted[data_.samples[i].event] = true;
  }
  std::vector<bool> held(data_.event_window.size(), false);
  for (std::size_t b = 0; b < data_.block_events.size(); ++b) {
    const auto& list = data_.block_events[b];
    std::size_t ahead = list.empty() || !Follows(blocks_[b], follow_) ? 0 : kMemory;
    for (std::size_t k = list.size(); k-- > 0;) {
      const std::uint32_t e = list[k];
      if (wanted[e]) ahead = kMemory;
      const bool followed = data_.event_window[e] >= recent && Follows(blocks_[b], follow_);
      held[e] = ahead > 0 || followed;
      if (ahead > 0) --ahead;
    }
  }
  std::vector<std::uint32_t> moved(data_.event_window.size(), kNever);
  std::uint32_t kept = 0;
  for (std::uint32_t e = 0; e < data_.event_window.size(); ++e) {
    if (!held[e]) continue;
    moved[e] = kept;
    data_.event_window[kept] = data_.event_window[e];
    data_.event_count[kept] = data_.event_count[e];
    data_.event_writes[kept] = data_.event_writes[e];
    std::copy_n(data_.events.begin() + static_cast<std::ptrdiff_t>(e) * kEventInputs, kEventInputs,
                data_.events.begin() + static_cast<std::ptrdiff_t>(kept) * kEventInputs);
    ++kept;
  }
  data_.event_window.resize(kept);
  data_.event_count.resize(kept);
  data_.event_writes.resize(kept);
  data_.events.resize(std::size_t{kept} * kEventInputs);
  for (auto& list : data_.block_events) {
    std::size_t n = 0;
    for (const std::uint32_t e : list) {
      if (moved[e] != kNever) list[n++] = moved[e];
    }
    list.resize(n);
    if (list.capacity() > 2 * n + 8) list.shrink_to_fit();
  }
  std::size_t n = 0;
  for (std::size_t i = 0; i < data_.samples.size(); ++i) {
    if (!stays[i]) continue;
    Sample s = data_.samples[i];
    Drawn d = drawn_[i];
    d.followed = std::min(d.followed, static_cast<float>(follow_));
    s.event = moved[s.event];
    s.weight = static_cast<float>(1.0 / (static_cast<double>(d.followed) *
                                         SampleRate(d.idle, keep_) * HourRate(HourOf(s.at))));
    data_.samples[n] = s;
    drawn_[n] = d;
    std::copy_n(data_.features.begin() + static_cast<std::ptrdiff_t>(i) * kFeatures, kFeatures,
                data_.features.begin() + static_cast<std::ptrdiff_t>(n) * kFeatures);
    ++n;
  }
  data_.samples.resize(n);
  drawn_.resize(n);
  data_.features.resize(n * kFeatures);
}

void Recorder::Cut() {
  for (Sample& s : Labelled().samples) s.settled = true;
  data_.settled_to = data_.windows;
}

Dataset& Recorder::Labelled() {
  (void)Label(&data_, data_.windows).ok();  // cannot fail: the end is what was observed
  return data_;
}

std::size_t Recorder::Bytes() const {
  return data_.samples.capacity() * sizeof(Sample) + drawn_.capacity() * sizeof(Drawn) +
         data_.features.capacity() * sizeof(float) + data_.events.capacity() * sizeof(float) +
         data_.event_window.capacity() * 12 + data_.block_events.capacity() * 24 +
         data_.event_window.size() * 4 + blocks_.capacity() * 4;
}

}  // namespace shadow::pam
