// SPDX-License-Identifier: Apache-2.0
#include "daemon/identity/linux_identities.h"

#include <blkid/blkid.h>
#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <systemd/sd-device.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "daemon/base/files.h"
#include "daemon/identity/device_facts.h"

namespace shadow {
namespace {

struct SdUnref {
  void operator()(sd_device* d) const { sd_device_unref(d); }
};
struct ProbeFree {
  void operator()(blkid_probe p) const { blkid_free_probe(p); }
};

class LinuxIdentities final : public Identities {
 public:
  explicit LinuxIdentities(LinuxIdentityRoots roots) : roots_(std::move(roots)) {}

  Result<DeviceIdentity> Identify(const std::string& path) override {
    struct stat st {};
    if (path.empty() || path[0] != '/' || stat(path.c_str(), &st) != 0) {
      return MakeError(Code::kNotFound, "There is no device " + path + ".",
                       "give the full path of a block device, like /dev/vg/lv");
    }
    if (!S_ISBLK(st.st_mode)) {
      return MakeError(Code::kInvalidArgument, path + " is not a block device.",
                       "give the full path of a block device, like /dev/vg/lv");
    }
    SHADOW_ASSIGN(DeviceFacts facts,
                  ReadFacts(roots_.sys + "/dev/block/" + std::to_string(major(st.st_rdev)) + ":" +
                            std::to_string(minor(st.st_rdev))));
    AddPartUuid(&facts);
    AddLinks(&facts);
    DeviceIdentity identity = IdentityOf(facts);
    identity.path = path;
    return identity;
  }

  Result<DeviceIdentity> IdentifyNumber(const std::string& number) override {
    SHADOW_ASSIGN(const DeviceFacts facts, ReadFacts(roots_.sys + "/dev/block/" + number));
    SHADOW_ASSIGN(const std::string path, PathOf(facts));
    return Identify(path);
  }

  Result<DeviceIdentity> Resolve(const std::string& id) override {
    std::vector<DeviceFacts> found;
    const bool lv = id.find(':') == std::string::npos;  // LVM's UUID: one file says it all
    for (const std::string& name : NamesIn(roots_.sys + "/class/block")) {
      if (lv && LvUuidOf(DmUuidOf(name)) != id) continue;
      auto facts = ReadFacts(roots_.sys + "/class/block/" + name);
      if (!facts.ok()) continue;  // it went away while we looked
      if (NeedsPartUuid(id)) AddPartUuid(&*facts);
      if (NeedsLinks(id)) AddLinks(&*facts);
      if (HasIdentity(*facts, id)) found.push_back(std::move(*facts));
    }
    SHADOW_ASSIGN(const DeviceFacts one, TheOne(id, found));
    DeviceIdentity identity = IdentityOf(one);
    identity.id = id;
    SHADOW_ASSIGN(identity.path, PathOf(one));
    return identity;
  }

 private:
  [[nodiscard]] std::string DmUuidOf(const std::string& name) const {
    return FirstLine(roots_.sys + "/class/block/" + name + "/dm/uuid");
  }

  Result<DeviceFacts> TheOne(const std::string& id, std::vector<DeviceFacts> found) {
    // Paths to one disk: the device is what multipath has made of them.
    std::vector<DeviceFacts> above;
    bool all = !found.empty();
    for (const DeviceFacts& f : found) {
      bool has = false;
      for (const std::string& holder : f.holders) {
        const auto facts = ReadFacts(roots_.sys + "/class/block/" + holder);
        if (!facts.ok() || facts->dm_uuid.rfind("mpath-", 0) != 0) continue;
        has = true;
        const bool known = std::any_of(above.begin(), above.end(),
                                       [&](const DeviceFacts& a) { return a.name == facts->name; });
        if (!known) above.push_back(*facts);
      }
      all = all && has;
    }
    if (all) found = std::move(above);
    if (found.empty()) {
      return MakeError(Code::kNotFound, "No device with the identity " + id + " is there.",
                       "look whether its disk is connected and its volume group active (lsblk)");
    }
    if (found.size() == 1) return found.front();
    std::string names;
    for (const DeviceFacts& f : found) names += (names.empty() ? "" : " and ") + f.name;
    return MakeError(Code::kFailedPrecondition,
                     "Several devices have the identity " + id + ": " + names + ".",
                     "take the copy away, or let multipath make one device of them");
  }

