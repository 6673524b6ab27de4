// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/linux_device_guard.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "daemon/base/files.h"
#include "daemon/base/unique_fd.h"
#include "daemon/dm/table.h"
#include "daemon/fs/mounts.h"
#include "daemon/fs/openers.h"

namespace shadow {
namespace {

constexpr int kLooks = 10;
constexpr std::chrono::milliseconds kBetweenLooks{50};
constexpr std::size_t kEdge = std::size_t{1} << 20;
constexpr int kMostDepth = 32;

Error GuardError(const std::string& what, int error) {
  const Code code = error == ENOENT || error == ENXIO || error == ENODEV ? Code::kNotFound
                    : error == EACCES || error == EPERM                  ? Code::kPermissionDenied
                                                                         : Code::kIoError;
  return MakeError(code, what + ": " + std::strerror(error) + ".");
}

class LinuxHold final : public DeviceHold {
 public:
  explicit LinuxHold(int fd) : fd_(fd) {}

 private:
  UniqueFd fd_;
};

struct ProbeFree {
  void operator()(blkid_probe p) const { blkid_free_probe(p); }
};

std::string SysOf(dev_t device) {
  return "/sys/dev/block/" + std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

class LinuxDeviceGuard final : public DeviceGuard {
 public:
  explicit LinuxDeviceGuard(DeviceMapper& dm) : dm_(dm) {}

  Result<std::string> UsedBy(const std::string& path) override {
    SHADOW_ASSIGN(const dev_t device, Number(path));
    const Mounted mounted = FindMounted(device);
    if (!mounted.where.empty()) return "mounted on " + mounted.where;
    std::string user;
    for (int look = 0; look < kLooks; ++look) {
      if (look > 0) std::this_thread::sleep_for(kBetweenLooks);
      user = UserNow(path, device);
      if (user.empty()) break;
    }
    return user;
  }

  Result<std::vector<Signature>> Signatures(const std::string& path) override {
    SHADOW_TRY(Number(path));
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) return GuardError("Device " + path + " cannot be opened", errno);
    const std::unique_ptr<blkid_struct_probe, ProbeFree> probe(blkid_new_probe());
    if (!probe || blkid_probe_set_device(probe.get(), fd.get(), 0, 0) != 0) {
      return MakeError(Code::kIoError, "Device " + path + " cannot be probed.");
    }
    blkid_probe_enable_superblocks(probe.get(), 1);
    // Signatures with a bad checksum are data all the same.
    blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_LABEL |
                                                       BLKID_SUBLKS_UUID | BLKID_SUBLKS_BADCSUM);
    blkid_probe_enable_partitions(probe.get(), 1);
    std::vector<Signature> found;
    while (true) {
      errno = 0;
      const int r = blkid_do_probe(probe.get());
      if (r < 0) return GuardError("Device " + path + " cannot be probed", errno ? errno : EIO);
      if (r != 0) break;
      Signature s;
      s.type = Value(probe.get(), "TYPE");
      if (s.type.empty()) s.type = Value(probe.get(), "PTTYPE");
      s.label = Value(probe.get(), "LABEL");
      s.uuid = Value(probe.get(), "UUID");
      if (s.uuid.empty()) s.uuid = Value(probe.get(), "PTUUID");
      if (!s.type.empty() && std::count(found.begin(), found.end(), s) == 0) found.push_back(s);
    }
    return found;
  }

