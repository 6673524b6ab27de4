// SPDX-License-Identifier: Apache-2.0
// The daemon's DeviceMapper: looks are made here, changes by helper processes, so that one device
// that does not answer costs its volume only.
//
// Changes of one device are made one after the other; those of different devices at once. A change
// that is not done by the deadline, or whose caller was interrupted (base/interrupt.h), is given
// up: its helper is killed, which ends a wait that can be ended. If the kernel does not let it go,
// further changes of that device are refused at once with kUnavailable until it does: two changes
// at work on one device at once would be worse than none. A change that was given up may still take
// effect. Looks (status, table, list) take no lock of the module and no deadline.
#pragma once

#include <cstdint>
#include <memory>

#include "daemon/dm/device_mapper.h"
#include "daemon/dm/dm_helper.h"

namespace shadow {

struct IsolationOptions {
  std::int64_t deadline_ms = 30'000;  // of one change; the longest that a disk takes for one I/O
  std::int64_t parting_ms = 2'000;  // how long an interrupted or killed change is waited for still
};

/// `looks` and `nursery` must outlive it.
[[nodiscard]] std::unique_ptr<DeviceMapper> MakeIsolatedDeviceMapper(DeviceMapper& looks,
                                                                     DmNursery& nursery,
                                                                     IsolationOptions options = {});

}  // namespace shadow
