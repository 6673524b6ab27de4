// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/rate_controller.h"

#include <algorithm>
#include <cmath>

namespace shadow {
namespace {

// One row of policy for each impact. Shares are of the measured capacity of the slower side.
struct Mode {
  double start;           // share when application I/O appears
  double most;            // with application I/O
  double least;           // the floor: a copy always finishes
  double latency_factor;  // p99 allowed, as a multiple of the baseline
  double quiet_share;     // without application I/O; 0: not limited
  std::int64_t quiet_us;  // how long it must be quiet to count as none
  double raise;           // additive increase, share per 100 ms
};

constexpr Mode kLowMode = {0.055, 0.10, 0.02, 1.15, 0.70, 2'000'000, 0.0005};
constexpr Mode kBalancedMode = {0.50, 0.70, 0.08, 2.00, 0.00, 1'000'000, 0.01};
constexpr Mode kFullMode = {0.86, 0.86, 0.70, 4.00, 0.00, 300'000, 0.02};

constexpr double kCut = 0.75;  // multiplicative decrease
// After a cut the share stays below what was too much, and forgets that slowly (by so much in 100
// ms).
constexpr double kBelowTrouble = 0.9;
constexpr double kForget = 0.001;
constexpr std::int64_t kCutPauseUs = 300'000;    // a cut needs time to show
constexpr std::int64_t kRememberUs = 5'000'000;  // samples
constexpr double kSlowShare = 0.01;              // the promise is about the 99th percentile
constexpr double kChance = 2;                    // standard deviations
constexpr double kManySlow = 4;
constexpr std::int64_t kLimitedUs = 10'000'000;  // after a cut latency counts as the limit
// Measuring what there is without the copy: how long, after what is in flight has ended; how often.
constexpr std::int64_t kMeasureUs = 2'000'000;
constexpr std::int64_t kDrainUs = 1'000'000;
constexpr std::int64_t kMeasureSoonUs = 20'000'000;
constexpr std::int64_t kMeasureLateUs = 160'000'000;
constexpr std::uint64_t kMeasureIos = 50;
constexpr std::uint64_t kMeasureRate = 512 << 10;  // next to nothing, but not nothing
constexpr std::uint64_t kLatencySlackUs = 100;     // noise of fast devices is no harm
constexpr std::uint64_t kLeastRate = 1 << 20;
constexpr std::uint64_t kUnknownCapacity = std::uint64_t{100} << 20;
constexpr std::uint64_t kFreeInflight = std::uint64_t{2} << 20;
constexpr std::uint64_t kMostPacedBlocks = 16;
constexpr std::uint64_t kGuessedLatencyUs = 2000;

// How many I/Os of the window took longer; within a bucket, as if they lay evenly.
double SlowerThan(const LatencyWindow& app, double us) {
  const std::vector<std::uint64_t>& bounds = BucketBoundsNs();
  double slow = 0;
  for (std::size_t i = 0; i < app.counts.size(); ++i) {
    if (app.counts[i] == 0) continue;
    const auto here = static_cast<double>(app.counts[i]);
    const double low = i == 0 ? 0 : static_cast<double>(bounds.at(std::min(i, bounds.size()) - 1));
    const double high = i < bounds.size() ? static_cast<double>(bounds[i]) : low;
    if (us * 1000 <= low) {
      slow += here;
    } else if (us * 1000 < high) {
      slow += here * (high - us * 1000) / (high - low);
    }
  }
  return slow;
}

void Merge(LatencyWindow* into, const LatencyWindow& more) {
  into->ios += more.ios;
  into->counts.resize(std::max(into->counts.size(), more.counts.size()));
  for (std::size_t i = 0; i < more.counts.size(); ++i) into->counts[i] += more.counts[i];
}

const Mode& ModeOf(Impact impact) {
  switch (impact) {
    case Impact::kLow:
      return kLowMode;
    case Impact::kFull:
      return kFullMode;
    default:
      return kBalancedMode;
  }
}

}  // namespace

std::uint64_t RateController::Capacity() const {
  std::uint64_t capacity = path_.source_bandwidth;
  if (path_.target_bandwidth != 0 && (capacity == 0 || path_.target_bandwidth < capacity)) {
    capacity = path_.target_bandwidth;
  }
  if (capacity != 0) return capacity;
  return best_rate_ != 0 ? best_rate_ : kUnknownCapacity;
}

// Little's law: what is in flight at that rate when a block takes as long as a read, and one more
// so that the device is not idle between blocks.
std::uint64_t RateController::InflightFor(std::uint64_t rate) const {
  if (rate == 0) return std::max(kFreeInflight, 2 * path_.block_bytes);
  const std::uint64_t latency =
      path_.source_latency_us != 0 ? path_.source_latency_us : kGuessedLatencyUs;
  const double blocks_busy = static_cast<double>(rate) * static_cast<double>(latency) / 1e6 /
                             static_cast<double>(path_.block_bytes);
  // A slow copy needs one at a time; a fast one two more than are busy on the average.
  const std::uint64_t blocks =
      blocks_busy < 0.6 ? 1 : static_cast<std::uint64_t>(blocks_busy + 2.5);
  return std::min(blocks, kMostPacedBlocks) * path_.block_bytes;
}

// Counts slow I/Os since the last cut and compares with what a true share of a hundredth explains.
RateController::Verdict RateController::Judge(const RateInput& input, double allowed_us) {
  samples_.push_back({std::max<std::int64_t>(input.tick_us, 1), static_cast<double>(input.app.ios),
                      SlowerThan(input.app, allowed_us)});
  std::int64_t span = 0;
  double ios = 0;
  double slow = 0;
  for (auto it = samples_.rbegin(); it != samples_.rend(); ++it) {
    if (span > kRememberUs) {
      samples_.erase(samples_.begin(), it.base());
      break;
    }
    span += it->tick_us;
    ios += it->ios;
    slow += it->slow;
  }
  // Most of them, all at once: no need to weigh that against seconds of good ones.
  const Sample& now = samples_.back();
  if (now.slow >= std::max(kManySlow, now.ios / 2)) return Verdict::kBad;
  const double expected = ios * kSlowShare;
  if (slow > expected + kChance * std::sqrt(expected) + 1) return Verdict::kBad;
  return slow <= expected + 1 ? Verdict::kGood : Verdict::kUnclear;
}

// Whether the copy stands still now so that the latency without it can be measured: soon after the
// last time while latency limits the copy, seldom otherwise.
bool RateController::Measuring(const RateInput& input, std::int64_t tick) {
  since_measured_us_ += tick;
  if (measuring_us_ < 0) {
    std::int64_t every = kMeasureLateUs;  // a load that got less is no reason to hurt it more
    if (limited_) every = baseline_us_ == 0 ? 0 : std::max(measure_every_us_, kMeasureSoonUs);
    if (!limited_ && input.impact == Impact::kFull) return false;
    if (since_measured_us_ < every) return false;
    measuring_us_ = 0;
    if (quiet_.ios >= kMeasureIos) quiet_ = {};  // too few are added to
    return true;
  }
  measuring_us_ += tick;
  if (measuring_us_ > kDrainUs) Merge(&quiet_, input.app);
  if (measuring_us_ < kDrainUs + kMeasureUs) return true;
  measuring_us_ = -1;
  since_measured_us_ = 0;
  samples_.clear();
  if (quiet_.ios < kMeasureIos && baseline_us_ != 0) return false;
  // One slow I/O among few is no percentile.
  const double share =
      std::max(kSlowShare, 1.5 / static_cast<double>(std::max<std::uint64_t>(quiet_.ios, 2)));
  const std::uint64_t now = PercentileNs(quiet_.counts, 1 - share) / 1000;
  if (now == 0) return false;
  const bool changed = now > baseline_us_ + baseline_us_ / 5 || now + now / 5 < baseline_us_;
  measure_every_us_ =
      changed ? kMeasureSoonUs
              : std::min(std::max(measure_every_us_, kMeasureSoonUs) * 2, kMeasureLateUs);
  if (changed) ceiling_ = 1;
  baseline_us_ = now;
  return false;
}

RateLimits RateController::Decide(const RateInput& input) {
  const std::int64_t tick = std::clamp<std::int64_t>(input.tick_us, 0, 10'000'000);
  best_rate_ = std::max(best_rate_, input.copy_rate);
  if (input.app.ios > 0) {
    seen_io_ = true;
    quiet_us_ = 0;
  } else {
    // Before the first look: who was there before the copy is still there.
    if (share_ < 0 && input.baseline_p99_us != 0) seen_io_ = true;
    quiet_us_ += tick;
  }
  since_cut_us_ += tick;
  if (input.fixed_rate != 0) return {input.fixed_rate, InflightFor(input.fixed_rate)};

  const Mode& mode = ModeOf(input.impact);
  const auto capacity = static_cast<double>(Capacity());
  if (input.impact != impact_ || share_ < 0) {
    impact_ = input.impact;
    share_ = mode.start;
    ceiling_ = 1;
    since_cut_us_ = kCutPauseUs;
    limited_ = false;
    samples_.clear();
  }
  if (!seen_io_ || quiet_us_ >= mode.quiet_us) {
    share_ = mode.start;
    limited_ = false;
    measuring_us_ = -1;
    samples_.clear();
    if (mode.quiet_share == 0) return {0, InflightFor(0)};
    const auto rate = static_cast<std::uint64_t>(capacity * mode.quiet_share);
    return {rate, InflightFor(rate)};
  }
  if (baseline_us_ == 0) baseline_us_ = input.baseline_p99_us;
  const std::uint64_t baseline =
      baseline_us_ != 0 ? baseline_us_ : path_.source_latency_us + path_.source_latency_us / 4;
  if (Measuring(input, tick)) return {kMeasureRate, path_.block_bytes};
  if (baseline != 0 && input.app.ios > 0) {
    const double factor = mode.latency_factor * static_cast<double>(baseline);
    const double allowed = std::max(factor, static_cast<double>(baseline + kLatencySlackUs));
    switch (Judge(input, allowed)) {
      case Verdict::kBad:
        if (since_cut_us_ < kCutPauseUs) break;
        ceiling_ = std::max(mode.least, share_ * kBelowTrouble);
        share_ *= kCut;
        since_cut_us_ = 0;
        limited_ = true;
        samples_.clear();  // they are of another rate
        break;
      case Verdict::kGood:
        share_ += mode.raise * static_cast<double>(tick) / 100'000;
        break;
      case Verdict::kUnclear:
        break;
    }
  }
  ceiling_ = std::min(1.0, ceiling_ * (1 + kForget * static_cast<double>(tick) / 100'000));
  share_ = std::clamp(std::min(share_, ceiling_), mode.least, mode.most);
  limited_ = limited_ && (since_cut_us_ < kLimitedUs || share_ < mode.start);
  const auto rate = std::max(kLeastRate, static_cast<std::uint64_t>(capacity * share_));
  return {rate, InflightFor(rate)};
}

}  // namespace shadow
