// SPDX-License-Identifier: Apache-2.0
// What has to be known of a device before it is taken or written over: who uses it, what is on it,
// on what it lies; and a hold on it, so that this stays so until a table has it.
//
// Linux (linux_device_guard.h) and simulated (daemon/sim). Thread safe. Nothing here writes but
// WriteBytes().
// Errors: kNotFound, kInvalidArgument (no block device), kPermissionDenied, kIoError.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace shadow {

/// What libblkid recognises: a file system, LVM, LUKS, md, swap, bcache, Ceph, ZFS, a partition
/// table, ...
struct Signature {
  std::string type;   // blkid's name: "ext4", "LVM2_member", "gpt"
  std::string label;  // "" without one
  std::string uuid;   // "" without one
  friend bool operator==(const Signature&, const Signature&) = default;
};

/// Bytes at a place of a device.
struct DeviceBytes {
  std::uint64_t offset = 0;
  std::string bytes;
  friend bool operator==(const DeviceBytes&, const DeviceBytes&) = default;
};

/// One device on the way down from a device to the disks.
struct StackedDevice {
  std::uint32_t major = 0, minor = 0;
  std::string name;     // the kernel's
  std::string dm_name;  // "" if it is none of device mapper's
  std::string dm_uuid;
  bool under_shadow = false;  // only reached through a shadow volume
};

/// While it lives nobody else can open the device exclusively: mkfs, mount, LVM and device mapper
/// itself are refused. Let go right before the table is loaded.
class DeviceHold {
 public:
  virtual ~DeviceHold() = default;
};

class DeviceGuard {
 public:
  virtual ~DeviceGuard() = default;
  /// "" when nobody uses the device, else "mounted on /mnt", "held by dm-3", "opened by qemu
  /// (4711)". Sees use without an exclusive claim, too. Openers that go away by themselves (udev)
  /// are waited for, half a second.
  virtual Result<std::string> UsedBy(const std::string& path) = 0;
  /// Everything that is recognised on it.
  virtual Result<std::vector<Signature>> Signatures(const std::string& path) = 0;
  /// The magic bytes by which libblkid recognises what is on it; of some only the first ones that
  /// it meets, so who wipes them asks again until there are none.
  virtual Result<std::vector<DeviceBytes>> SignatureBytes(const std::string& path) = 0;
  /// Writes them, durably, under an exclusive claim. kFailedPrecondition: somebody has the device.
  virtual Status WriteBytes(const std::string& path, const std::vector<DeviceBytes>& bytes) = 0;
  /// Are its first and last MiB zeroes?
  virtual Result<bool> LooksBlank(const std::string& path) = 0;
  /// The device itself and all that it lies on: partitions, device mapper, md, loop devices' files.
  virtual Result<std::vector<StackedDevice>> Stack(const std::string& path) = 0;
  /// kFailedPrecondition: somebody was faster.
  virtual Result<std::unique_ptr<DeviceHold>> Hold(const std::string& path) = 0;
};

/// "1080:53ef", and the way back; nothing if it is none.
[[nodiscard]] std::string FormatBytes(const DeviceBytes& bytes);
[[nodiscard]] std::optional<DeviceBytes> ParseBytes(const std::string& text);
/// "ext4 (label backup), gpt"
[[nodiscard]] std::string ToText(const std::vector<Signature>& signatures);
/// "ext4,gpt": what --overwrite names.
[[nodiscard]] std::string TypesOf(const std::vector<Signature>& signatures);

}  // namespace shadow
