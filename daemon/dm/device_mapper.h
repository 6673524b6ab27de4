// SPDX-License-Identifier: Apache-2.0
// Device mapper as the daemon uses it: the one door to the kernel target.
//
// Two implementations: LibDeviceMapper (libdm.h) talks to the kernel, SimDeviceMapper
// (daemon/sim/sim_world.h) to a model of docs/dm-shadow.rst. All methods are thread safe. Errors:
// kNotFound (no such device), kUnavailable (no device mapper, module not loaded),
// kPermissionDenied, kFailedPrecondition (refused by the target or busy: the kernel's own sentence
// is in the message), kIoError. A failed call has changed nothing, unless it says otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace shadow {

struct DmInfo {
  std::string name;
  std::string uuid;
  std::uint32_t major = 0, minor = 0;
  std::int32_t open_count = 0;
  bool suspended = false;
  bool live_table = false;
  bool inactive_table = false;
};

struct DmTarget {
  std::uint64_t sectors = 0;
  std::string type;
  std::string params;
};

class DeviceMapper {
 public:
  virtual ~DeviceMapper() = default;

  /// Can we talk to device mapper at all?
  virtual Status CheckControl() = 0;
  /// "1.0.0" of the target type `shadow`; kUnavailable when the module is not loaded.
  virtual Result<std::string> TargetVersion() = 0;

  /// Makes a device with one shadow target and starts it; leaves nothing behind if that fails.
  virtual Status Create(const std::string& name, const std::string& uuid, std::uint64_t sectors,
                        const std::string& params) = 0;
  /// Puts a table beside the live one.
  virtual Status Load(const std::string& name, std::uint64_t sectors,
                      const std::string& params) = 0;
  /// Forgets a loaded table that is not live yet.
  virtual Status ClearInactive(const std::string& name) = 0;
  virtual Status Suspend(const std::string& name) = 0;
  /// Starts the device again, with the loaded table if there is one: the kernel itself suspends,
  /// swaps and resumes, so the daemon is not needed while I/O waits. If the new table is refused
  /// the device stays suspended.
  virtual Status Resume(const std::string& name) = 0;
  /// kFailedPrecondition while it is open.
  virtual Status Remove(const std::string& name) = 0;

  /// Sends a message to the target; its answer, or "".
  virtual Result<std::string> Message(const std::string& name, const std::string& text) = 0;
  virtual Result<DmTarget> StatusOf(const std::string& name) = 0;
  virtual Result<DmTarget> TableOf(const std::string& name) = 0;
  virtual Result<DmInfo> Info(const std::string& name) = 0;
  /// Devices whose UUID starts with `uuid_prefix`.
  virtual Result<std::vector<DmInfo>> List(const std::string& uuid_prefix) = 0;

  /// What of this device was given up and is still in the kernel; "" when nothing is.
  virtual std::string Unanswered(const std::string& /*name*/) { return ""; }

  /// Waits until any device raised an event, at most `timeout_ms`. True: there was one.
  virtual Result<bool> WaitEvent(std::int64_t timeout_ms) = 0;
};

/// The dm UUID of a volume.
[[nodiscard]] inline std::string DmUuid(const std::string& uuid) { return "SHADOW-" + uuid; }

}  // namespace shadow
