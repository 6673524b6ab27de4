// SPDX-License-Identifier: Apache-2.0
// The real DeviceGuard: /proc, sysfs and libblkid.
#pragma once

#include <memory>

#include "daemon/dm/device_guard.h"
#include "daemon/dm/device_mapper.h"

namespace shadow {

/// `dm` tells how often a device-mapper device is open; it must outlive what is returned.
[[nodiscard]] std::unique_ptr<DeviceGuard> MakeLinuxDeviceGuard(DeviceMapper& dm);

}  // namespace shadow
