// SPDX-License-Identifier: Apache-2.0
// Which tables a volume may have at which step, and how one replaces another.
#pragma once

#include <optional>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/dm/device_mapper.h"
#include "daemon/dm/status.h"
#include "daemon/dm/table.h"
#include "daemon/identity/identities.h"
#include "daemon/store/records.h"

namespace shadow {

/// The volume on one leg, `sectors` long.
[[nodiscard]] ShadowTable OneLegTable(const VolumeRecord& volume, const Leg& leg,
                                      std::uint64_t sectors);
/// The volume on origin and target of the modification, at its new length.
[[nodiscard]] ShadowTable TwoLegTable(const VolumeRecord& volume, const ModificationRecord& m);

/// The tables the volume may need at this moment, the likeliest first. After a crash it is not
/// known whether the interrupted step had its effect; the metadata knows, and the kernel refuses
/// the others.
[[nodiscard]] std::vector<ShadowTable> TablesToTry(const VolumeRecord& volume,
                                                   const ModificationRecord* running);

/// The leg with the path that the device of its identity has now; a path that leads nowhere if it
/// is not there, or if several have it: never to another device.
[[nodiscard]] Leg Located(Identities& identities, Leg leg);
[[nodiscard]] VolumeRecord Located(Identities& identities, VolumeRecord volume);
/// The same for every leg of a table, right before it is loaded. A tier that is not there is "-".
[[nodiscard]] ShadowTable Located(Identities& identities, ShadowTable table);

/// The table with the tiers that belong into it; those of other phases are left out.
[[nodiscard]] ShadowTable WithTiers(ShadowTable table, const TiersRecord& tiers);

/// Does the live table have these legs, tiers and this length?
[[nodiscard]] Result<bool> IsLive(DeviceMapper& dm, const std::string& name,
                                  const ShadowTable& table);

/// Puts `table` in the place of the live one. Returns how long I/O may have waited, in
/// microseconds. If the kernel refuses it, `fallback` (the table before, if it may still be used)
/// is brought back.
[[nodiscard]] Result<std::uint64_t> SwapTable(DeviceMapper& dm, const Clock& clock,
                                              const std::string& name, const ShadowTable& table,
                                              const std::optional<ShadowTable>& fallback);

/// The parsed status line of the volume.
[[nodiscard]] Result<TargetStatus> ReadStatus(DeviceMapper& dm, const std::string& name);

/// Every block that has a shadow, by as many "tiers" messages as it takes. With `range`: only
/// there.
[[nodiscard]] Result<std::vector<TierRun>> ReadTiers(
    DeviceMapper& dm, const std::string& name, std::optional<BlockRange> range = std::nullopt);

/// The state of every block, by as many "map" messages as it takes.
[[nodiscard]] Result<std::vector<StateRun>> ReadMap(DeviceMapper& dm, const std::string& name);

}  // namespace shadow
