// SPDX-License-Identifier: Apache-2.0
#include "daemon/fs/linux_filesystems.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "daemon/base/unique_fd.h"
#include "daemon/fs/live_fs.h"
#include "daemon/fs/mounts.h"
#include "daemon/fs/openers.h"
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

// The device, open for reading. A regular file (of the tests) is like a device nobody else uses.
struct Opened {
  UniqueFd fd;
  bool block = false;
  dev_t device = 0;
};

Result<Opened> Open(const std::string& device) {
  Opened out;
  struct stat st {};
  out.fd.reset(open(device.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!out.fd.ok() || fstat(out.fd.get(), &st) != 0) {
    return FromErrno("Device " + device + " cannot be opened", errno);
  }
  out.block = S_ISBLK(st.st_mode);
  out.device = st.st_rdev;
  return out;
}

Mounted MountOf(const Opened& opened) {
  return opened.block ? FindMounted(opened.device) : Mounted{};
}

Error Covered(const std::string& device, const Mounted& mounted) {
  return MakeError(Code::kFailedPrecondition,
                   "The file system of " + device + " is mounted on " + mounted.where +
                       ", but something else is mounted over it or shadowd may not look there.",
                   "unmount what is over it, or mount it in another place as well");
}

Result<std::string> Signature(int fd, const std::string& device) {
  const Probe probe(blkid_new_probe());
  if (!probe || blkid_probe_set_device(probe.get(), fd, 0, 0) != 0) {
    return MakeError(Code::kIoError, "libblkid cannot look at " + device + ".");
  }
  blkid_probe_enable_superblocks(probe.get(), 1);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE);
  blkid_probe_enable_partitions(probe.get(), 1);
  const int found = blkid_do_safeprobe(probe.get());
  const char* value = nullptr;
  // Ambivalent: nothing is known for sure.
  if (found == -2) return std::string("several signatures");
  if (found != 0) return std::string();
  if (blkid_probe_lookup_value(probe.get(), "TYPE", &value, nullptr) == 0) {
    return std::string(value);
  }
  if (blkid_probe_lookup_value(probe.get(), "PTTYPE", &value, nullptr) == 0) {
    return std::string(value) + " partition table";
  }
  return std::string();
}

// Why a file system that is not mounted cannot be grown, a sentence; "" if it can.
std::string UnmountedObstacle(int fd, const std::string& type, const std::string& device) {
  if (type == "xfs" || type == "btrfs") {
    return "The " + type + " on " + device + " is not mounted where shadowd can see it.";
  }
  if (!IsExt(type)) {
    return "shadowd does not know how to grow what is on " + device + " (" +
           (type.empty() ? "nothing known" : type) + ").";
  }
  std::vector<std::uint8_t> start(kSuperblockBytes);
  if (pread(fd, start.data(), start.size(), 0) < 0 || ExtNeedsCheck(start)) {
    return "The " + type + " on " + device + " has to be checked by e2fsck first.";
  }
  return "";
}

class LinuxFilesystems final : public Filesystems {
 public:
  explicit LinuxFilesystems(ProcessRunner& runner) : runner_(runner) {}

