// SPDX-License-Identifier: Apache-2.0
// Where the accesses of a volume come from: its blktrace stream, or the kernel's `access` harvest.
//
// Both give closed windows. One thread owns a source. A source that loses events counts them in the
// window; one that fails says why, and its owner goes on with the other.
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
  /// Begins to listen. kUnavailable when this source is not to be had here (no debugfs, no tool).
  virtual Status Start() = 0;
  /// Closes the window that ends now and gives it; the next one begins.
  virtual Result<AccessWindow> CloseWindow(std::int64_t now_us) = 0;
  /// Ends listening; leaves nothing running behind. May be called twice.
  virtual void Stop() = 0;
};

}  // namespace shadow
