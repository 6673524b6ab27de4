// SPDX-License-Identifier: Apache-2.0
// What can be looked at without a daemon: device mapper, the module, the sockets.
#pragma once

#include <string>
#include <vector>

#include "proto/shadow/v1/system.pb.h"

namespace shadow::ctl {

/// Looks below `root` ("" for the machine itself) at /dev/mapper/control, /sys/module/dm_shadow and
/// the modules of the running kernel. Reads a few files; never fails.
[[nodiscard]] std::vector<v1::Check> KernelChecks(const std::string& root);

}  // namespace shadow::ctl
