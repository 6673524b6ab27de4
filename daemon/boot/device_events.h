// SPDX-License-Identifier: Apache-2.0
// Waits for the next block device that comes, changes or goes.
#pragma once

#include <cstdint>
#include <memory>

namespace shadow {

/// Hears udev's events, after its rules have run. Without udev it only waits. Single-threaded.
class DeviceEvents {
 public:
  DeviceEvents();
  ~DeviceEvents();
  DeviceEvents(const DeviceEvents&) = delete;
  DeviceEvents& operator=(const DeviceEvents&) = delete;

  /// Returns at the first event since the last call, after `timeout_ms` at the latest.
  void Wait(std::int64_t timeout_ms);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace shadow
