// SPDX-License-Identifier: Apache-2.0
#include "daemon/fs/linux_filesystems.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "daemon/dm/linux_block_devices.h"
#include "daemon/fs/superblock.h"

namespace shadow {
namespace {

constexpr std::int64_t kResizeMs = 600'000;

Error FromErrno(const std::string& what, int error) {
  const bool denied = error == EACCES || error == EPERM;
  return MakeError(denied            ? Code::kPermissionDenied
                   : error == ENOENT ? Code::kNotFound
                                     : Code::kIoError,
                   what + ": " + std::strerror(error) + ".", denied ? "run shadowd as root" : "");
}

struct ProbeDeleter {
  void operator()(blkid_probe probe) const { blkid_free_probe(probe); }
};
using Probe = std::unique_ptr<blkid_struct_probe, ProbeDeleter>;

class LinuxFilesystems final : public Filesystems {
 public:
  explicit LinuxFilesystems(ProcessRunner& runner) : runner_(runner) {}

  Result<FsInfo> Inspect(const std::string& device) override {
    struct stat st {};
    const int fd = open(device.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return FromErrno("Device " + device + " cannot be opened", errno);
    FsInfo info;
    if (fstat(fd, &st) == 0 && S_ISBLK(st.st_mode)) {
      info.mount_point = FindMountPoint(ReadTextFile("/proc/self/mountinfo"), major(st.st_rdev),
                                        minor(st.st_rdev));
    }
    Probe probe(blkid_new_probe());
    if (!probe || blkid_probe_set_device(probe.get(), fd, 0, 0) != 0) {
      close(fd);
      return MakeError(Code::kIoError, "libblkid cannot look at " + device + ".");
    }
    blkid_probe_enable_superblocks(probe.get(), 1);
    blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE);
    blkid_probe_enable_partitions(probe.get(), 1);
    const int found = blkid_do_safeprobe(probe.get());
    const char* value = nullptr;
    if (found == 0 && blkid_probe_lookup_value(probe.get(), "TYPE", &value, nullptr) == 0) {
      info.type = value;
    } else if (found == 0 &&
               blkid_probe_lookup_value(probe.get(), "PTTYPE", &value, nullptr) == 0) {
      info.type = std::string(value) + " partition table";
    } else if (found == -2) {
      info.type = "several signatures";  // ambivalent: nothing is known for sure
    }
    std::vector<std::uint8_t> start(kSuperblockBytes);
    if (pread(fd, start.data(), start.size(), 0) == static_cast<ssize_t>(start.size())) {
      info.end_bytes = FilesystemEnd(info.type, start);
    }
    close(fd);
    return info;
  }

  Status Trim(const std::string& mount_point, std::uint64_t from, std::uint64_t bytes) override {
    const int fd = open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return FromErrno("The file system on " + mount_point + " cannot be opened", errno);
    fstrim_range range{};
    range.start = from;
    range.len = bytes;
    const int trimmed = ioctl(fd, FITRIM, &range);
    const int error = errno;
    close(fd);
    if (trimmed == 0) return Ok();
    if (error == EOPNOTSUPP) {
      return MakeError(Code::kUnimplemented,
                       "The file system on " + mount_point + " cannot be trimmed.");
    }
    return FromErrno("The file system on " + mount_point + " cannot be trimmed", error);
  }

  Status Grow(const std::string& device, const FsInfo& info) override {
    if (info.type == "ext2" || info.type == "ext3" || info.type == "ext4") {
      return Run({"resize2fs", device}, info, device);
    }
    if (info.type == "xfs") {
      if (info.mount_point.empty()) {
        return MakeError(Code::kFailedPrecondition,
                         "The xfs on " + device + " is not mounted, so it cannot be grown.",
                         "mount it and run xfs_growfs");
      }
      return Run({"xfs_growfs", info.mount_point}, info, device);
    }
    return MakeError(Code::kUnimplemented,
                     "shadowd does not know how to grow what is on " + device + " (" +
                         (info.type.empty() ? "nothing known" : info.type) + ").",
                     "grow it by hand");
  }

 private:
  Status Run(const std::vector<std::string>& argv, const FsInfo& info, const std::string& device) {
    SHADOW_ASSIGN(const ProcessResult r, runner_.Run(argv, kResizeMs));
    if (r.exit_code == 0) return Ok();
    return MakeError(
        Code::kIoError,
        "The " + info.type + " on " + device + " was not grown: " + FirstComplaint(r) + ".",
        "run " + argv[0] + " by hand");
  }

  ProcessRunner& runner_;
};

}  // namespace

std::unique_ptr<Filesystems> MakeLinuxFilesystems(ProcessRunner& runner) {
  return std::make_unique<LinuxFilesystems>(runner);
}

}  // namespace shadow
