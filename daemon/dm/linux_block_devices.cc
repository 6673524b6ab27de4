// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/linux_block_devices.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <random>
#include <utility>
#include <vector>

#include "daemon/base/files.h"
#include "daemon/dm/table.h"
#include "daemon/fs/mounts.h"

namespace shadow {
namespace {

constexpr std::size_t kAlign = 4096;
constexpr std::size_t kProbeChunk = std::size_t{1} << 20;
constexpr std::int64_t kProbeUs = 120'000;  // for each of the measurements
constexpr std::size_t kProbeMinReads = 8;

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<void, FreeDeleter>;
Buffer AlignedZeroes(std::size_t size) {
  void* p = std::aligned_alloc(kAlign, size);
  if (p != nullptr) std::memset(p, 0, size);
  return Buffer(p);
}

Error FromErrno(const std::string& what, int error) {
  const std::string message = what + ": " + std::strerror(error) + ".";
  if (error == ENOENT || error == ENXIO || error == ENODEV)
    return MakeError(Code::kNotFound, message);
  if (error == EACCES || error == EPERM || error == EROFS) {
    return MakeError(Code::kPermissionDenied, message, "run shadowd as root");
  }
  if (error == EBUSY) {
    return MakeError(Code::kFailedPrecondition, message, "unmount it and close what has it open");
  }
  if (error == ENOSPC) return MakeError(Code::kOutOfSpace, message);
  return MakeError(Code::kIoError, message);
}

std::string SysPath(std::uint32_t major, std::uint32_t minor) {
  return "/sys/dev/block/" + std::to_string(major) + ":" + std::to_string(minor);
}

std::string FirstHolder(const std::string& sys) {
  const std::vector<std::string> holders = NamesIn(sys + "/holders");
  return holders.empty() ? "" : holders.front();
}

class LinuxBlockDevices final : public BlockDevices {
 public:
  explicit LinuxBlockDevices(const Clock& clock) : clock_(clock) {}

  Result<BlockInfo> Describe(const std::string& path) override {
    struct stat st {};
    if (path.empty() || path[0] != '/' || stat(path.c_str(), &st) != 0) {
      const int error = path.empty() || path[0] != '/' ? ENOENT : errno;
      if (error == EACCES || error == EPERM) return FromErrno("Device " + path, error);
      return MakeError(Code::kNotFound, "There is no device " + path + ".",
                       "give the full path of a block device, like /dev/vg/lv");
    }
    if (!S_ISBLK(st.st_mode)) {
      return MakeError(Code::kInvalidArgument, path + " is not a block device.",
                       "give the full path of a block device, like /dev/vg/lv");
    }
    BlockInfo info;
    info.path = path;
    info.major = ::major(st.st_rdev);
    info.minor = ::minor(st.st_rdev);
    const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) return FromErrno("Device " + path + " cannot be opened", errno);
    int sector = 0;
    int read_only = 0;
    if (ioctl(fd.get(), BLKGETSIZE64, &info.size_bytes) != 0 ||
        ioctl(fd.get(), BLKSSZGET, &sector) != 0 || ioctl(fd.get(), BLKROGET, &read_only) != 0) {
      return FromErrno("Device " + path + " does not tell its size", errno);
    }
    info.logical_block = static_cast<std::uint32_t>(sector);
    info.read_only = read_only != 0;
    const std::string sys = SysPath(info.major, info.minor);
    const std::string zoned = FirstLine(sys + "/queue/zoned");
    info.zoned = !zoned.empty() && zoned != "none";
    info.used_by = UsedBy(info, sys);
    return info;
  }

  Status ZeroStart(const std::string& path, std::uint64_t bytes, Claim claim) override {
    const int exclusive = claim == Claim::kTake ? O_EXCL : 0;
    const Fd fd(open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC | exclusive));
    if (fd.get() < 0) return FromErrno("Device " + path + " cannot be opened for writing", errno);
    const Buffer zeroes = AlignedZeroes(kAlign);
    if (!zeroes) return FromErrno("No memory to clear " + path, ENOMEM);
    for (std::uint64_t at = 0; at < bytes; at += kAlign) {
      if (pwrite(fd.get(), zeroes.get(), kAlign, static_cast<off_t>(at)) !=
          static_cast<ssize_t>(kAlign)) {
        return FromErrno("Device " + path + " cannot be written", errno);
      }
    }
    if (fsync(fd.get()) != 0) return FromErrno("Device " + path + " cannot be flushed", errno);
    return Ok();
  }

  Status Discard(const std::string& path) override {
    const Fd fd(open(path.c_str(), O_WRONLY | O_EXCL | O_CLOEXEC));
    if (fd.get() < 0) return FromErrno("Device " + path + " cannot be opened for writing", errno);
    std::array<std::uint64_t, 2> range{};
    if (ioctl(fd.get(), BLKGETSIZE64, &range[1]) != 0) return FromErrno("Size of " + path, errno);
    if (ioctl(fd.get(), BLKDISCARD, range.data()) != 0) {
      if (errno == EOPNOTSUPP) {
        return MakeError(Code::kUnimplemented, "Device " + path + " cannot discard.");
      }
      return FromErrno("Device " + path + " cannot be discarded", errno);
    }
    return Ok();
  }

