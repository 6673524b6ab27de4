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

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/dm/device_mapper.h"
#include "daemon/dm/dm_helper.h"

namespace shadow {

struct IsolationOptions {
  std::int64_t deadline_ms = 30'000;  // of one change; the longest that a disk takes for one I/O
  std::int64_t parting_ms = 2'000;  // how long an interrupted or killed change is waited for still
};

/// Has requests carried out by helpers, as told above. Thread safe. `nursery` must outlive it.
class Isolation {
 public:
  explicit Isolation(DmNursery& nursery, IsolationOptions options = {})
      : nursery_(nursery), options_(options) {}

  /// One after the other for each `request.name`: device mapper's name, or the path, of a device.
  /// Waits for `times` as long as for one change.
  Result<std::string> Do(const DmRequest& request, int times = 1);
  /// What of this device was given up and is still in the kernel; "" when nothing is.
  std::string Unanswered(const std::string& name);

 private:
  // One device. `change` is held by whoever changes it; the rest is guarded by it.
  struct Device {
    std::timed_mutex change;
    std::unique_ptr<DmHelper> hanging;  // at work still on what was given up
    std::string op;
    std::chrono::steady_clock::time_point since;
  };

  static bool StillHangs(Device& device);
  [[nodiscard]] static std::string What(const Device& device);
  std::shared_ptr<Device> Find(const std::string& name);
  Result<std::unique_ptr<DmHelper>> Take();
  void Give(std::unique_ptr<DmHelper> helper);

  DmNursery& nursery_;
  const IsolationOptions options_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Device>> devices_;
  std::vector<std::unique_ptr<DmHelper>> idle_;
};

/// `looks` and `isolation` must outlive it.
[[nodiscard]] std::unique_ptr<DeviceMapper> MakeIsolatedDeviceMapper(DeviceMapper& looks,
                                                                     Isolation& isolation);

}  // namespace shadow
