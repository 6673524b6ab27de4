// SPDX-License-Identifier: Apache-2.0
#include "daemon/identity/device_facts.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "daemon/base/files.h"
#include "daemon/dm/table.h"

namespace shadow {
namespace {

constexpr std::size_t kLvmId = 32;  // characters of an LVM UUID without its hyphens

bool Exists(const std::string& path) {
  struct stat st {};
  return stat(path.c_str(), &st) == 0;
}

// Serial numbers that stand for "none".
bool IsPlaceholder(const std::string& serial) {
  return std::all_of(serial.begin(), serial.end(), [](char c) { return c == '0' || c == ' '; }) ||
         serial == "eui.0000000000000000";
}

void ReadLoop(const std::string& directory, DeviceFacts* facts) {
  facts->backing_file = FirstLine(directory + "/loop/backing_file");
  if (facts->backing_file.empty()) return;
  struct stat st {};
  if (stat(facts->backing_file.c_str(), &st) != 0) return;  // deleted, or of another namespace
  facts->backing = std::to_string(st.st_ino) + "." + FirstLine(directory + "/loop/offset") + "." +
                   facts->backing_file;
}

void ReadRemote(const std::string& directory, DeviceFacts* facts) {
  const std::string device = directory + "/device";
  const std::string image = FirstLine(device + "/image_id");
  if (!image.empty()) {
    facts->remote = "rbd:" + FirstLine(device + "/cluster_fsid") + "." +
                    FirstLine(device + "/pool_id") + "." + image;
  }
  const std::string backend = FirstLine(directory + "/backend");
  if (!backend.empty()) facts->remote = "nbd:" + backend;
}

bool StartsWith(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

std::string Describe(const DeviceFacts& f, IdentityKind kind) {
  switch (kind) {
    case IdentityKind::kLogicalVolume:
      return "logical volume " + LvNameOf(f.dm_name);
    case IdentityKind::kDeviceMapper:
      return "device-mapper device " + f.dm_name;
    case IdentityKind::kPartition:
      return "partition " + f.name;
    case IdentityKind::kBackingFile:
      return "loop device of " + f.backing_file;
    default:
      if (!f.dm_name.empty()) return "device-mapper device " + f.dm_name;
      return "disk " + (f.model.empty() ? f.name : f.model + " (" + f.name + ")");
  }
}

}  // namespace

std::string LvUuidOf(const std::string& dm_uuid) {
  constexpr std::array<std::size_t, 7> kGroups = {6, 4, 4, 4, 4, 4, 6};
  if (!StartsWith(dm_uuid, "LVM-") || dm_uuid.size() != 4 + 2 * kLvmId) return "";
  std::string text;
  std::size_t at = 4 + kLvmId;
  for (const std::size_t group : kGroups) {
    if (!text.empty()) text += '-';
    text += dm_uuid.substr(at, group);
    at += group;
  }
  return text;
}

std::string LvNameOf(const std::string& dm_name) {
  std::string text;
  bool split = false;
  for (std::size_t i = 0; i < dm_name.size(); ++i) {
    if (dm_name[i] != '-') {
      text += dm_name[i];
    } else if (i + 1 < dm_name.size() && dm_name[i + 1] == '-') {
      text += '-';
      ++i;
    } else {
      if (split) return "";
      split = true;
      text += '/';
    }
  }
  return split ? text : "";
}

Result<DeviceFacts> ReadFacts(const std::string& directory) {
  DeviceFacts f;
  const std::string real = RealPath(directory);
  const std::string number = FirstLine(directory + "/dev");
  const auto colon = number.find(':');
  if (real.empty() || colon == std::string::npos) {
    return MakeError(Code::kNotFound, "There is no block device " + directory + ".");
  }
  f.name = real.substr(real.rfind('/') + 1);
  f.major = static_cast<std::uint32_t>(ParseNumber(number.substr(0, colon)).value_or(0));
  f.minor = static_cast<std::uint32_t>(ParseNumber(number.substr(colon + 1)).value_or(0));
  f.size_bytes = ParseNumber(FirstLine(directory + "/size")).value_or(0) * kSectorBytes;
  f.dm_name = FirstLine(directory + "/dm/name");
  f.dm_uuid = FirstLine(directory + "/dm/uuid");
  f.holders = NamesIn(directory + "/holders");
  if (Exists(directory + "/partition")) {
    const std::string disk = real.substr(0, real.rfind('/'));
    f.parent = disk.substr(disk.rfind('/') + 1);
    return f;  // the files of the disk are not its own
  }
  // The order is part of the identity: the name of the medium before that of its slot.
  for (const char* file : {"/wwid", "/device/wwid", "/serial", "/device/serial"}) {
    const std::string serial = FirstLine(directory + file);
    if (!serial.empty() && !IsPlaceholder(serial)) f.serials.push_back(serial);
  }
  f.model = FirstLine(directory + "/device/model");
  ReadLoop(directory, &f);
  ReadRemote(directory, &f);
  return f;
}

DeviceIdentity IdentityOf(const DeviceFacts& f) {
  DeviceIdentity identity;
  identity.major = f.major;
  identity.minor = f.minor;
  identity.size_bytes = f.size_bytes;
  const auto is = [&](IdentityKind kind, const std::string& text) {
    identity.kind = kind;
    identity.id = ToLegId(text);
  };
  const std::string lv = LvUuidOf(f.dm_uuid);
  if (!lv.empty()) {
    is(IdentityKind::kLogicalVolume, lv);
  } else if (!f.dm_uuid.empty()) {
    is(IdentityKind::kDeviceMapper, "dm:" + f.dm_uuid);
  } else if (!f.part_uuid.empty()) {
    is(IdentityKind::kPartition, "partuuid:" + f.part_uuid);
  } else if (!f.serials.empty()) {
    is(IdentityKind::kDisk, "sn:" + f.serials.front());
  } else if (!f.backing.empty()) {
    is(IdentityKind::kBackingFile, "loop:" + f.backing);
  } else if (!f.remote.empty()) {
    is(IdentityKind::kRemote, f.remote);
  } else if (!f.links.empty() && f.dm_name.empty()) {
    is(IdentityKind::kLink, "id:" + f.links.front());
  } else if (!f.dm_name.empty()) {
    is(IdentityKind::kName, "dmname:" + f.dm_name);
  } else {
    is(IdentityKind::kName, "name:" + f.name);
  }
  identity.description = Describe(f, identity.kind);
  return identity;
}

bool NeedsPartUuid(const std::string& id) {
  return StartsWith(id, "partuuid:") || StartsWith(id, "id:");
}
bool NeedsLinks(const std::string& id) { return StartsWith(id, "id:"); }

bool HasIdentity(const DeviceFacts& f, const std::string& id) {
  const auto is = [&](const std::string& prefix, const std::string& text) {
    return !text.empty() && StartsWith(id, prefix) && id == ToLegId(prefix + text);
  };
  if (!f.dm_uuid.empty() && (id == LvUuidOf(f.dm_uuid) || is("dm:", f.dm_uuid))) return true;
  // "id:" came from by-id or, without a link there, from by-partuuid.
  if (is("partuuid:", f.part_uuid) || is("id:", f.part_uuid)) return true;
  for (const std::string& serial : f.serials) {
    if (is("sn:", serial)) return true;
  }
  for (const std::string& link : f.links) {
    if (is("id:", link)) return true;
  }
  if (is("loop:", f.backing) || is("dmname:", f.dm_name) || is("name:", f.name)) return true;
  return !f.remote.empty() && id == ToLegId(f.remote);
}

}  // namespace shadow
