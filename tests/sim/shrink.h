// SPDX-License-Identifier: GPL-2.0-only
// Cuts a failing run down to the steps it needs (delta debugging).
#ifndef TESTS_SIM_SHRINK_H
#define TESTS_SIM_SHRINK_H

#include <string>
#include <vector>

#include "tests/sim/world.h"

namespace sim {

/// The smallest list found that fails like @steps does: with an error that begins alike.
std::vector<Step> Shrink(World& world, u64 seed, std::vector<Step> steps, const std::string& error);

}  // namespace sim

#endif  // TESTS_SIM_SHRINK_H