  Result<DeviceSpeed> Probe(const std::string& path, bool may_write) override {
    const Fd fd(open(path.c_str(), (may_write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC));
    if (fd.get() < 0) return FromErrno("Device " + path + " cannot be opened", errno);
    std::uint64_t size = 0;
    if (ioctl(fd.get(), BLKGETSIZE64, &size) != 0) return FromErrno("Size of " + path, errno);
    const Buffer buffer = AlignedZeroes(kProbeChunk);
    if (!buffer || size < kProbeChunk) return DeviceSpeed{};
    DeviceSpeed speed;
    SHADOW_ASSIGN(speed.read_latency_us, RandomReads(fd.get(), path, size, buffer.get()));
    SHADOW_ASSIGN(speed.read_bandwidth, Stream(fd.get(), path, size, buffer.get(), false));
    if (may_write) {
      SHADOW_ASSIGN(speed.write_bandwidth, Stream(fd.get(), path, size, buffer.get(), true));
      if (fdatasync(fd.get()) != 0)
        return FromErrno("Device " + path + " cannot be flushed", errno);
    }
    return speed;
  }

  Status Backup(const std::string& path, std::uint64_t bytes, const std::string& file) override {
    const Fd in(open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
    if (in.get() < 0) return FromErrno("Device " + path + " cannot be opened", errno);
    const std::string fresh = file + ".new";
    const Fd out(open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (out.get() < 0) return FromErrno("File " + fresh + " cannot be made", errno);
    const Buffer buffer = AlignedZeroes(kProbeChunk);
    if (!buffer) return FromErrno("No memory to save " + path, ENOMEM);
    for (std::uint64_t at = 0; at < bytes;) {
      const std::size_t want = std::min<std::uint64_t>(kProbeChunk, RoundToAlign(bytes - at));
      const ssize_t got = pread(in.get(), buffer.get(), want, static_cast<off_t>(at));
      if (got < 0) return FromErrno("Device " + path + " cannot be read", errno);
      if (got == 0) break;
      if (write(out.get(), buffer.get(), static_cast<std::size_t>(got)) != got) {
        const int error = errno;
        unlink(fresh.c_str());
        return FromErrno("File " + fresh + " cannot be written", error);
      }
      at += static_cast<std::uint64_t>(got);
    }
    if (fsync(out.get()) != 0 || rename(fresh.c_str(), file.c_str()) != 0) {
      return FromErrno("File " + file + " cannot be written", errno);
    }
    return Ok();
  }

 private:
  static std::size_t RoundToAlign(std::uint64_t bytes) {
    return static_cast<std::size_t>((bytes + kAlign - 1) / kAlign * kAlign);
  }

  static std::string UsedBy(const BlockInfo& info, const std::string& sys) {
    const Mounted mounted = FindMounted(makedev(info.major, info.minor));
    if (!mounted.where.empty()) return "mounted on " + mounted.where;
    const std::string holder = FirstHolder(sys);
    return holder.empty() ? "" : "held by " + holder;
  }

  // The median, microseconds: a leg is measured once, and a moment in which the machine or the
  // device stood still must not say for good that it is slow.
  Result<std::uint64_t> RandomReads(int fd, const std::string& path, std::uint64_t size, void* to) {
    std::mt19937_64 random(size);
    const std::int64_t start = clock_.MonotonicUs();
    std::int64_t now = start;
    std::vector<std::int64_t> took;
    while (now - start < kProbeUs || took.size() < kProbeMinReads) {
      const std::uint64_t at = random() % (size / kAlign) * kAlign;
      if (pread(fd, to, kAlign, static_cast<off_t>(at)) < 0) {
        return FromErrno("Device " + path + " cannot be read", errno);
      }
      const std::int64_t before = std::exchange(now, clock_.MonotonicUs());
      took.push_back(now - before);
      if (now == start && took.size() > 1000) break;  // a clock that stands still
    }
    const auto middle = took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2);
    std::nth_element(took.begin(), middle, took.end());
    return static_cast<std::uint64_t>(std::max<std::int64_t>(1, *middle));
  }

  Result<std::uint64_t> Stream(int fd, const std::string& path, std::uint64_t size, void* buffer,
                               bool write) {
    const std::int64_t start = clock_.MonotonicUs();
    std::int64_t now = start;
    std::uint64_t done = 0;
    std::uint64_t at = 0;
    while (now - start < kProbeUs || done < 4 * kProbeChunk) {
      if (at + kProbeChunk > size) at = 0;
      const ssize_t n = write ? pwrite(fd, buffer, kProbeChunk, static_cast<off_t>(at))
                              : pread(fd, buffer, kProbeChunk, static_cast<off_t>(at));
      if (n < 0) return FromErrno("Device " + path + " failed the probe", errno);
      if (n == 0) break;
      done += static_cast<std::uint64_t>(n);
      at += static_cast<std::uint64_t>(n);
      now = clock_.MonotonicUs();
      if (now == start && done > size) break;
    }
    return done * 1'000'000 / static_cast<std::uint64_t>(std::max<std::int64_t>(1, now - start));
  }

  const Clock& clock_;
};

}  // namespace

std::unique_ptr<BlockDevices> MakeLinuxBlockDevices(const Clock& clock) {
  return std::make_unique<LinuxBlockDevices>(clock);
}

}  // namespace shadow
