// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/rate_controller.h"

#include <algorithm>

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
constexpr std::int64_t kCutPauseUs = 300'000;   // a cut needs time to show
constexpr std::uint64_t kLatencySlackUs = 100;  // noise of fast devices is no harm
constexpr std::uint64_t kLeastRate = 1 << 20;
constexpr std::uint64_t kUnknownCapacity = std::uint64_t{100} << 20;
constexpr std::uint64_t kFreeInflight = std::uint64_t{2} << 20;
constexpr std::uint64_t kMostPacedBlocks = 16;
constexpr std::uint64_t kGuessedLatencyUs = 2000;

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
  }
  if (!seen_io_ || quiet_us_ >= mode.quiet_us) {
    share_ = mode.start;
    if (mode.quiet_share == 0) return {0, InflightFor(0)};
    const auto rate = static_cast<std::uint64_t>(capacity * mode.quiet_share);
    return {rate, InflightFor(rate)};
  }
  const std::uint64_t baseline = input.baseline_p99_us != 0
                                     ? input.baseline_p99_us
                                     : path_.source_latency_us + path_.source_latency_us / 4;
  if (baseline != 0 && input.app.ios > 0) {
    const double factor = mode.latency_factor * static_cast<double>(baseline);
    const double allowed = std::max(factor, static_cast<double>(baseline + kLatencySlackUs));
    if (static_cast<double>(input.app.p99_us) > allowed) {
      if (since_cut_us_ >= kCutPauseUs) {
        ceiling_ = std::max(mode.least, share_ * kBelowTrouble);
        share_ *= kCut;
        since_cut_us_ = 0;
      }
    } else {
      share_ += mode.raise * static_cast<double>(tick) / 100'000;
    }
  }
  ceiling_ = std::min(1.0, ceiling_ * (1 + kForget * static_cast<double>(tick) / 100'000));
  share_ = std::clamp(std::min(share_, ceiling_), mode.least, mode.most);
  const auto rate = std::max(kLeastRate, static_cast<std::uint64_t>(capacity * share_));
  return {rate, InflightFor(rate)};
}

}  // namespace shadow
