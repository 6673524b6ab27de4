// SPDX-License-Identifier: Apache-2.0
// Ctrl-C (SIGINT, SIGTERM, SIGHUP) as something that can be waited for and acted on.
//
// Make one before any other thread exists: it blocks the signals in the calling thread, which later
// threads inherit, and takes them on a thread of its own. While nothing waits for it, a signal ends
// the program as usual; a second one always does.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace shadow::ctl {

class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  /// From now on a signal calls `action` (on another thread) instead of ending the program; null:
  /// ends it again. Once this returns, the former action is not running any more.
  void OnInterrupt(std::function<void()> action);
  /// Whether a signal came since OnInterrupt was given an action.
  [[nodiscard]] bool interrupted() const;
  /// Waits for `time`, or until a signal comes; whether one came.
  [[nodiscard]] bool WaitFor(std::chrono::milliseconds time);
  /// Whether a signal would be acted on now.
  [[nodiscard]] bool acting() const;
  /// As if a signal came. For tests.
  void Raise() { Take(2); }

 private:
  void Take(int signal);

  int signal_fd_ = -1;
  int stop_fd_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> action_;  // guarded by mutex_, called with it held
  bool interrupted_ = false;      // guarded by mutex_
  std::thread thread_;
};

}  // namespace shadow::ctl
