// SPDX-License-Identifier: Apache-2.0
// The real Identities.
#pragma once

#include <memory>
#include <string>

#include "daemon/identity/identities.h"

namespace shadow {

struct LinuxIdentityRoots {
  std::string sys = "/sys";
  std::string dev = "/dev";
};

[[nodiscard]] std::unique_ptr<Identities> MakeLinuxIdentities(LinuxIdentityRoots roots = {});

}  // namespace shadow
