// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/grace.h"

#include <algorithm>

namespace shadow {

GraceTime BeginGrace(const Clock& clock, std::int64_t grace_ms) {
  GraceTime grace;
  grace.boot_id = clock.BootId();
  grace.left_ms = std::max<std::int64_t>(0, grace_ms);
  grace.ends_boot_ms = clock.BootMs() + grace.left_ms;
  return grace;
}

std::int64_t GraceLeft(const Clock& clock, std::int64_t grace_ms, GraceTime* grace) {
  if (grace->boot_id.empty()) *grace = BeginGrace(clock, grace_ms);
  if (grace->boot_id != clock.BootId()) {
    const std::int64_t left = grace->left_ms;
    *grace = BeginGrace(clock, left);
  }
  // Never more than was stored, whatever the two clocks say.
  return std::min(grace->ends_boot_ms - clock.BootMs(), grace->left_ms);
}

}  // namespace shadow
