// SPDX-License-Identifier: Apache-2.0
// Drives the kernel's mover: queues blocks in bounded batches and sets its limits, until every
// block that should be somewhere is there.
//
// Owned and called by one runner. Keeps no state that matters: after a restart the kernel's map
// says what is left. Forward copies (origin -> target) and the way back (remirror) work alike.
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include "daemon/dm/status.h"
#include "daemon/modify/copy_order.h"
#include "daemon/modify/deps.h"
#include "daemon/modify/rate_controller.h"
#include "daemon/modify/retire_policy.h"

namespace shadow {

enum class Direction : std::uint8_t { kToTarget, kToOrigin };

/// The application's latency on a volume, from a device-mapper statistics region of our own.
/// Without statistics (an old kernel) every window is empty.
class LatencyMeter {
 public:
  /// Two meters on a volume need two owners.
  LatencyMeter(DeviceMapper& dm, std::string volume, std::string owner = "shadowd")
      : dm_(dm), volume_(std::move(volume)), owner_(std::move(owner)) {}
  /// Makes the region (again): it covers the volume as long as it is now. Forgets what was counted.
  void Start();
  /// The I/O since the last call.
  [[nodiscard]] LatencyWindow Take();
  /// Removes every region of ours, also of an earlier run of the daemon.
  void Stop();

 private:
  DeviceMapper& dm_;
  std::string volume_, owner_;
  std::optional<std::uint64_t> region_;
};

/// What one look at the mover found.
struct CopyProgress {
  TargetStatus status;
  LatencyWindow app;
  std::uint64_t rate = 0;  // bytes/s in this tick
  bool limited_by_latency = false;
  bool done = false;             // nothing is left to do in this direction
  std::optional<Error> failure;  // blocks could not be copied, and nothing else is left to try
};

class Copier {
 public:
  /// `meter` must outlive the copier.
  Copier(const Deps& deps, std::string volume, const CopyPath& path, Direction direction,
         Retire retire, LatencyMeter* meter);

  /// One step: looks, decides, queues. Call every 100..250 ms or on a dm event.
  [[nodiscard]] Result<CopyProgress> Tick(Impact impact, std::uint64_t fixed_rate,
                                          std::uint64_t baseline_p99_us);
  /// Only looks (while paused).
  [[nodiscard]] Result<CopyProgress> Look();

 private:
  Status Refill(const TargetStatus& status, bool* done, std::optional<Error>* failure);
  Status SendLimits(const RateLimits& limits);
  Status QueueBatch(const TargetStatus& status);
  Status RetireSome();

  Deps deps_;
  LatencyMeter& meter_;
  std::string volume_;
  Direction direction_;
  std::unique_ptr<CopyOrder> order_;
  RateController controller_;
  Retire retire_;
  std::unique_ptr<RetirePolicy> policy_;
  std::deque<BlockRange> todo_;
  bool started_ = false;
  std::optional<RateLimits> sent_;
  std::optional<TargetStatus> last_;
  std::int64_t last_us_ = 0;
  std::uint64_t rate_ = 0;
  std::uint64_t left_at_refill_ = 0;  // blocks left when the map was last read; 0: not yet
  std::uint64_t errors_at_refill_ = 0;
  std::int64_t retired_us_ = 0, window_us_ = 0;
};

}  // namespace shadow
