// SPDX-License-Identifier: Apache-2.0
// Time, injected. The daemon reads time only through a Clock; tests turn a ManualClock by hand.
#pragma once

#include <atomic>
#include <cstdint>

namespace shadow {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Milliseconds since the epoch, for records that people and other processes read.
  [[nodiscard]] virtual std::int64_t WallMs() const = 0;
  /// Microseconds on a clock that never jumps, for durations.
  [[nodiscard]] virtual std::int64_t MonotonicUs() const = 0;
};

class RealClock final : public Clock {
 public:
  [[nodiscard]] std::int64_t WallMs() const override;
  [[nodiscard]] std::int64_t MonotonicUs() const override;
};

/// Stands still until told to move. Thread safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(std::int64_t wall_ms = 1'700'000'000'000) : us_(wall_ms * 1000) {}
  [[nodiscard]] std::int64_t WallMs() const override { return us_.load() / 1000; }
  [[nodiscard]] std::int64_t MonotonicUs() const override { return us_.load(); }
  void AdvanceMs(std::int64_t ms) { us_.fetch_add(ms * 1000); }

 private:
  std::atomic<std::int64_t> us_;
};

}  // namespace shadow
