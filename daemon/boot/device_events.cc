// SPDX-License-Identifier: Apache-2.0
#include "daemon/boot/device_events.h"

#include <systemd/sd-device.h>
#include <systemd/sd-event.h>

#include <chrono>
#include <thread>

namespace shadow {

struct DeviceEvents::Parts {
  sd_event* loop = nullptr;
  sd_device_monitor* monitor = nullptr;
  bool seen = false;
  ~Parts() {
    sd_device_monitor_unref(monitor);
    sd_event_unref(loop);
  }
};

DeviceEvents::DeviceEvents() : parts_(std::make_unique<Parts>()) {
  Parts& p = *parts_;
  const auto note = [](sd_device_monitor*, sd_device*, void* seen) {
    *static_cast<bool*>(seen) = true;
    return 0;
  };
  const bool ok =
      sd_event_new(&p.loop) >= 0 && sd_device_monitor_new(&p.monitor) >= 0 &&
      sd_device_monitor_filter_add_match_subsystem_devtype(p.monitor, "block", nullptr) >= 0 &&
      sd_device_monitor_attach_event(p.monitor, p.loop) >= 0 &&
      sd_device_monitor_start(p.monitor, note, &p.seen) >= 0;
  if (!ok) p.loop = sd_event_unref(p.loop);
}

DeviceEvents::~DeviceEvents() = default;

void DeviceEvents::Wait(std::int64_t timeout_ms) {
  Parts& p = *parts_;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!p.seen) {
    const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) break;
    if (p.loop == nullptr || sd_event_run(p.loop, static_cast<std::uint64_t>(left.count())) < 0) {
      std::this_thread::sleep_for(left);
    }
  }
  p.seen = false;
}

}  // namespace shadow
