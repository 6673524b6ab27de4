// SPDX-License-Identifier: Apache-2.0
// Rankings from a history, for the policies. Pure.
#pragma once

#include <vector>

#include "daemon/place/policies.h"

namespace shadow {

/// By falling accesses, then by block number; at most `most`.
[[nodiscard]] std::vector<BlockHeat> TopBlocks(std::vector<BlockHeat> all, std::size_t most);

/// What ewma expects of one block, and of all of them.
[[nodiscard]] BlockHeat EwmaHeat(const History& history, const BlockHistory& block,
                                 const PolicySettings& settings);
[[nodiscard]] std::vector<BlockHeat> RankEwma(const History& history,
                                              const PolicySettings& settings, std::size_t most);

}  // namespace shadow
