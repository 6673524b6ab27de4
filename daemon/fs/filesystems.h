// SPDX-License-Identifier: Apache-2.0
// What lies on a volume: which file system, where it ends, where it is mounted.
//
// LinuxFilesystems (linux_filesystems.h) asks libblkid and the kernel; SimFilesystems (daemon/sim)
// a model. Thread safe. Sizes in bytes.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace shadow {

struct FsInfo {
  std::string type;             // "ext4", "xfs", "LVM2_member", ...; "" when nothing is recognised
  std::uint64_t end_bytes = 0;  // the file system's last byte + 1; 0 when it is not known
  std::string mount_point;      // "" when not mounted
};

class Filesystems {
 public:
  virtual ~Filesystems() = default;
  /// Reads only. Nothing recognised is no error.
  virtual Result<FsInfo> Inspect(const std::string& device) = 0;
  /// fstrim: discards what the mounted file system does not use between two offsets. A part at a
  /// time, because a large file system on a slow device takes minutes.
  virtual Status Trim(const std::string& mount_point, std::uint64_t from, std::uint64_t bytes) = 0;
  /// Grows the file system to the end of the device. kUnimplemented if we do not know how;
  /// kFailedPrecondition if it first has to be mounted (xfs) or checked (ext4).
  virtual Status Grow(const std::string& device, const FsInfo& info) = 0;
};

}  // namespace shadow
