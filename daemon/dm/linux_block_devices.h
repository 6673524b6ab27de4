// SPDX-License-Identifier: Apache-2.0
// The real BlockDevices: ioctls, sysfs and direct I/O.
#pragma once

#include <memory>

#include "daemon/base/clock.h"
#include "daemon/dm/block_devices.h"

namespace shadow {

/// `clock` times the probes and must outlive what is returned.
[[nodiscard]] std::unique_ptr<BlockDevices> MakeLinuxBlockDevices(const Clock& clock);

}  // namespace shadow
