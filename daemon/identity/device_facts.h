// SPDX-License-Identifier: Apache-2.0
// What sysfs and udev know about one block device, and which identities follow from it. Pure but
// for ReadFacts(), which reads sysfs files and loop devices' backing files' inode.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/identity/identities.h"

namespace shadow {

struct DeviceFacts {
  std::string name;  // the kernel's: sda, dm-3
  std::uint32_t major = 0, minor = 0;
  std::uint64_t size_bytes = 0;
  std::string dm_name, dm_uuid;
  std::string parent;                // a partition's disk (kernel name); "" for a whole device
  std::string part_uuid;             // not in sysfs: filled in by the caller
  std::vector<std::string> serials;  // wwid, then serial numbers, as sysfs writes them
  std::string model;
  std::string backing;             // loop: "<inode>.<offset>.<file>"
  std::string backing_file;        // loop: the file's path
  std::string remote;              // rbd, nbd
  std::vector<std::string> links;  // udev's names in /dev/disk/by-id and by-partuuid, sorted
  std::vector<std::string> holders;
};

/// Reads what sysfs has in `directory` (/sys/class/block/<name>). kNotFound if there is none.
[[nodiscard]] Result<DeviceFacts> ReadFacts(const std::string& directory);

/// The identity to record. Nothing that needs udev comes before what sysfs says, so the answer is
/// the same in an initramfs.
[[nodiscard]] DeviceIdentity IdentityOf(const DeviceFacts& facts);

/// Does the device have this identity, in any spelling a version of shadowd wrote?
[[nodiscard]] bool HasIdentity(const DeviceFacts& facts, const std::string& id);

/// Can the answer of HasIdentity() depend on part_uuid (which is read from the disk), on links?
[[nodiscard]] bool NeedsPartUuid(const std::string& id);
[[nodiscard]] bool NeedsLinks(const std::string& id);

/// LVM's spelling of the logical volume's UUID, "" if the device-mapper UUID is none of an LV that
/// users see (the hidden layers below one have a suffix).
[[nodiscard]] std::string LvUuidOf(const std::string& dm_uuid);

/// "vg/lv" of LVM's device-mapper name (it doubles the hyphens of both), "" if it is none.
[[nodiscard]] std::string LvNameOf(const std::string& dm_name);

}  // namespace shadow