  // A name that users know, if it leads to this device.
  [[nodiscard]] Result<std::string> PathOf(const DeviceFacts& f) const {
    std::vector<std::string> candidates;
    if (!LvUuidOf(f.dm_uuid).empty()) candidates.push_back(roots_.dev + "/" + LvNameOf(f.dm_name));
    if (!f.dm_name.empty()) candidates.push_back(roots_.dev + "/mapper/" + f.dm_name);
    candidates.push_back(roots_.dev + "/" + f.name);
    for (const std::string& path : candidates) {
      struct stat st {};
      if (stat(path.c_str(), &st) == 0 && S_ISBLK(st.st_mode) && major(st.st_rdev) == f.major &&
          minor(st.st_rdev) == f.minor) {
        return path;
      }
    }
    return MakeError(Code::kNotFound, "The device " + f.name + " has no node in /dev.",
                     "look whether udev runs (udevadm settle), or run vgmknodes");
  }

  // udev's database; without it the links that are there.
  void AddLinks(DeviceFacts* f) const {
    sd_device* raw = nullptr;
    if (roots_.dev == "/dev" &&
        sd_device_new_from_devnum(&raw, 'b', makedev(f->major, f->minor)) >= 0) {
      const std::unique_ptr<sd_device, SdUnref> device(raw);
      for (const char* link = sd_device_get_devlink_first(raw); link != nullptr;
           link = sd_device_get_devlink_next(raw)) {
        AddLink(link, f);
      }
    }
    for (const char* directory : {"/disk/by-id", "/disk/by-partuuid"}) {
      DIR* dir = opendir((roots_.dev + directory).c_str());
      if (dir == nullptr) continue;
      while (const dirent* entry = readdir(dir)) {
        const std::string path = roots_.dev + directory + "/" + entry->d_name;
        struct stat st {};
        if (entry->d_name[0] == '.' || stat(path.c_str(), &st) != 0 || !S_ISBLK(st.st_mode) ||
            major(st.st_rdev) != f->major || minor(st.st_rdev) != f->minor) {
          continue;
        }
        AddLink(path.c_str(), f);
      }
      closedir(dir);
    }
    std::sort(f->links.begin(), f->links.end());
    f->links.erase(std::unique(f->links.begin(), f->links.end()), f->links.end());
  }

  static void AddLink(const char* link, DeviceFacts* f) {
    for (const char* directory : {"/disk/by-id/", "/disk/by-partuuid/"}) {
      const char* at = std::strstr(link, directory);
      // Names of what lies on the device (an LVM PV's UUID) are not names of the device.
      if (at == nullptr || std::strstr(link, "/lvm-pv-uuid-") != nullptr) continue;
      f->links.emplace_back(at + std::strlen(directory));
    }
  }

  void AddPartUuid(DeviceFacts* f) const {
    if (f->parent.empty() || !f->part_uuid.empty()) return;
    sd_device* raw = nullptr;
    if (roots_.dev == "/dev" &&
        sd_device_new_from_devnum(&raw, 'b', makedev(f->major, f->minor)) >= 0) {
      const std::unique_ptr<sd_device, SdUnref> device(raw);
      const char* uuid = nullptr;
      if (sd_device_get_property_value(raw, "ID_PART_ENTRY_UUID", &uuid) >= 0) f->part_uuid = uuid;
      // Kernels from 6.9 on say it themselves.
      if (f->part_uuid.empty() && sd_device_get_property_value(raw, "PARTUUID", &uuid) >= 0)
        f->part_uuid = uuid;
    }
    if (!f->part_uuid.empty()) return;
    const std::string disk = roots_.dev + "/" + f->parent;
    const std::unique_ptr<blkid_struct_probe, ProbeFree> probe(
        blkid_new_probe_from_filename(disk.c_str()));
    if (!probe) return;
    blkid_partlist table = blkid_probe_get_partitions(probe.get());
    if (table == nullptr) return;
    blkid_partition part = blkid_partlist_devno_to_partition(table, makedev(f->major, f->minor));
    const char* uuid = part != nullptr ? blkid_partition_get_uuid(part) : nullptr;
    if (uuid != nullptr) f->part_uuid = uuid;
  }

  LinuxIdentityRoots roots_;
};

}  // namespace

std::unique_ptr<Identities> MakeLinuxIdentities(LinuxIdentityRoots roots) {
  return std::make_unique<LinuxIdentities>(std::move(roots));
}

}  // namespace shadow
