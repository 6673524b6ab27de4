// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/clock.h"

#include <chrono>

namespace shadow {

std::int64_t RealClock::WallMs() const {
  using std::chrono::duration_cast;
  using std::chrono::milliseconds;
  return duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::int64_t RealClock::MonotonicUs() const {
  using std::chrono::duration_cast;
  using std::chrono::microseconds;
  return duration_cast<microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace shadow
