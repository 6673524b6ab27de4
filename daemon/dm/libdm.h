// SPDX-License-Identifier: Apache-2.0
// The real DeviceMapper, over libdevmapper.
//
// libdevmapper keeps global state, so one mutex serialises every ioctl. The daemon itself therefore
// makes only looks with it, which never wait for a device; its helpers (isolated_dm.h) make the
// changes. Waiting for events does not go through the mutex: it polls /dev/mapper/control
// (DM_DEV_ARM_POLL) with a descriptor of its own. udev is waited for at most ten seconds.
#pragma once

#include <memory>

#include "daemon/dm/device_mapper.h"

namespace shadow {

struct LibDmOptions {
  bool udev = true;  // false: no udev on this machine; make the nodes ourselves, wait for no cookie
};

/// One per process: it installs itself as libdevmapper's logger.
[[nodiscard]] std::unique_ptr<DeviceMapper> MakeLibDeviceMapper(LibDmOptions options);

/// Is there a udev daemon that would answer?
[[nodiscard]] bool UdevIsRunning();

}  // namespace shadow
