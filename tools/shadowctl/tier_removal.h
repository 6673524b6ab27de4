// SPDX-License-Identifier: Apache-2.0
// Waiting for a tier to go: its shadows are written home by the daemon, which does not need us.
#pragma once

#include <string>

#include "proto/shadow/v1/placement.pb.h"
#include "tools/shadowctl/context.h"
#include "tools/shadowctl/interrupts.h"

namespace shadow::ctl {

/// "3 GiB on it go home, 256 MiB of that have to be written."
[[nodiscard]] std::string RemovalSentence(const v1::Tier& tier);

/// Looks until `tier` of `volume`, as RemoveTier answered it, is gone; shows a line that is
/// redrawn, lines for a log, or JSON. Returns the exit code: 130 when interrupted. A daemon that
/// goes away is waited for.
[[nodiscard]] int WaitForRemoval(Context& context, Interrupts& interrupts,
                                 const std::string& volume, const v1::Tier& tier);

}  // namespace shadow::ctl
