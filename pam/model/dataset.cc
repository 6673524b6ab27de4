// SPDX-License-Identifier: Apache-2.0
// See dataset.h.
#include "pam/model/dataset.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace shadow::pam {

std::array<std::uint32_t, kHazards> HazardEnds(std::int64_t window_us) {
  constexpr std::int64_t kSeconds[kHazards] = {60, 300, 3600, 86'400};
  std::array<std::uint32_t, kHazards> ends{};
  std::uint32_t previous = 0;
  for (int j = 0; j < kHazards; ++j) {
    const auto windows = static_cast<std::uint32_t>(kSeconds[j] * 1'000'000 / window_us);
    ends[j] = std::max(previous + 1, windows);
    previous = ends[j];
  }
  return ends;
}

double SampleRate(std::uint32_t idle, double keep) {
  // Active ones always; then in proportion to 1 / idle, so every decade of age gets as many.
  return std::min(1.0, keep * 64.0 / (1.0 + idle));
}

double SampleDraw(std::uint32_t block, std::uint32_t window, std::uint64_t seed) {
  std::uint64_t x = (std::uint64_t{block} << 32 | window) + seed * 0x9e3779b97f4a7c15ull;
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1p-53;
}

Recorder::Recorder(std::int64_t window_us, std::size_t max_samples, std::uint64_t seed)
    : max_samples_(std::max<std::size_t>(max_samples, 1000)), seed_(seed) {
  data_.ends = HazardEnds(window_us);
  data_.half_life = kFutureHalfLife * 60e6 / static_cast<double>(window_us);
}

void Recorder::Observe(const FeatureEngine& engine, const Window& window) {
  const std::uint32_t at = engine.now();
  data_.windows = at;
  data_.block_events.resize(engine.size());
  for (std::size_t i = 0; i < engine.active().size(); ++i) {
    const auto number = static_cast<std::uint32_t>(data_.event_window.size());
    data_.block_events[engine.active()[i]].push_back(number);
    data_.event_window.push_back(at - 1);
    data_.event_count.push_back(window.accesses[i].count);
    data_.event_writes.push_back(window.accesses[i].writes);
    const auto ev = engine.event(i);
    data_.events.insert(data_.events.end(), ev.begin(), ev.end());
  }
  float row[kFeatures];
  for (std::uint32_t b = 0; b < engine.size(); ++b) {
    const std::uint32_t idle = engine.Idle(b);
    const double rate = SampleRate(idle, keep_);
    if (rate < 1.0 && SampleDraw(engine.state(b).block, at, seed_) >= rate) continue;
    if (data_.block_events[b].empty()) continue;  // its events were dropped with the oldest
    Sample s;
    s.block = b;
    s.event = data_.block_events[b].back();
    s.at = at;
    s.weight = static_cast<float>(1.0 / rate);
    data_.samples.push_back(s);
    data_.sample_idle.push_back(idle);
    data_.sample_block.push_back(engine.state(b).block);
    engine.Query(b, row);
    data_.features.insert(data_.features.end(), row, row + kFeatures);
  }
  if (data_.samples.size() > max_samples_ || data_.event_window.size() > 2 * max_samples_) Thin();
}

void Recorder::Thin() {
  const double least = 1.0 / 32;
  if (keep_ > 1e6) keep_ = 64;
  while (keep_ > least) {  // thinner among the idle
    keep_ /= 2;
    std::size_t left = 0;
    for (std::size_t i = 0; i < data_.samples.size(); ++i) {
      const double rate = SampleRate(data_.sample_idle[i], keep_);
      left += SampleDraw(data_.sample_block[i], data_.samples[i].at, seed_) < rate ? 1 : 0;
    }
    if (left < max_samples_ * 3 / 4) break;
  }
  const bool drop_oldest = keep_ <= least || data_.event_window.size() > 2 * max_samples_;
  if (drop_oldest && !data_.samples.empty()) {
    oldest_ = data_.samples[data_.samples.size() / 4].at;
  }
  const std::uint32_t oldest_event = oldest_ > 64 ? oldest_ - 64 : 0;  // some memory before them
  // Events first: renumber, and remember where each went.
  std::vector<std::uint32_t> moved(data_.event_window.size(), kNever);
  std::uint32_t kept = 0;
  for (std::uint32_t e = 0; e < data_.event_window.size(); ++e) {
    if (data_.event_window[e] < oldest_event) continue;
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
  }
  std::size_t n = 0;
  for (std::size_t i = 0; i < data_.samples.size(); ++i) {
    Sample s = data_.samples[i];
    const double rate = SampleRate(data_.sample_idle[i], keep_);
    if (s.at < oldest_ || moved[s.event] == kNever ||
        SampleDraw(data_.sample_block[i], s.at, seed_) >= rate) {
      continue;
    }
    s.event = moved[s.event];
    s.weight = static_cast<float>(1.0 / rate);
    data_.samples[n] = s;
    data_.sample_idle[n] = data_.sample_idle[i];
    data_.sample_block[n] = data_.sample_block[i];
    std::copy_n(data_.features.begin() + static_cast<std::ptrdiff_t>(i) * kFeatures, kFeatures,
                data_.features.begin() + static_cast<std::ptrdiff_t>(n) * kFeatures);
    ++n;
  }
  data_.samples.resize(n);
  data_.sample_idle.resize(n);
  data_.sample_block.resize(n);
  data_.features.resize(n * kFeatures);
}

Dataset& Recorder::Labelled() {
  (void)Label(&data_, data_.windows).ok();  // cannot fail: the end is what was observed
  return data_;
}

std::size_t Recorder::Bytes() const {
  return data_.samples.capacity() * sizeof(Sample) + data_.features.capacity() * sizeof(float) +
         data_.events.capacity() * sizeof(float) + data_.event_window.capacity() * 12 +
         data_.sample_idle.capacity() * 8 + data_.block_events.capacity() * 24 +
         data_.event_window.size() * 4;
}

Dataset Replay(std::span<const Window> windows, const EngineOptions& options,
               std::size_t max_samples, std::uint64_t seed) {
  FeatureEngine engine(options);
  Recorder recorder(options.window_us, max_samples, seed);
  for (const Window& w : windows) {
    engine.Close(w);
    recorder.Observe(engine, w);
  }
  return std::move(recorder.Labelled());
}

Status Label(Dataset* data, std::uint32_t end) {
  if (end > data->windows) {
    return MakeError(Code::kInvalidArgument,
                     "labels up to window " + std::to_string(end) + " of a replay of " +
                         std::to_string(data->windows) + " would look beyond what is known");
  }
  const double decay = std::exp2(-1.0 / data->half_life);
  // future[e]: discounted sum over events e, e+1, ... of the block, as of the window of e.
  std::vector<double> future(data->event_window.size(), 0.0);
  std::vector<double> writes(data->event_window.size(), 0.0);
  std::vector<std::uint32_t> following(data->event_window.size(), kNever);
  for (const auto& list : data->block_events) {
    double f = 0;
    double fw = 0;
    std::uint32_t next = kNever;
    for (auto it = list.rbegin(); it != list.rend(); ++it) {
      const std::uint32_t e = *it;
      const std::uint32_t w = data->event_window[e];
      if (w >= end) continue;
      if (next != kNever) {
        const double keep = std::pow(decay, data->event_window[next] - w);
        f *= keep;
        fw *= keep;
      }
      f += data->event_count[e];
      fw += data->event_writes[e];
      future[e] = f;
      writes[e] = fw;
      following[e] = next;
      next = e;
    }
  }
  for (Sample& s : data->samples) {
    s.exposure = s.at < end ? end - s.at : 0;
    const std::uint32_t e = s.exposure > 0 ? following[s.event] : kNever;
    s.next = e == kNever ? kNever : data->event_window[e];
    s.mass = static_cast<float>((1.0 - std::pow(decay, s.exposure)) / (1.0 - decay));
    s.future = s.future_writes = 0;
    if (e != kNever) {
      const double keep = std::pow(decay, s.next - s.at);
      s.future = static_cast<float>(future[e] * keep);
      s.future_writes = static_cast<float>(writes[e] * keep);
    }
  }
  return Ok();
}

}  // namespace shadow::pam
