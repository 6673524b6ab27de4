// SPDX-License-Identifier: Apache-2.0
#include "daemon/host.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "daemon/dm/table.h"
#include "daemon/identity/device_facts.h"

namespace shadow {
namespace {

constexpr std::int64_t kLoadMs = 60'000;

}  // namespace

Status EnsureModule(DeviceMapper& dm, ProcessRunner& runner, const std::string& path) {
  if (dm.TargetVersion().ok()) return Ok();
  const std::vector<std::string> argv = path.empty()
                                            ? std::vector<std::string>{"modprobe", "dm_shadow"}
                                            : std::vector<std::string>{"insmod", path};
  // insmod does not load what the module needs.
  if (!path.empty()) (void)runner.Run({"modprobe", "dm-mod"}, kLoadMs);
  SHADOW_ASSIGN(const ProcessResult r, runner.Run(argv, kLoadMs));
  if (dm.TargetVersion().ok()) return Ok();
  return MakeError(Code::kUnavailable,
                   "The kernel module dm_shadow cannot be loaded: " + FirstComplaint(r) + ".",
                   "install it for this kernel, or set SHADOW_MODULE to the path of dm-shadow.ko");
}

Status LockStateDirectory(const std::string& directory) {
  std::error_code error;
  const bool made = std::filesystem::create_directories(directory, error);
  if (error) {
    const bool denied =
        error == std::errc::permission_denied || error == std::errc::read_only_file_system;
    return MakeError(
        denied ? Code::kPermissionDenied : Code::kIoError,
        "The state directory " + directory + " cannot be made: " + error.message() + ".",
        "run shadowd as root, or name another with --state-dir");
  }
  if (made) std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  // The directory itself is locked: that needs no write, so a full or read-only disk does not
  // keep the volumes down.
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  struct stat st {};
  if (fd < 0 || fstat(fd, &st) != 0) {
    const int why = errno;
    if (fd >= 0) close(fd);
    return MakeError(
        Code::kPermissionDenied,
        "The state directory " + directory + " cannot be opened: " + std::strerror(why) + ".",
        "run shadowd as root, or name another directory with --state-dir");
  }
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    close(fd);
    return MakeError(Code::kPermissionDenied,
                     "The state directory " + directory + " can be written by other users.",
                     "name a directory of shadowd's own with --state-dir");
  }
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return Ok();
  close(fd);
  return MakeError(Code::kFailedPrecondition, "Another shadowd uses " + directory + ".",
                   "stop it first, or name another directory with --state-dir");
}

std::vector<std::string> HiddenFromLvm(DeviceMapper& dm) {
  const auto volumes = dm.List(DmUuid(""));
  if (!volumes.ok() || volumes->empty()) return {};
  std::vector<std::string> paths;
  std::set<std::string> nodes;
  for (const DmInfo& v : *volumes) {
    paths.push_back("/dev/mapper/" + v.name);
    paths.push_back("/dev/dm-" + std::to_string(v.minor));
    nodes.insert("dm-" + std::to_string(v.minor));
  }
  // A device is left out only if no name of it is accepted, and udev gives it many.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("/dev/disk", ignored)) {
    const auto leads_to = std::filesystem::read_symlink(entry.path(), ignored);
    if (!ignored && nodes.count(leads_to.filename()) != 0) paths.push_back(entry.path());
  }
  return paths;
}

Result<std::optional<gid_t>> FindGroup(const std::string& name) {
  if (name.empty()) return std::optional<gid_t>();
  group found{};
  group* result = nullptr;
  std::vector<char> text(std::size_t{1} << 16);
  const int error = getgrnam_r(name.c_str(), &found, text.data(), text.size(), &result);
  if (result != nullptr) return std::optional<gid_t>(found.gr_gid);
  return MakeError(Code::kNotFound,
                   "There is no group " + name +
                       (error != 0 ? ": " + std::string(std::strerror(error)) : "") +
                       "; the admin socket is root's alone.",
                   "make it with groupadd, or correct socket_group in shadowd.toml");
}

std::set<std::string> SuspendedLvs(DeviceMapper& dm) {
  constexpr std::size_t kLvmUuid = 4 + 32 + 32;  // what follows names a part: "-real", "_tdata"
  std::set<std::string> ids;
  const auto devices = dm.List("LVM-");
  if (!devices.ok()) return ids;
  for (const DmInfo& d : *devices) {
    const std::string uuid = LvUuidOf(d.uuid.substr(0, kLvmUuid));
    if (d.suspended && !uuid.empty()) ids.insert(ToLegId(uuid));
  }
  return ids;
}

Status StayInMemory() {
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0) return Ok();
  return MakeError(
      Code::kPermissionDenied,
      std::string("shadowd cannot lock its memory: ") + std::strerror(errno) + ".",
      "raise LimitMEMLOCK; do not put the root file system on a shadow volume until then");
}

}  // namespace shadow
