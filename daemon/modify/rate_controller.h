// SPDX-License-Identifier: Apache-2.0
// How fast to copy: from the application's latency, tick by tick.
//
// Pure: numbers in, numbers out, no clock. With no application I/O `full` and `balanced` are not
// limited at all. With application I/O every mode is: a copy that uses up a device's bandwidth
// makes the application wait for whole scheduling rounds of the device, so even `full` stays a
// little below what was measured, evenly paced, with few blocks in flight. Latency above what the
// mode allows lowers the rate at once (multiplicatively), latency within it raises it slowly
// (additively), never below a floor: it finishes.
#pragma once

#include <cstdint>

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

 private:
  [[nodiscard]] std::uint64_t Capacity() const;
  [[nodiscard]] std::uint64_t InflightFor(std::uint64_t rate) const;

  CopyPath path_;
  double share_ = -1;  // of the capacity; < 0: start at the mode's own
  Impact impact_ = Impact::kBalanced;
  double ceiling_ = 1;         // of the share, after it was too much once
  std::int64_t quiet_us_ = 0;  // since the last application I/O
  bool seen_io_ = false;
  std::int64_t since_cut_us_ = 0;  // since the rate was last lowered
  std::uint64_t best_rate_ = 0;    // fastest copy seen, when nothing was measured
};

}  // namespace shadow
