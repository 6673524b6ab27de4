// SPDX-License-Identifier: Apache-2.0
#include "daemon/host.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

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
  std::filesystem::create_directories(directory, error);
  if (error) {
    const bool denied =
        error == std::errc::permission_denied || error == std::errc::read_only_file_system;
    return MakeError(
        denied ? Code::kPermissionDenied : Code::kIoError,
        "The state directory " + directory + " cannot be made: " + error.message() + ".",
        "run shadowd as root, or name another with --state-dir");
  }
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all, error);
  const std::string file = directory + "/lock";
  const int fd = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return MakeError(errno == ENOSPC ? Code::kOutOfSpace : Code::kPermissionDenied,
                     "The lock " + file + " cannot be opened: " + std::strerror(errno) + ".",
                     "run shadowd as root, or name another directory with --state-dir");
  }
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return Ok();
  close(fd);
  return MakeError(Code::kFailedPrecondition, "Another shadowd uses " + directory + ".",
                   "stop it first, or name another directory with --state-dir");
}

Status StayInMemory() {
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0) return Ok();
  return MakeError(
      Code::kPermissionDenied,
      std::string("shadowd cannot lock its memory: ") + std::strerror(errno) + ".",
      "raise LimitMEMLOCK; do not put the root file system on a shadow volume until then");
}

}  // namespace shadow
