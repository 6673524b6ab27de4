// SPDX-License-Identifier: Apache-2.0
// Which device is which: a name for a block device that outlives reboots, renames and a new order
// of disks, and the way back from such a name to the path that the device has now.
//
// A path says where a device was seen; only an identity says which one it is. Records, tables and
// the metadata's superblock keep identities; a path is asked for at each use and never kept.
//
// Linux (linux_identities.h: sysfs, udev's database and libblkid; no LVM command, so that it works
// in an initramfs) and simulated (daemon/sim). Thread safe. Reads only.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace shadow {

enum class IdentityKind : std::uint8_t {
  kLogicalVolume,  // LVM's UUID of the logical volume
  kDeviceMapper,   // the UUID of another device-mapper device (multipath, crypt, ...)
  kDisk,           // WWN, NGUID, EUI or serial number
  kPartition,      // PARTUUID
  kLink,           // udev's name in /dev/disk/by-id
  kBackingFile,    // a loop device: its file
  kRemote,         // rbd, nbd: what it is connected to
  kName,           // nothing lasts: the kernel's name, good until the next reboot
};

struct DeviceIdentity {
  std::string id;  // a leg id (IsLegId() in daemon/dm/table.h): 1 to 63 characters
  IdentityKind kind = IdentityKind::kName;
  std::string path;  // what it is called now, like /dev/fast/db0
  std::uint32_t major = 0, minor = 0;
  std::uint64_t size_bytes = 0;
  std::string description;  // for people: "logical volume fast/db0", "disk QEMU HARDDISK (sda)"

  /// Will the id find the same device after a reboot?
  [[nodiscard]] bool Lasts() const { return kind != IdentityKind::kName; }
};

class Identities {
 public:
  virtual ~Identities() = default;

  /// The identity of the device at `path` now. kNotFound: there is none; kInvalidArgument: it is
  /// no block device.
  virtual Result<DeviceIdentity> Identify(const std::string& path) = 0;

  /// The device that the kernel calls by this number ("253:4"). kNotFound.
  virtual Result<DeviceIdentity> IdentifyNumber(const std::string& number) = 0;

  /// The device that has the identity now. Takes every id that a version of shadowd ever wrote;
  /// the answer's `id` is the one that was asked for. kNotFound: no such device is there (a logical
  /// volume that is not active is not); kFailedPrecondition: several devices have it, and none is
  /// guessed. Paths of a multipath device are answered with the multipath device.
  virtual Result<DeviceIdentity> Resolve(const std::string& id) = 0;
};

}  // namespace shadow
