// SPDX-License-Identifier: Apache-2.0
// Legs from LVM volume groups and from lists of plain devices, with LVM's own commands.
//
// Logical volumes are named shadow.<volume>.<role>.<id> and tagged shadow.volume=<uuid>,
// shadow.modification=<id>, shadow.role=<role>. Thread safe: LVM has its own locks.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "daemon/base/process.h"
#include "daemon/dm/block_devices.h"
#include "daemon/identity/identities.h"
#include "daemon/legs/legs.h"
#include "daemon/legs/lvm_commands.h"

namespace shadow {

/// One entry of the configuration: a volume group or a list of devices.
struct ClassConfig {
  std::string name;
  std::string volume_group;
  std::vector<std::string> devices;
};

struct LvmOptions {
  std::vector<ClassConfig> classes;
  LvmCommandOptions commands;
  /// The leg ids of the logical volumes that are suspended now; none: not known.
  std::function<std::set<std::string>()> suspended = {};
};

/// `runner` and `blocks` must outlive what is returned.
[[nodiscard]] std::unique_ptr<LegProvider> MakeLvmLegs(ProcessRunner& runner, BlockDevices& blocks,
                                                       Identities& identities, LvmOptions options);

/// The name of a logical volume for an order; only characters LVM takes, none of its reserved
/// words.
[[nodiscard]] std::string LvNameFor(const LegOrder& order);

}  // namespace shadow
