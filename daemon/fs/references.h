// SPDX-License-Identifier: Apache-2.0
// Who names a device by what will be its volume's, or by its own path: /etc/fstab, crypttab, swap,
// the kernel's command line, systemd's units. Once the device is a leg these have to name the
// volume. Pure but for reading the files.
#pragma once

#include <string>
#include <vector>

namespace shadow {

/// What a device is called.
struct DeviceNames {
  std::vector<std::string> paths;  // /dev/slow/db0, /dev/mapper/slow-db0, links of udev
  std::string part_uuid;           // "" if it is no partition
};

struct Reference {
  std::string place;  // "/etc/fstab, line 3"
  std::string name;   // as it stands there
};

/// Places under `root` that name the device by its path or PARTUUID. UUID= and LABEL= stay right:
/// the volume has them, and a leg is hidden.
[[nodiscard]] std::vector<Reference> FindReferences(const DeviceNames& names,
                                                    const std::string& root = "/");

/// The names a device has now: `path`, and the links in /dev that lead to the same device.
[[nodiscard]] DeviceNames NamesOf(const std::string& path, const std::string& dev = "/dev");

}  // namespace shadow
