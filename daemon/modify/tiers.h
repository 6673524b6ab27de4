// SPDX-License-Identifier: Apache-2.0
// What modifications and the engine both need to know of a volume's tiers. Stateless.
#pragma once

#include "daemon/dm/status.h"
#include "daemon/dm/table.h"
#include "daemon/modify/deps.h"
#include "daemon/store/records.h"

namespace shadow {

/// Makes the metadata device large enough for `sectors`, and for the slot area if the volume has
/// tiers or `will_have_tiers`. The slot area's end does not move once it is there, so a device that
/// is too small for tiers and a longer volume is kOutOfSpace whatever is free.
[[nodiscard]] Status GrowMetadata(const Deps& deps, const VolumeRecord& volume,
                                  const TiersRecord& tiers, std::uint64_t sectors,
                                  bool will_have_tiers = false);

/// Can these shadows be sent home? Not those that are dirty on a tier that is missing: then
/// kFailedPrecondition, which says what can be done.
[[nodiscard]] Status CheckDrain(const TargetStatus& status, const std::vector<TierRun>& shadows,
                                const std::string& volume);

}  // namespace shadow
