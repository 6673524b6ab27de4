// SPDX-License-Identifier: Apache-2.0
// Looks at a device's content, made by helper processes: a read of a disk that does not answer
// keeps a helper, not the request, its volume's lock and the daemon's end.
//
// What is bounded: signatures and their bytes, "is it blank", the measurement of a speed, zeroing,
// discarding and the backup of metadata. The rest is passed on as it is: it asks the kernel about
// the device and reads nothing from it. A read that is not done
// in time ends with kUnavailable, and as long as it is in the kernel further ones of that device
// are refused at once.
#pragma once

#include <memory>

#include "daemon/dm/block_devices.h"
#include "daemon/dm/device_guard.h"
#include "daemon/dm/isolated_dm.h"

namespace shadow {

/// `looks` and `isolation` must outlive what is returned.
[[nodiscard]] std::unique_ptr<DeviceGuard> MakeIsolatedDeviceGuard(DeviceGuard& looks,
                                                                   Isolation& isolation);
[[nodiscard]] std::unique_ptr<BlockDevices> MakeIsolatedBlockDevices(BlockDevices& looks,
                                                                     Isolation& isolation);

/// The helper's end of the two: the answer to "signatures", "blank", "probe", ..., as text.
[[nodiscard]] Result<std::string> PerformLook(DeviceGuard& guard, BlockDevices& blocks,
                                              const DmRequest& request);

}  // namespace shadow
