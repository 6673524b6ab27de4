// SPDX-License-Identifier: Apache-2.0
// How long a grace period still lasts. Pure but for the clock it is given.
//
// The way back is a promise in time that passed, so setting the clock neither ends nor extends it.
// Within one boot a deadline on the boot clock counts, also while no daemon runs. After a reboot
// what was left when it was stored last counts from the first look on: in doubt, longer.
#pragma once

#include "daemon/base/clock.h"
#include "daemon/store/records.h"

namespace shadow {

/// A grace period of `grace_ms` (< 0: 0) that begins now.
[[nodiscard]] GraceTime BeginGrace(const Clock& clock, std::int64_t grace_ms);

/// What is left, milliseconds; <= 0: it is over. `grace` is set up for this boot if it is of
/// another one, or was not begun (a record of an older version): then all of `grace_ms` is left.
[[nodiscard]] std::int64_t GraceLeft(const Clock& clock, std::int64_t grace_ms, GraceTime* grace);

}  // namespace shadow
