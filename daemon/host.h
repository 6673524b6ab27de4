// SPDX-License-Identifier: Apache-2.0
// What shadowd asks of the machine it runs on: the kernel module, one instance, memory that stays.
#pragma once

#include <string>

#include "daemon/base/process.h"
#include "daemon/base/result.h"
#include "daemon/dm/device_mapper.h"

namespace shadow {

/// Loads the module unless the target type is there: from `path` with insmod if given, else with
/// modprobe.
Status EnsureModule(DeviceMapper& dm, ProcessRunner& runner, const std::string& path);

/// Makes the directory (0700) and locks it for this process until it ends. kFailedPrecondition
/// while another shadowd holds it. The descriptor is left open on purpose.
Status LockStateDirectory(const std::string& directory);

/// Keeps what was and will be touched of this process in memory: while a volume is suspended, a
/// page of ours that has to come from that volume would never come. Failure is only worth a
/// warning.
Status StayInMemory();

}  // namespace shadow
