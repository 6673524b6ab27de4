// SPDX-License-Identifier: Apache-2.0
// What a metadata device says of its volume, and the table that puts the volume together again.
//
// The superblock is enough: name, UUID, phase, lengths, identities and roles of the legs, options.
// Nothing else is asked, so a boot needs no daemon, no store and no configuration.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/boot/leg_table.h"
#include "daemon/dm/table.h"
#include "kernel/core/shadow_format.h"

namespace shadow {

/// The newest superblock of a device or file, read past the page cache; nothing if there is none
/// that is valid. kNotFound, kIoError.
[[nodiscard]] Result<std::optional<shadow_superblock>> ReadSuperblock(const std::string& path);
/// The same of the device's first 8 KiB.
[[nodiscard]] std::optional<shadow_superblock> NewestSuperblock(const void* first_8k);

/// "origin", "target", "tier1", "tier2"
[[nodiscard]] const char* RoleName(int leg);

/// The legs as the table of legs has them. A name with unusual characters becomes "?".
[[nodiscard]] std::vector<LegEntry> LegsOf(const shadow_superblock& sb);

/// Where each leg of the volume is now: a path, or "-" for a leg that is missing.
using LegPaths = std::array<std::string, SHADOW_NR_LEGS>;

/// The table the kernel takes for this superblock: it compares both and refuses any difference.
[[nodiscard]] ShadowTable TableFor(const shadow_superblock& sb, const std::string& metadata,
                                   const LegPaths& paths);

/// Sectors that a leg must have at least, by index; 0 for a tier, whose slots the kernel checks.
[[nodiscard]] std::uint64_t SectorsNeeded(const shadow_superblock& sb, int leg);

/// Blocks whose only current copy is on leg `leg`, as the metadata at `path` says. The volume must
/// be down: nobody else may have the device open exclusively.
[[nodiscard]] Result<std::uint64_t> OnlyCopies(const std::string& path, int leg);

}  // namespace shadow
