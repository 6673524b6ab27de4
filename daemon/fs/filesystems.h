// SPDX-License-Identifier: Apache-2.0
// What lies on a volume: which file system, where it ends, where it is mounted.
//
// LinuxFilesystems (linux_filesystems.h) asks the mounted file system, libblkid and the kernel;
// SimFilesystems (daemon/sim) a model. Thread safe. Sizes in bytes.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace shadow {

struct FsInfo {
  std::string type;              // "ext4", "xfs", "LVM2_member", ...; "" when nothing is recognised
  std::uint64_t end_bytes = 0;   // the file system's last byte + 1; 0 when it cannot be told
  std::string mount_point;       // for people; "" when not mounted
  std::string doubt = {};        // why `end_bytes` cannot be told, a sentence; "": see `type`
  std::string cannot_grow = {};  // why Grow would fail as it is now, a sentence; "": it would not
  std::uint32_t openers = 0;     // mounts, devices on top and processes seen that have it open
};

class Filesystems {
 public:
  virtual ~Filesystems() = default;
  /// Reads only. Nothing recognised is no error. What a mounted file system says of itself counts
  /// more than what lies on the device. Anybody but a mounted file system who may write to the
  /// device makes its end unknown.
  virtual Result<FsInfo> Inspect(const std::string& device) = 0;
  /// fstrim: discards what the file system mounted from the device does not use between two
  /// offsets. A part at a time, because a large file system on a slow device takes minutes.
  /// kFailedPrecondition: it is not mounted, or only where it cannot be reached.
  virtual Status Trim(const std::string& device, std::uint64_t from, std::uint64_t bytes) = 0;
  /// Grows the file system to the end of the device. kUnimplemented if we do not know how;
  /// kFailedPrecondition if it first has to be mounted (xfs, btrfs), uncovered or checked (ext4).
  virtual Status Grow(const std::string& device) = 0;
};

}  // namespace shadow
