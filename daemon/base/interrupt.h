// SPDX-License-Identifier: Apache-2.0
// How a thread that waits for something outside the daemon is told that nobody wants to wait on.
//
// Whoever wants to be able to stop a piece of work sets an Interrupt; the work runs in an
// InterruptScope for it. What waits without being able to say how long (a command, device mapper)
// asks Interrupted() about ten times a second, and then ends its wait soon, with an error.
#pragma once

#include <atomic>

namespace shadow {

class Interrupt {
 public:
  /// Several may want it at once: each Set() needs its Clear().
  void Set() { ++wanted_; }
  void Clear() { --wanted_; }
  [[nodiscard]] bool IsSet() const { return wanted_ > 0; }

 private:
  std::atomic<int> wanted_{0};
};

/// While it lives, this thread's work can be stopped by `interrupt`. Scopes do not nest.
class InterruptScope {
 public:
  explicit InterruptScope(const Interrupt* interrupt);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;
};

/// Does nobody want this thread to wait any longer?
[[nodiscard]] bool Interrupted();

/// The daemon ends: from now on every thread is interrupted.
void InterruptAll();

}  // namespace shadow