  Result<FsInfo> Inspect(const std::string& device) override {
    FsInfo info;
    Openers openers;
    struct stat st {};
    // Before we open it ourselves.
    if (stat(device.c_str(), &st) == 0 && S_ISBLK(st.st_mode)) openers = FindOpeners(st.st_rdev);
    SHADOW_ASSIGN(const Opened opened, Open(device));
    const Mounted mounted = MountOf(opened);
    info.mount_point = mounted.where;
    info.openers = openers.holders + openers.processes + (mounted.where.empty() ? 0 : 1);
    if (!mounted.where.empty()) {
      info.type = mounted.type;
      if (!mounted.root.ok()) {
        info.doubt = Covered(device, mounted).message;
      } else {
        info.end_bytes = LiveEnd(mounted.root.get(), mounted.type, opened.device, opened.fd.get());
      }
    } else {
      // While somebody has the device open its page cache stays, and direct writes pass it by.
      if (opened.block && ioctl(opened.fd.get(), BLKFLSBUF) != 0) {
        return FromErrno("What is cached of " + device + " cannot be dropped", errno);
      }
      SHADOW_ASSIGN(info.type, Signature(opened.fd.get(), device));
      std::vector<std::uint8_t> start(kSuperblockBytes);
      if (pread(opened.fd.get(), start.data(), start.size(), 0) < 0) {
        return FromErrno("Device " + device + " cannot be read", errno);
      }
      info.end_bytes = FilesystemEnd(info.type, start);
    }
    if (openers.holders != 0) {
      info.doubt = "The device " + openers.holder + " lies on it.";
    } else if (mounted.where.empty() && !openers.writer.empty()) {
      info.doubt = openers.writer + " has it open for writing.";
    }
    if (!info.doubt.empty()) info.end_bytes = 0;
    info.cannot_grow = mounted.where.empty() ? UnmountedObstacle(opened.fd.get(), info.type, device)
                       : !mounted.root.ok()  ? Covered(device, mounted).message
                       : CanGrowLive(mounted.type)
                           ? ""
                           : "shadowd does not know how to grow " + mounted.type + ".";
    return info;
  }

  Status Trim(const std::string& device, std::uint64_t from, std::uint64_t bytes) override {
    SHADOW_ASSIGN(const Opened opened, Open(device));
    const Mounted mounted = MountOf(opened);
    if (mounted.where.empty()) {
      return MakeError(Code::kFailedPrecondition, "Nothing of " + device + " is mounted.");
    }
    if (!mounted.root.ok()) return Covered(device, mounted);
    return LiveTrim(mounted.root.get(), from, bytes);
  }

  Status Grow(const std::string& device) override {
    SHADOW_ASSIGN(const Opened opened, Open(device));
    const Mounted mounted = MountOf(opened);
    if (!mounted.where.empty()) {
      if (!mounted.root.ok()) return Covered(device, mounted);
      std::uint64_t bytes = 0;
      if (ioctl(opened.fd.get(), BLKGETSIZE64, &bytes) != 0) {
        return FromErrno("Size of " + device, errno);
      }
      return LiveGrow(mounted.root.get(), mounted.type, opened.device, bytes);
    }
    SHADOW_ASSIGN(const std::string type, Signature(opened.fd.get(), device));
    const std::string obstacle = UnmountedObstacle(opened.fd.get(), type, device);
    if (obstacle.empty()) return Run({"resize2fs", device}, type, device);
    const bool mountable = type == "xfs" || type == "btrfs" || IsExt(type);
    return MakeError(mountable ? Code::kFailedPrecondition : Code::kUnimplemented, obstacle,
                     IsExt(type) ? "run e2fsck -f " + device + ", or mount it, and grow it by hand"
                     : mountable ? "mount it and grow it by hand"
                                 : "grow it by hand");
  }

 private:
  Status Run(const std::vector<std::string>& argv, const std::string& type,
             const std::string& device) {
    SHADOW_ASSIGN(const ProcessResult r, runner_.Run(argv, kResizeMs));
    if (r.exit_code == 0) return Ok();
    std::string complaint = FirstComplaint(r);
    while (!complaint.empty() && (complaint.back() == '.' || complaint.back() == ' ')) {
      complaint.pop_back();
    }
    return MakeError(Code::kIoError,
                     "The " + type + " on " + device + " was not grown: " + complaint + ".",
                     "run " + argv[0] + " by hand");
  }

  ProcessRunner& runner_;
};

}  // namespace

std::unique_ptr<Filesystems> MakeLinuxFilesystems(ProcessRunner& runner) {
  return std::make_unique<LinuxFilesystems>(runner);
}

}  // namespace shadow
