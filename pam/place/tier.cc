// SPDX-License-Identifier: Apache-2.0
// See tier.h.
#include "pam/place/tier.h"

#include <algorithm>
#include <cmath>

namespace shadow::pam::internal {
namespace {

// Of streams; chosen on the training parts, see docs/pam.md.
constexpr int kBriefStream = 3;   // from this length on a stream's accesses are told apart
constexpr double kMostLost = 20;  // accesses: a warm block that makes room comes back for a move
constexpr double kNearlyAll = 0.95;
constexpr std::size_t kAsked = 16;  // of the blocks moved ahead, the oldest: have they been passed?

}  // namespace

void Stats::Access(std::uint32_t block, double minute) {
  Block& b = blocks_[block];
  for (int i = 0; i < kStatHalfLives; ++i) {
    const auto ii = static_cast<std::size_t>(i);
    const double keep = b.minute < 0 ? 0 : std::exp2((b.minute - minute) / kStatMinutes[ii]);
    b.ewma[ii] = static_cast<float>(b.ewma[ii] * keep + 1.0);
  }
  b.minute = minute;
}

double Stats::Ewma(std::uint32_t block, int half_life, double minute) const {
  const Block& b = blocks_[block];
  if (b.minute < 0) return 0;
  const auto h = static_cast<std::size_t>(half_life);
  return b.ewma[h] * std::exp2((b.minute - minute) / kStatMinutes[h]);
}

double Link::Start(double now_ms, double block_mib) {
  if (options_.instant) return now_ms;
  const double each = block_mib / options_.bandwidth_mib * 1000;
  if (free_ms_ - now_ms > each * static_cast<double>(options_.backlog)) return -1;
  free_ms_ = std::max(free_ms_, now_ms) + each;
  return free_ms_ + options_.delay_ms;
}

Tier::Tier(TierRule rule, std::size_t capacity, double block_mib, const Stats& stats,
           const SimOptions& options, const Streams* streams)
    : rule_(std::move(rule)),
      capacity_(std::max<std::size_t>(1, capacity)),
      block_mib_(block_mib),
      stats_(stats),
      options_(options),
      streams_(streams),
      link_(options),
      ready_ms_(stats.size(), -1.0),
      where_(stats.size(), 0),
      for_stream_(streams == nullptr ? 0 : stats.size(), -1.0) {}

double Tier::Value(std::uint32_t block, double minute) const {
  if (!override_value.empty()) return override_value[block];
  if (rule_.lru) return stats_.Last(block);
  if (rule_.bend > 0) {
    return rule_.seconds30 * stats_.Ewma(block, kSeconds30, minute) +
           rule_.minutes10 * stats_.Ewma(block, kMinutes10, minute) +
           rule_.bend * std::log1p(stats_.Ewma(block, kDay1, minute) / rule_.bend);
  }
  const double past = stats_.Ewma(block, kHours4, minute);
  if (rule_.model_share <= 0 || !stats_.model_known) return past;
  return (1 - rule_.model_share) * past + rule_.model_share * stats_.Future(block);
}

bool Tier::Worth(double value, double lost) const {
  return rule_.lru || value - lost > Threshold();
}

void Tier::Drop(std::uint32_t block) {
  const std::uint32_t place = where_[block];
  content_[place] = content_.back();
  where_[content_[place]] = place;
  content_.pop_back();
  ready_ms_[block] = -1;
  if (!for_stream_.empty()) for_stream_[block] = -1;
}

bool Tier::Promote(std::uint32_t block, double minute) {
  const double ready = link_.Start(minute * 60'000, block_mib_);
  if (ready < 0) return false;
  ready_ms_[block] = ready;
  where_[block] = static_cast<std::uint32_t>(content_.size());
  content_.push_back(block);
  ++moves_;
  return true;
}

double Tier::Access(std::uint32_t block, double minute) {
  const double ready = ready_ms_[block];
  const double latency =
      ready >= 0 && ready <= minute * 60'000 ? options_.fast_ms : options_.slow_ms;
  if (rule_.streams && streams_->Length(block) >= 2) {
    if (streams_->Began()) LookAhead(block, minute);
    // What a stream brings in a moment is no sign of a warm block.
    const int length = streams_->Length(block);
    if (length >= kBriefStream && streams_->Expected(0, length) <= Threshold()) return latency;
  }
  if (ready_ms_[block] < 0 && rule_.reactive()) MoveIn(block, Value(block, minute), minute);
  return latency;
}

bool Tier::MoveIn(std::uint32_t block, double value, double minute, double most) {
  if (content_.size() < capacity_) return Worth(value, 0) && Promote(block, minute);
  if (!rule_.lru && value <= Threshold()) return false;
  if (rule_.streams) {
    const std::uint32_t victim = LeftBehind(minute);
    if (victim != Streams::kNone && Worth(value, std::min(Value(victim, minute), most))) {
      Drop(victim);
      return Promote(block, minute);
    }
  }
  // The least valued block: the list is as of the last look, so each is asked again.
  for (int tries = 0; tries < 4; ++tries) {
    if (next_victim_ >= victims_.size()) {
      victims_.assign(content_.begin(), content_.end());
      std::vector<double> v(ready_ms_.size(), 0.0);
      for (const std::uint32_t b : content_) v[b] = Value(b, minute);
      const std::size_t some = std::min<std::size_t>(victims_.size(), 1 + victims_.size() / 8);
      std::partial_sort(victims_.begin(), victims_.begin() + static_cast<std::ptrdiff_t>(some),
                        victims_.end(),
                        [&](std::uint32_t a, std::uint32_t b) { return v[a] < v[b]; });
      victims_.resize(some);
      next_victim_ = 0;
    }
    const std::uint32_t victim = victims_[next_victim_];
    const bool awaited = !for_stream_.empty() && for_stream_[victim] >= 0 &&
                         !streams_->Passed(victim, for_stream_[victim], minute);
    if (ready_ms_[victim] < 0 || (rule_.streams && awaited)) {
      ++next_victim_;
      continue;
    }
    const double lost = Value(victim, minute);
    if (Worth(value, std::min(lost, most))) {
      Drop(victim);
      ++next_victim_;
      return Promote(block, minute);
    }
    if (lost <= value) break;
    ++next_victim_;  // it has become warm since: perhaps the next one has not
  }
  return false;
}

void Tier::LookAhead(std::uint32_t block, double minute) {
  const int length = streams_->Length(block);
  const int far = std::min({Streams::kAhead, length, static_cast<int>(capacity_) - 2});
  double best = 0;
  for (int k = 0; k <= far; ++k) best = std::max(best, streams_->Expected(k, length));
  if (best <= Threshold()) return;
  for (int k = 0; k <= far && block != Streams::kNone; ++k, block = streams_->Right(block)) {
    const double value = streams_->Expected(k, length);
    if (ready_ms_[block] < 0 && MoveIn(block, value, minute, kMostLost)) {
      for_stream_[block] = minute;
      ahead_.push_back(block);
    }
    if (value >= kNearlyAll * best) break;  // no need to be earlier than that
  }
}

std::uint32_t Tier::LeftBehind(double minute) {
  while (!ahead_.empty() && for_stream_[ahead_.front()] < 0) ahead_.pop_front();
  const std::size_t some = std::min(ahead_.size(), kAsked);
  for (std::size_t i = 0; i < some; ++i) {
    const double moved = for_stream_[ahead_[i]];
    if (moved >= 0 && streams_->Passed(ahead_[i], moved, minute)) return ahead_[i];
  }
  return Streams::kNone;
}

void Tier::Rebalance(double minute) {
  if (rule_.lru) return;
  if (rule_.reactive()) return Look();
  const double threshold = rule_.by_rank ? 0 : Threshold();
  std::vector<std::pair<double, std::uint32_t>> out, in;
  for (const std::uint32_t b : content_) in.emplace_back(Value(b, minute), b);
  std::sort(in.begin(), in.end());
  const bool full = content_.size() >= capacity_;
  const double floor = threshold + (full ? in.front().first : 0.0);
  for (std::uint32_t b = 0; b < ready_ms_.size(); ++b) {
    if (ready_ms_[b] >= 0) continue;
    if (override_value.empty() && !stats_.Known(b)) continue;
    const double v = Value(b, minute);
    if (v > floor) out.emplace_back(v, b);
  }
  std::sort(out.rbegin(), out.rend());
  std::size_t victim = 0;
  for (const auto& [value, block] : out) {
    if (content_.size() < capacity_) {
      if (value <= threshold || !Promote(block, minute)) break;
      continue;
    }
    if (victim >= in.size() || value - in[victim].first <= threshold) break;
    Drop(in[victim++].second);
    if (!Promote(block, minute)) break;
  }
  victims_.clear();
  for (std::size_t i = victim; i < in.size(); ++i) victims_.push_back(in[i].second);
  next_victim_ = 0;
}

}  // namespace shadow::pam::internal
