// SPDX-License-Identifier: Apache-2.0
// What shadowd asks of the machine it runs on: the kernel module, one instance, memory that stays.
#pragma once

#include <sys/types.h>

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "daemon/base/process.h"
#include "daemon/base/result.h"
#include "daemon/dm/device_mapper.h"

namespace shadow {

/// Loads the module unless the target type is there: from `path` with insmod if given, else with
/// modprobe.
Status EnsureModule(DeviceMapper& dm, ProcessRunner& runner, const std::string& path);

/// Makes the directory (0700) if there is none, and locks it for this process until it ends.
/// kFailedPrecondition while another shadowd holds it; kPermissionDenied if other users can write
/// to it. A directory that is there is never changed. The descriptor is left open on purpose.
Status LockStateDirectory(const std::string& directory);

/// The number of a group; none for "". kNotFound: this machine has no group of that name.
[[nodiscard]] Result<std::optional<gid_t>> FindGroup(const std::string& name);

/// Every path of every shadow volume of this machine: what LVM's commands must not look at.
[[nodiscard]] std::vector<std::string> HiddenFromLvm(DeviceMapper& dm);

/// The leg ids of the logical volumes that are suspended now, or of which a part is.
[[nodiscard]] std::set<std::string> SuspendedLvs(DeviceMapper& dm);

/// Keeps what was and will be touched of this process in memory: while a volume is suspended, a
/// page of ours that has to come from that volume would never come. Failure is only worth a
/// warning.
Status StayInMemory();

}  // namespace shadow
