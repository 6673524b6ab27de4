// SPDX-License-Identifier: Apache-2.0
#include "daemon/fs/live_fs.h"

#include <linux/btrfs.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xfs/xfs.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "daemon/fs/mounts.h"
#include "daemon/fs/superblock.h"

namespace shadow {
namespace {

// fs/ext4/ext4.h; in the headers of user space only since 6.4. The number of blocks.
constexpr unsigned long kExt4ResizeFs = _IOW('f', 16, __u64);  // NOLINT(google-runtime-int)

Error FsFailed(const std::string& what, int error) {
  const bool denied = error == EACCES || error == EPERM;
  return MakeError(denied ? Code::kPermissionDenied : Code::kIoError,
                   what + ": " + std::strerror(error) + ".", denied ? "run shadowd as root" : "");
}

bool XfsGeometry(int root, xfs_fsop_geom* geometry) {
  std::memset(geometry, 0, sizeof(*geometry));
  return ioctl(root, XFS_IOC_FSGEOMETRY, geometry) == 0 && geometry->blocksize != 0;
}

Status GrowXfs(int root, std::uint64_t bytes) {
  xfs_fsop_geom geometry;
  if (!XfsGeometry(root, &geometry)) return FsFailed("The xfs does not tell its size", errno);
  xfs_growfs_data grow{};
  grow.newblocks = bytes / geometry.blocksize;
  grow.imaxpct = geometry.imaxpct;
  if (grow.newblocks <= geometry.datablocks) return Ok();
  if (ioctl(root, XFS_IOC_FSGROWFSDATA, &grow) == 0) return Ok();
  return FsFailed("The xfs was not grown", errno);
}

Status GrowExt(int root, std::uint64_t bytes) {
  struct statfs fs {};
  if (fstatfs(root, &fs) != 0 || fs.f_bsize <= 0) {
    return FsFailed("The file system does not tell its block size", errno);
  }
  __u64 blocks = bytes / static_cast<std::uint64_t>(fs.f_bsize);
  if (ioctl(root, kExt4ResizeFs, &blocks) == 0) return Ok();
  return FsFailed("The ext4 was not grown", errno);
}

Status GrowBtrfs(int root, dev_t device) {
  btrfs_ioctl_vol_args args{};
  const std::uint64_t id = BtrfsDeviceId(root, device);
  if (id == 0) return MakeError(Code::kIoError, "The btrfs does not know the device.");
  std::snprintf(args.name, sizeof(args.name), "%llu:max", static_cast<unsigned long long>(id));
  if (ioctl(root, BTRFS_IOC_RESIZE, &args) == 0) return Ok();
  return FsFailed("The btrfs was not grown", errno);
}

}  // namespace

std::uint64_t LiveEnd(int root, const std::string& type, dev_t device, int device_fd) {
  if (type == "xfs") {
    xfs_fsop_geom geometry;
    if (!XfsGeometry(root, &geometry)) return 0;
    return BytesOf(geometry.datablocks, geometry.blocksize);
  }
  if (type == "btrfs") {
    std::uint64_t bytes = 0;
    return BtrfsDeviceId(root, device, &bytes) != 0 ? bytes : 0;
  }
  if (!IsExt(type)) return 0;
  // ext4 keeps its superblock in the device's page cache, so a buffered read sees what it is now.
  // Its blocks for files, which it tells itself, are never more.
  std::vector<std::uint8_t> start(kSuperblockBytes);
  struct statfs fs {};
  if (pread(device_fd, start.data(), start.size(), 0) != static_cast<ssize_t>(start.size()) ||
      fstatfs(root, &fs) != 0 || fs.f_type != EXT4_SUPER_MAGIC || fs.f_bsize <= 0) {
    return 0;
  }
  const std::uint64_t end = FilesystemEnd(type, start);
  if (end == 0) return 0;
  return std::max(end, BytesOf(fs.f_blocks, static_cast<std::uint64_t>(fs.f_bsize)));
}

bool CanGrowLive(const std::string& type) {
  return type == "xfs" || type == "btrfs" || IsExt(type);
}

Status LiveGrow(int root, const std::string& type, dev_t device, std::uint64_t bytes) {
  if (type == "xfs") return GrowXfs(root, bytes);
  if (IsExt(type)) return GrowExt(root, bytes);
  if (type == "btrfs") return GrowBtrfs(root, device);
  return MakeError(Code::kUnimplemented,
                   "shadowd does not know how to grow a mounted " + type + ".", "grow it by hand");
}

Status LiveTrim(int root, std::uint64_t from, std::uint64_t bytes) {
  fstrim_range range{};
  range.start = from;
  range.len = bytes;
  if (ioctl(root, FITRIM, &range) == 0) return Ok();
  if (errno == EOPNOTSUPP || errno == ENOTTY) {
    return MakeError(Code::kUnimplemented, "The file system cannot be trimmed.");
  }
  return FsFailed("The file system cannot be trimmed", errno);
}

}  // namespace shadow