  Result<std::vector<DeviceBytes>> SignatureBytes(const std::string& path) override {
    SHADOW_TRY(Number(path));
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) return GuardError("Device " + path + " cannot be opened", errno);
    (void)ioctl(fd.get(), BLKFLSBUF, 0);  // device mapper writes past the page cache
    const std::unique_ptr<blkid_struct_probe, ProbeFree> probe(blkid_new_probe());
    if (!probe || blkid_probe_set_device(probe.get(), fd.get(), 0, 0) != 0) {
      return MakeError(Code::kIoError, "Device " + path + " cannot be probed.");
    }
    blkid_probe_enable_superblocks(probe.get(), 1);
    blkid_probe_set_superblocks_flags(
        probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC | BLKID_SUBLKS_BADCSUM);
    blkid_probe_enable_partitions(probe.get(), 1);
    blkid_probe_set_partitions_flags(probe.get(), BLKID_PARTS_MAGIC);
    std::vector<DeviceBytes> found;
    while (true) {
      errno = 0;
      const int r = blkid_do_probe(probe.get());
      if (r < 0) return GuardError("Device " + path + " cannot be probed", errno ? errno : EIO);
      if (r != 0) break;
      for (const char* chain : {"SBMAGIC", "PTMAGIC"}) {
        const char* magic = nullptr;
        std::size_t size = 0;
        const std::string offset = Value(probe.get(), (std::string(chain) + "_OFFSET").c_str());
        if (offset.empty() || blkid_probe_lookup_value(probe.get(), chain, &magic, &size) != 0)
          continue;
        DeviceBytes one{std::strtoull(offset.c_str(), nullptr, 10), std::string(magic, size)};
        if (std::count(found.begin(), found.end(), one) == 0) found.push_back(std::move(one));
      }
    }
    return found;
  }

  Status WriteBytes(const std::string& path, const std::vector<DeviceBytes>& bytes) override {
    SHADOW_TRY(Number(path));
    const UniqueFd fd(open(path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0 && errno == EBUSY) {
      return MakeError(Code::kFailedPrecondition, path + " is in use.",
                       "unmount it and close what has it open");
    }
    if (fd.get() < 0) return GuardError("Device " + path + " cannot be opened", errno);
    for (const DeviceBytes& one : bytes) {
      const ssize_t wrote =
          pwrite(fd.get(), one.bytes.data(), one.bytes.size(), static_cast<off_t>(one.offset));
      if (wrote != static_cast<ssize_t>(one.bytes.size()))
        return GuardError("Device " + path + " cannot be written", wrote < 0 ? errno : EIO);
    }
    if (fsync(fd.get()) != 0) return GuardError("Device " + path + " cannot be written", errno);
    return Ok();
  }

  Result<bool> LooksBlank(const std::string& path) override {
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) return GuardError("Device " + path + " cannot be opened", errno);
    const off_t size = lseek(fd.get(), 0, SEEK_END);
    if (size < 0) return GuardError("Size of " + path, errno);
    std::vector<char> edge(kEdge);
    const off_t last = std::max<off_t>(0, size - static_cast<off_t>(kEdge));
    for (const off_t at : {off_t{0}, last}) {
      const ssize_t got = pread(fd.get(), edge.data(), edge.size(), at);
      if (got < 0) return GuardError("Device " + path + " cannot be read", errno);
      if (std::any_of(edge.begin(), edge.begin() + got, [](char c) { return c != 0; }))
        return false;
    }
    return true;
  }

  Result<std::vector<StackedDevice>> Stack(const std::string& path) override {
    SHADOW_ASSIGN(const dev_t device, Number(path));
    std::vector<StackedDevice> all;
    Walk(RealPath(SysOf(device)), false, 0, &all);
    return all;
  }

