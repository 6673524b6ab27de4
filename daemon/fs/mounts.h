// SPDX-License-Identifier: Apache-2.0
// Where a block device is mounted, and a descriptor of that very file system.
//
// A path is not a file system: something else may be mounted over it. So a mount is found in the
// mount tables and then opened, and what was opened must be on the device (st_dev; for btrfs,
// whose st_dev is anonymous, its own list of devices). The mount tables of all processes are
// looked at: a container's mounts are in none of ours. Thread safe; reads only.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/unique_fd.h"

namespace shadow {

/// One line of a mount table.
struct MountEntry {
  dev_t device = 0;   // anonymous (major 0) for btrfs and file systems without a device
  std::string type;   // as the kernel calls it: "ext4", ...
  std::string point;  // as the process whose table it is sees it, escapes undone
};

/// Lines of a mountinfo file, in its order; none if it cannot be read.
[[nodiscard]] std::vector<MountEntry> ReadMounts(const std::string& mountinfo);

/// How a device is mounted.
struct Mounted {
  std::string where;  // for people: "/srv", "/srv in the mounts of process 77"; "": not mounted
  std::string type;
  UniqueFd root;  // a file or directory of the file system; not ok(): nothing of it can be reached
};

/// The first mount of the device that can be reached, else the first that cannot. `proc` is where
/// procfs is.
[[nodiscard]] Mounted FindMounted(dev_t device, const std::string& proc = "/proc");

/// The number that btrfs, of which `root` is a file, has for the device; 0: it is none of its own.
/// `bytes`, if wanted, becomes how much of the device it uses.
[[nodiscard]] std::uint64_t BtrfsDeviceId(int root, dev_t device, std::uint64_t* bytes = nullptr);

}  // namespace shadow
