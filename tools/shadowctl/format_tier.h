// SPDX-License-Identifier: Apache-2.0
// Tiers, placement and top for people. Prints to a stream, never fails; lines fit into 80 columns
// unless names are long.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "proto/shadow/v1/placement.pb.h"
#include "proto/shadow/v1/volume.pb.h"
#include "tools/shadowctl/table.h"
#include "tools/shadowctl/terminal.h"

namespace shadow::ctl {

/// A line for each tier.
void PrintTiers(std::ostream& out, const Terminal& terminal,
                const std::vector<v1::VolumeTiers>& volumes);
/// All that is known of a volume's tiers.
void PrintVolumeTiers(std::ostream& out, const Terminal& terminal, const v1::VolumeTiers& tiers);
/// The settings, and who ranks.
void PrintPolicy(std::ostream& out, const Terminal& terminal, const v1::Placement& placement);
void PrintExplanation(std::ostream& out, const Terminal& terminal, const std::string& volume,
                      const v1::BlockExplanation& explanation);
void PrintTierMap(std::ostream& out, const Terminal& terminal, const std::vector<v1::TierRun>& runs,
                  std::uint64_t block_bytes);

/// "3 GiB of 4 GiB, write-back, 256 MiB dirty": a tier of `volume show`.
[[nodiscard]] Cell KernelTierCell(const v1::KernelTier& tier, std::uint64_t block_bytes);
/// "write-through", "write-back".
[[nodiscard]] std::string ModeWord(v1::TierWriteMode mode);
/// State and health in a word: what is wrong stands before what is going on.
[[nodiscard]] Cell TierStateCell(v1::TierState state, v1::TierHealth health);
/// "db0  tier1  going home  45%  1.80/4.00 GiB": how far a removal is. `first_bytes`: what was on
/// the tier when it began.
[[nodiscard]] std::string RemovalLine(const std::string& volume, const v1::Tier& tier,
                                      std::uint64_t first_bytes);

/// The header of `top`, and a row for each volume. Pieces of a table, so that lines in a log stay
/// below each other: 79 columns, and 9 more with the modification that runs.
[[nodiscard]] std::string TopHeader(bool with_modification);
[[nodiscard]] std::string TopRow(const Terminal& terminal, const v1::VolumeTop& top,
                                 bool with_modification);
inline constexpr int kTopColumnsInAll = 88;

}  // namespace shadow::ctl
