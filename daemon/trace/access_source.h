// SPDX-License-Identifier: Apache-2.0
// Where the accesses of a volume come from: its blktrace stream, or the kernel's `access` harvest.
//
// Both give closed windows. One thread owns a source and calls Poll() every PollUs() and
// CloseWindow() when a window is over. A source that loses events counts them in the window; one
// that fails says why, and its owner goes on with the other (source_switch.h does).
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"
#include "daemon/place/policy.h"

namespace shadow {

class AccessSource {
 public:
  virtual ~AccessSource() = default;
  /// "blktrace" or "access".
  [[nodiscard]] virtual std::string Name() const = 0;
  /// Begins to listen; the first window begins at `now_us` (since the epoch). kUnavailable when
  /// this source is not to be had here (no debugfs, somebody else traces the volume).
  virtual Status Start(std::int64_t now_us) = 0;
  /// Takes in what has come since. Never waits for I/O of the volume.
  virtual Status Poll(std::int64_t now_us) = 0;
  /// How often Poll() wants to be called, in microseconds of real time.
  [[nodiscard]] virtual std::int64_t PollUs() const = 0;
  /// Closes the window that ends now and gives it; the next one begins. Polls first.
  virtual Result<AccessWindow> CloseWindow(std::int64_t now_us) = 0;
  /// Ends listening; leaves nothing running behind. May be called twice.
  virtual void Stop() = 0;
};

}  // namespace shadow