  Result<std::unique_ptr<DeviceHold>> Hold(const std::string& path) override {
    // For reading: closing it makes udev look at nothing.
    const int fd = open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) return std::unique_ptr<DeviceHold>(std::make_unique<LinuxHold>(fd));
    if (errno != EBUSY) return GuardError("Device " + path + " cannot be held", errno);
    return MakeError(Code::kFailedPrecondition, path + " was taken by another program just now.",
                     "free it, or name another device");
  }

 private:
  static Result<dev_t> Number(const std::string& path) {
    struct stat st {};
    if (stat(path.c_str(), &st) != 0) return GuardError("Device " + path, errno);
    if (!S_ISBLK(st.st_mode)) {
      return MakeError(Code::kInvalidArgument, path + " is not a block device.");
    }
    return st.st_rdev;
  }

  static std::string Value(blkid_probe probe, const char* name) {
    const char* value = nullptr;
    if (blkid_probe_lookup_value(probe, name, &value, nullptr) != 0 || value == nullptr) return "";
    return value;
  }

  // Who has it now; and how often we ourselves do.
  std::string UserNow(const std::string& path, dev_t device) {
    const std::string sys = SysOf(device);
    const Openers openers = FindOpeners(device);
    if (!openers.holder.empty()) return "held by " + openers.holder;
    if (!openers.other.empty()) return "opened by " + openers.other;
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0 && errno == EBUSY) return "opened by another program or the kernel";
    const std::string dm_name = FirstLine(sys + "/dm/name");
    if (dm_name.empty()) return "";
    const auto info = dm_.Info(dm_name);
    if (!info.ok() || info->open_count <= static_cast<int>(openers.ours) + 1)
      return "";  // the one just above
    return "opened by the kernel, or from a container";
  }

  // `sys` is the device's real directory in sysfs.
  static void Walk(const std::string& sys, bool under_shadow, int depth,
                   std::vector<StackedDevice>* all) {
    if (sys.empty() || depth > kMostDepth) return;
    StackedDevice one;
    const std::string number = FirstLine(sys + "/dev");
    const auto colon = number.find(':');
    if (colon == std::string::npos) return;
    one.major = static_cast<std::uint32_t>(std::strtoul(number.c_str(), nullptr, 10));
    one.minor = static_cast<std::uint32_t>(std::strtoul(number.c_str() + colon + 1, nullptr, 10));
    one.name = sys.substr(sys.rfind('/') + 1);
    one.dm_name = FirstLine(sys + "/dm/name");
    one.dm_uuid = FirstLine(sys + "/dm/uuid");
    one.under_shadow = under_shadow;
    const auto same = std::find_if(all->begin(), all->end(), [&](const StackedDevice& d) {
      return d.major == one.major && d.minor == one.minor;
    });
    // Reached again, and now not only through a shadow volume.
    if (same != all->end() && (!same->under_shadow || under_shadow)) return;
    if (same != all->end()) {
      same->under_shadow = false;
    } else {
      all->push_back(one);
    }
    const bool below_shadow = under_shadow || one.dm_uuid.rfind("SHADOW-", 0) == 0;
    for (const std::string& slave : NamesIn(sys + "/slaves")) {
      Walk(RealPath(sys + "/slaves/" + slave), below_shadow, depth + 1, all);
    }
    struct stat st {};
    // A partition lies on its disk.
    if (stat((sys + "/partition").c_str(), &st) == 0) {
      Walk(sys.substr(0, sys.rfind('/')), below_shadow, depth + 1, all);
    }
    const std::string file = FirstLine(sys + "/loop/backing_file");
    if (!file.empty() && stat(file.c_str(), &st) == 0) {
      const dev_t on = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
      Walk(RealPath(SysOf(on)), below_shadow, depth + 1, all);
    }
  }

  DeviceMapper& dm_;
};

}  // namespace

std::string FormatBytes(const DeviceBytes& bytes) {
  static constexpr const char* kDigits = "0123456789abcdef";
  std::string text = std::to_string(bytes.offset) + ":";
  for (const char c : bytes.bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += {kDigits[byte >> 4U], kDigits[byte & 15U]};
  }
  return text;
}

std::optional<DeviceBytes> ParseBytes(const std::string& text) {
  const auto colon = text.find(':');
  if (colon == std::string::npos || (text.size() - colon) % 2 == 0) return std::nullopt;
  const auto offset = ParseNumber(text.substr(0, colon));
  if (!offset) return std::nullopt;
  DeviceBytes out{*offset, ""};
  for (std::size_t i = colon + 1; i < text.size(); i += 2) {
    unsigned value = 0;
    for (const char c : text.substr(i, 2)) {
      const char* digits = "0123456789abcdef";
      const char* at = std::strchr(digits, c);
      if (at == nullptr || c == '\0') return std::nullopt;
      value = value * 16 + static_cast<unsigned>(at - digits);
    }
    out.bytes += static_cast<char>(value);
  }
  return out;
}

std::string ToText(const std::vector<Signature>& signatures) {
  std::string text;
  for (const Signature& s : signatures) {
    text += (text.empty() ? "" : ", ") + s.type;
    if (!s.label.empty()) text += " (label " + s.label + ")";
  }
  return text;
}

std::string TypesOf(const std::vector<Signature>& signatures) {
  std::string text;
  for (const Signature& s : signatures) text += (text.empty() ? "" : ",") + s.type;
  return text;
}

std::unique_ptr<DeviceGuard> MakeLinuxDeviceGuard(DeviceMapper& dm) {
  return std::make_unique<LinuxDeviceGuard>(dm);
}

}  // namespace shadow
