// SPDX-License-Identifier: Apache-2.0
// How fast to copy: from the application's latency, tick by tick.
//
// Pure: numbers in, numbers out, no clock. With no application I/O `full` and `balanced` are not
// limited at all. With application I/O every mode is: a copy that uses up a device's bandwidth
// makes the application wait for whole scheduling rounds of the device, so even `full` stays a
// little below what was measured, evenly paced, with few blocks in flight. Latency above what the
// mode allows lowers the rate at once (multiplicatively), latency within it raises it slowly
// (additively), never below a floor: it finishes.
//
// What a mode promises is about the 99th percentile, and a single slow I/O says nothing about that:
// a database's checkpoint is slow by itself. I/Os slower than allowed are counted since the rate
// was last lowered (for a few seconds at most), and it is lowered when they are more than a
// hundredth and chance explain. When everything is slow, two I/Os are enough.
//
// What latency there is without the copy changes with the application's load. While latency keeps
// the rate low the copy all but stops for two seconds now and then, and that is measured again.
#pragma once

#include <cstdint>
#include <deque>

#include "daemon/dm/latency.h"
#include "daemon/engine/engine.h"

namespace shadow {

/// What does not change during a modification. Bytes per second; 0 means not measured.
struct CopyPath {
  std::uint64_t source_bandwidth = 0;
  std::uint64_t target_bandwidth = 0;
  std::uint64_t source_latency_us = 0;
  std::uint64_t block_bytes = std::uint64_t{256} << 10;
};

struct RateInput {
  std::int64_t tick_us = 0;           // since the last decision
  LatencyWindow app;                  // application I/O in that time
  std::uint64_t baseline_p99_us = 0;  // before the copy; 0: not known
  std::uint64_t copy_rate = 0;        // bytes/s copied in that time
  Impact impact = Impact::kBalanced;
  std::uint64_t fixed_rate = 0;  // bytes/s; 0: by impact
};

struct RateLimits {
  std::uint64_t rate = 0;      // bytes/s; 0: not limited
  std::uint64_t inflight = 0;  // bytes
  friend bool operator==(const RateLimits&, const RateLimits&) = default;
};

class RateController {
 public:
  explicit RateController(const CopyPath& path) : path_(path) {}
  [[nodiscard]] RateLimits Decide(const RateInput& input);
  /// Whether the application's latency is what keeps the rate below what the mode would take.
  [[nodiscard]] bool LimitedByLatency() const { return limited_; }
  /// The 99th percentile without the copy, as it was measured last; 0: not known.
  [[nodiscard]] std::uint64_t BaselineUs() const { return baseline_us_; }

 private:
  struct Sample {
    std::int64_t tick_us = 0;
    double ios = 0, slow = 0;
  };
  enum class Verdict : std::uint8_t { kGood, kUnclear, kBad };

  [[nodiscard]] Verdict Judge(const RateInput& input, double allowed_us);
  [[nodiscard]] bool Measuring(const RateInput& input, std::int64_t tick);
  [[nodiscard]] std::uint64_t Capacity() const;
  [[nodiscard]] std::uint64_t InflightFor(std::uint64_t rate) const;

  CopyPath path_;
  double share_ = -1;  // of the capacity; < 0: start at the mode's own
  Impact impact_ = Impact::kBalanced;
  double ceiling_ = 1;         // of the share, after it was too much once
  std::int64_t quiet_us_ = 0;  // since the last application I/O
  bool seen_io_ = false;
  std::int64_t since_cut_us_ = 0;  // since the rate was last lowered
  std::deque<Sample> samples_;     // since then, of the last seconds
  bool limited_ = false;

  std::uint64_t baseline_us_ = 0;
  LatencyWindow quiet_;             // what the measurements found; of several if one finds little
  std::int64_t measuring_us_ = -1;  // since the copy stopped for it; < 0: it did not
  std::int64_t since_measured_us_ = 0;
  std::int64_t measure_every_us_ = 0;
  std::uint64_t best_rate_ = 0;  // fastest copy seen, when nothing was measured
};

}  // namespace shadow
