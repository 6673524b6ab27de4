// SPDX-License-Identifier: Apache-2.0
// Time, injected. The daemon reads time only through a Clock; tests turn a ManualClock by hand.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace shadow {

class Clock {
 public:
  virtual ~Clock() = default;
  /// Milliseconds since the epoch, for records that people and other processes read.
  [[nodiscard]] virtual std::int64_t WallMs() const = 0;
  /// Microseconds on a clock that never jumps, for durations.
  [[nodiscard]] virtual std::int64_t MonotonicUs() const = 0;
  /// Milliseconds since the machine was booted, sleep included: never jumps, and goes on while the
  /// daemon does not run. Compare only values of one boot.
  [[nodiscard]] virtual std::int64_t BootMs() const = 0;
  /// Which boot that is; never empty.
  [[nodiscard]] virtual std::string BootId() const = 0;
};

class RealClock final : public Clock {
 public:
  [[nodiscard]] std::int64_t WallMs() const override;
  [[nodiscard]] std::int64_t MonotonicUs() const override;
  [[nodiscard]] std::int64_t BootMs() const override;
  [[nodiscard]] std::string BootId() const override;
};

/// Stands still until told to move. Thread safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(std::int64_t wall_ms = 1'700'000'000'000) : us_(wall_ms * 1000) {}
  [[nodiscard]] std::int64_t WallMs() const override { return (us_ + stepped_us_) / 1000; }
  [[nodiscard]] std::int64_t MonotonicUs() const override { return us_; }
  [[nodiscard]] std::int64_t BootMs() const override { return (us_ - booted_us_) / 1000; }
  [[nodiscard]] std::string BootId() const override { return "boot-" + std::to_string(boots_); }
  void AdvanceMs(std::int64_t ms) { us_ += ms * 1000; }
  /// Somebody sets the clock: time of day jumps, nothing else does.
  void StepWallMs(std::int64_t ms) { stepped_us_ += ms * 1000; }
  void Reboot() {
    booted_us_ = us_.load();
    ++boots_;
  }

 private:
  std::atomic<std::int64_t> us_;
  std::atomic<std::int64_t> stepped_us_ = 0;
  std::atomic<std::int64_t> booted_us_ = 0;
  std::atomic<int> boots_ = 1;
};

}  // namespace shadow
