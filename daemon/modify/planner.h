// SPDX-License-Identifier: Apache-2.0
// Checks a request for a modification and says what it would do. Changes nothing.
//
// Every refusal is one sentence and what to do about it. The same checks run again where time may
// have passed since (make-target looks at the device once more).
#pragma once

#include "daemon/modify/deps.h"
#include "daemon/store/records.h"

namespace shadow {

struct Planned {
  Plan plan;
  Kind kind = Kind::kMove;
  Leg origin;
  Leg target;  // device "": a logical volume will be made in class plan.to
  std::uint64_t old_sectors = 0, new_sectors = 0;
};

/// kInvalidArgument, kFailedPrecondition, kNotFound, kOutOfSpace, kUnavailable: see the sentence.
[[nodiscard]] Result<Planned> MakePlan(const Deps& deps, const VolumeRecord& volume,
                                       const ModifyRequest& request);

}  // namespace shadow
