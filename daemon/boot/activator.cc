// SPDX-License-Identifier: Apache-2.0
#include "daemon/boot/activator.h"

#include <dirent.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "daemon/base/sizes.h"
#include "daemon/dm/blocks.h"

namespace shadow {
namespace {

constexpr std::int64_t kLvmMs = 60'000;

// One process at a time works on a volume.
class VolumeFileLock {
 public:
  VolumeFileLock(const std::string& directory, const std::string& uuid) {
    (void)mkdir(directory.c_str(), 0755);
    fd_ =
        open((directory + "/volume." + uuid + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    error_ = errno;
    if (fd_ >= 0 && flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    if (fd_ >= 0) {
      error_ = errno;
      close(fd_);
    }
    fd_ = -1;
  }
  ~VolumeFileLock() {
    if (fd_ >= 0) close(fd_);
  }
  VolumeFileLock(const VolumeFileLock&) = delete;
  VolumeFileLock& operator=(const VolumeFileLock&) = delete;
  [[nodiscard]] bool held() const { return fd_ >= 0; }
  [[nodiscard]] int error() const { return error_; }

 private:
  int fd_ = -1;
  int error_ = 0;
};

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

bool IsFileName(const std::string& uuid) {
  return IsLegId(uuid) && uuid.front() != '.';  // no slash
}

}  // namespace

bool IsLvUuid(const std::string& id) {
  constexpr std::string_view kShape = "xxxxxx-xxxx-xxxx-xxxx-xxxx-xxxx-xxxxxx";
  if (id.size() != kShape.size()) return false;
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (kShape[i] == '-' ? id[i] != '-' : std::isalnum(static_cast<unsigned char>(id[i])) == 0)
      return false;
  }
  return true;
}

void Activator::ActivateLogicalVolume(const std::string& uuid) {
  if (deps_.runner == nullptr) return;
  // Legs carry activation skip, so that nobody else activates them: -K.
  const auto done = deps_.runner->Run({"lvm", "lvchange", "--yes", "--ignoreactivationskip",
                                       "--activate", "y", "--select", "lv_uuid=" + uuid},
                                      kLvmMs);
  if (!done.ok()) {
    spdlog::warn("{}", done.error().ToString());
  } else if (done->exit_code != 0) {
    spdlog::info("LVM did not activate {}: {}", uuid, FirstComplaint(*done));
  }
}

Result<std::string> Activator::FindLeg(const shadow_superblock& sb, int leg) {
  const std::string id = sb.legs[leg].id;
  const std::string what = std::string("its ") + RoleName(leg) + " " + id;
  if (id.empty()) {
    return MakeError(
        Code::kFailedPrecondition,
        std::string("the metadata does not say which device its ") + RoleName(leg) + " is");
  }
  auto found = deps_.identities->Resolve(id);
  if (!found.ok() && found.error().code == Code::kNotFound && IsLvUuid(id)) {
    ActivateLogicalVolume(id);
    found = deps_.identities->Resolve(id);
  }
  if (!found.ok()) {
    if (found.error().code == Code::kNotFound)
      return MakeError(Code::kNotFound, what + " is not there");
    return MakeError(found.error().code, what + ": " + found.error().message);
  }
  auto now = deps_.identities->Identify(found->path);
  if (now.ok() && !now->Lasts()) {
    return MakeError(Code::kFailedPrecondition,
                     what + " has a name only that may lead to another device since a reboot");
  }
  const std::uint64_t needed = SectorsNeeded(sb, leg) * kSectorBytes;
  if (found->size_bytes < needed) {
    return MakeError(Code::kFailedPrecondition, what + " (" + found->path + ") has " +
                                                    FormatSize(found->size_bytes) + ", " +
                                                    FormatSize(needed) + " are needed");
  }
  return found->path;
}

Activator::Found Activator::Find(const shadow_superblock& sb) {
  Found found;
  for (int leg = 0; leg < SHADOW_NR_LEGS; ++leg) {
    auto& path = found.paths.at(static_cast<std::size_t>(leg));
    path = "-";
    if (!sb.legs[leg].present) continue;
    auto device = FindLeg(sb, leg);
    if (device.ok()) {
      path = *device;
    } else {
      found.missing.push_back(device.error().message);
      found.missing_legs.push_back(leg);
    }
  }
  return found;
}

Result<Activation> Activator::Activate(const std::string& metadata,
                                       const ActivateOptions& options) {
  SHADOW_ASSIGN(const std::optional<shadow_superblock> first, ReadSuperblock(metadata));
  if (!first || !IsFileName(first->uuid)) {
    return MakeError(Code::kNotFound, "There is no metadata of a volume on " + metadata + ".");
  }
  const VolumeFileLock lock(deps_.lock_directory, first->uuid);
  if (!lock.held()) {
    return MakeError(Code::kUnavailable,
                     lock.error() == EWOULDBLOCK
                         ? std::string("Another process activates ") + first->name + "."
                         : deps_.lock_directory + " cannot be used: " + std::strerror(lock.error()),
                     "try again");
  }
  // Again, under the lock: whoever had it may have changed it.
  SHADOW_ASSIGN(const std::optional<shadow_superblock> sb, ReadSuperblock(metadata));
  if (!sb || std::strcmp(sb->uuid, first->uuid) != 0) {
    return MakeError(Code::kNotFound, "There is no metadata of a volume on " + metadata + ".");
  }
  Activation activation;
  activation.uuid = sb->uuid;
  activation.name = options.name.empty() ? sb->name : options.name;
  // By UUID: the administrator may have renamed the device.
  SHADOW_ASSIGN(const std::vector<DmInfo> same, deps_.dm->List(DmUuid(sb->uuid)));
  for (const DmInfo& info : same) {
    if (info.uuid != DmUuid(sb->uuid)) continue;
    activation.name = info.name;
    if (info.live_table && !info.suspended) {
      activation.state = Activation::State::kUp;
      return activation;
    }
  }
  if (activation.name.empty()) {
    return MakeError(
        Code::kFailedPrecondition,
        "The metadata on " + metadata + " names no device (an older module wrote it).",
        "shadowd knows the name; or say it: dm-shadow-activate --name NAME " + metadata);
  }
  if (deps_.legs != nullptr) {
    const Status hidden = deps_.legs->Update(sb->uuid, LegsOf(*sb));
    // Legs whose own names are not active yet could be mounted the moment they are.
    if (!hidden.ok()) return hidden.error();
  }
  const Found found = Find(*sb);
  activation.missing = found.missing;
  if (!found.missing.empty()) {
    if (!options.without_missing) return activation;
    for (const int leg : found.missing_legs) {
      SHADOW_ASSIGN(const std::uint64_t only, OnlyCopies(metadata, leg));
      if (only == 0) continue;
      activation.missing.push_back(std::string("the ") + RoleName(leg) +
                                   " has the only current copy of " + std::to_string(only) +
                                   " blocks: the volume cannot be started without it");
      return activation;
    }
  }
  SHADOW_ASSIGN([[maybe_unused]] const std::string version, deps_.dm->TargetVersion());
  const ShadowTable table = TableFor(*sb, metadata, found.paths);
  SHADOW_ASSIGN(const std::string params, BuildTable(table));
  if (same.empty()) {
    SHADOW_TRY(deps_.dm->Create(activation.name, DmUuid(sb->uuid), table.sectors, params));
  } else {
    // Left half-made by a process that died between create and resume.
    SHADOW_TRY(deps_.dm->Load(activation.name, table.sectors, params));
    SHADOW_TRY(deps_.dm->Resume(activation.name));
  }
  activation.state = Activation::State::kUp;
  activation.made = true;
  return activation;
}

std::vector<std::string> FindMetadataDevices(const std::string& sys) {
  std::vector<std::string> paths;
  const std::string directory = sys + "/class/block";
  DIR* dir = opendir(directory.c_str());
  if (dir == nullptr) return paths;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] == '.') continue;
    const std::string one = directory + "/" + entry->d_name;
    // Nothing that may hang: a suspended device keeps its reader for ever.
    if (FirstLine(one + "/dm/uuid").rfind("SHADOW-", 0) == 0) continue;
    if (FirstLine(one + "/dm/suspended") == "1" || FirstLine(one + "/size") == "0") continue;
    const std::string path = std::string("/dev/") + entry->d_name;
    const auto sb = ReadSuperblock(path);
    if (sb.ok() && *sb) paths.push_back(path);
  }
  closedir(dir);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace shadow
