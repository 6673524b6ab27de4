// SPDX-License-Identifier: Apache-2.0
#include "daemon/legs/lvm_legs.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "daemon/base/sizes.h"
#include "daemon/dm/table.h"
#include "daemon/legs/lvm_report.h"

namespace shadow {
namespace {

constexpr const char* kVolumeTag = "shadow.volume";
constexpr const char* kModificationTag = "shadow.modification";
constexpr const char* kRoleTag = "shadow.role";

class LvmLegs final : public LegProvider {
 public:
  LvmLegs(ProcessRunner& runner, BlockDevices& blocks, Identities& identities, LvmOptions options)
      : blocks_(blocks),
        identities_(identities),
        options_(std::move(options)),
        lvm_(runner, options_.commands) {}

  Result<std::vector<ClassInfo>> ListClasses() override {
    std::vector<LvmGroup> groups;
    const bool any = std::any_of(options_.classes.begin(), options_.classes.end(),
                                 [](const ClassConfig& c) { return !c.volume_group.empty(); });
    if (any) {
      SHADOW_ASSIGN(groups, Groups());
    }
    std::vector<ClassInfo> classes;
    for (const ClassConfig& c : options_.classes) {
      ClassInfo info;
      info.name = c.name;
      info.volume_group = c.volume_group;
      info.devices = c.devices;
      for (const LvmGroup& g : groups) {
        if (g.name != c.volume_group) continue;
        info.size_bytes = g.size_bytes;
        info.free_bytes = g.free_bytes;
      }
      for (const std::string& device : c.devices) {
        const auto d = blocks_.Describe(device);
        if (!d.ok()) continue;
        info.size_bytes += d->size_bytes;
        if (d->used_by.empty()) info.free_bytes += d->size_bytes;
      }
      classes.push_back(std::move(info));
    }
    return classes;
  }

  Result<Leg> Make(const LegOrder& order) override {
    SHADOW_ASSIGN(const ClassConfig config, FindClass(order.storage_class));
    if (config.volume_group.empty()) {
      return MakeError(
          Code::kUnimplemented,
          "Class " + config.name + " is a list of devices: no volume can be made there.",
          "name a class with a volume group");
    }
    const std::string name = LvNameFor(order);
    SHADOW_ASSIGN(const std::vector<LvmVolume> existing, Volumes({config.volume_group}));
    for (const LvmVolume& v : existing) {
      if (v.name != name) continue;
      if (IsMadeFor(v, order) && v.size_bytes >= order.size_bytes) {
        Leg leg = LegOf(v);
        leg.made_here = true;
        SHADOW_TRY(Activate(leg));
        return leg;
      }
      return MakeError(Code::kAlreadyExists,
                       "There is a logical volume " + v.path + " that is not this one.",
                       "remove or rename it");
    }
    std::vector<std::string> argv = {"lvcreate",         "--yes",
                                     "--wipesignatures", "n",
                                     "--zero",           options_.commands.udev ? "y" : "n",
                                     "--activate",       "y",
                                     "--size",           std::to_string(order.size_bytes) + "b",
                                     "--name",           name};
    for (const std::string& tag : TagsOf(order)) {
      argv.emplace_back("--addtag");
      argv.push_back(tag);
    }
    argv.push_back(config.volume_group);
    SHADOW_TRY(Run(argv, "make a logical volume in " + config.volume_group));
    SHADOW_ASSIGN(const std::vector<LvmVolume> made, Volumes({config.volume_group + "/" + name}));
    if (made.size() == 1) {
      Leg leg = LegOf(made[0]);
      leg.made_here = true;
      return leg;
    }
    return MakeError(Code::kIoError, "LVM made " + name + " but does not list it.");
  }

  Result<Leg> Describe(const std::string& device) override {
    SHADOW_ASSIGN(const DeviceIdentity identity, identities_.Identify(device));
    Leg leg;
    leg.device = device;
    leg.id = identity.id;
    leg.size_bytes = identity.size_bytes;
    if (identity.kind == IdentityKind::kLogicalVolume) {
      leg.logical_volume = true;
      SHADOW_ASSIGN(const LvmVolume v, Find(leg));
      Leg known = LegOf(v);
      known.size_bytes = identity.size_bytes;
      return known;
    }
    for (const ClassConfig& c : options_.classes) {
      for (const std::string& member : c.devices) {
        const auto one = identities_.Identify(member);
        if (one.ok() && one->id == leg.id) leg.storage_class = c.name;
      }
    }
    return leg;
  }

  Result<std::optional<Leg>> FindMade(const LegOrder& order) override {
    SHADOW_ASSIGN(
        const std::optional<LvmVolume> v,
        Search(ClassGroups(), [&](const LvmVolume& one) { return IsMadeFor(one, order); }));
    if (!v) return std::optional<Leg>();
    Leg leg = LegOf(*v);
    leg.made_here = true;
    return std::optional<Leg>(leg);
  }

  Status Extend(const Leg& leg, std::uint64_t size_bytes) override {
    SHADOW_ASSIGN(const LvmVolume v, Find(leg));
    if (v.size_bytes >= size_bytes) return Ok();
    return Run({"lvextend", "--yes", "--size", std::to_string(size_bytes) + "b", v.FullName()},
               "extend " + v.FullName());
  }

  Status Reduce(const Leg& leg, std::uint64_t size_bytes) override {
    SHADOW_ASSIGN(const LvmVolume v, Find(leg));
    SHADOW_ASSIGN(const std::vector<LvmGroup> groups, Groups());
    std::uint64_t extent = 1;
    for (const LvmGroup& g : groups) {
      if (g.name == v.group) extent = std::max<std::uint64_t>(1, g.extent_bytes);
    }
    if (v.size_bytes <= RoundUp(size_bytes, extent)) return Ok();
    return Run({"lvreduce", "--yes", "--force", "--size",
                std::to_string(RoundUp(size_bytes, extent)) + "b", v.FullName()},
               "reduce " + v.FullName());
  }

  Result<bool> Remove(const Leg& leg) override {
    const auto v = Find(leg);
    if (!v.ok() && v.error().code == Code::kNotFound) return false;
    if (!v.ok()) return v.error();
    if (v->open) {
      return MakeError(Code::kFailedPrecondition, "The logical volume " + v->path + " is in use.",
                       "close what has it open");
    }
    if (v->has_snapshots) return HasSnapshots(*v);
    // By the UUID once more: LVM looks at it under its own lock, after the last rename.
    SHADOW_TRY(Run({"lvremove", "--yes", "--select", "lv_uuid=" + v->uuid, v->group},
                   "remove " + v->path));
    return true;
  }

  Result<Leg> Release(const Leg& leg, const std::string& name) override {
    SHADOW_ASSIGN(LvmVolume v, Find(leg));
    std::vector<std::string> argv = {"lvchange", "--yes", "--setactivationskip", "n"};
    for (const std::string& tag : v.tags) {
      if (tag.rfind("shadow.", 0) != 0) continue;
      argv.emplace_back("--deltag");
      argv.push_back(tag);
    }
    argv.push_back(v.FullName());
    SHADOW_TRY(Run(argv, "take the tags from " + v.FullName()));
    if (v.name.rfind("shadow.", 0) == 0) {
      // The name may be taken, or be one that LVM keeps to itself.
      std::string plain = name;
      std::replace(plain.begin(), plain.end(), '_', '.');
      const std::string unique = plain + "." + v.uuid.substr(0, 6);
      Status renamed = Ok();
      for (const std::string& wish : {name, plain, unique}) {
        renamed = Run({"lvrename", v.group, v.name, wish}, "rename " + v.FullName());
        if (renamed.ok()) break;
      }
      if (!renamed.ok()) spdlog::warn("{}", renamed.error().ToString());
      const std::string before = v.path;
      SHADOW_ASSIGN(v, Find(leg));
      // Until the next reboot the old name leads there, too: it is what "volume show" told.
      if (v.path != before && symlink(v.path.c_str(), before.c_str()) != 0)
        spdlog::debug("{} does not lead to {}", before, v.path);
    }
    return LegOf(v);
  }

  Status Activate(const Leg& leg) override {
    const auto here = identities_.Resolve(leg.id);
    if (here.ok()) return Ok();
    // Another kind of device is there, or it is not.
    if (!leg.logical_volume || here.error().code != Code::kNotFound) return here.error();
    SHADOW_ASSIGN(const LvmVolume v, Find(leg));
    if (!v.active) {
      // Legs carry activation skip, so that nobody but us activates them.
      SHADOW_TRY(
          Run({"lvchange", "--yes", "--ignoreactivationskip", "--activate", "y", v.FullName()},
              "activate " + v.path));
      if (identities_.Resolve(leg.id).ok()) return Ok();
    }
    // Active, but its node is missing: no udev made it.
    return Run({"vgmknodes", v.FullName()}, "make the node of " + v.path);
  }

  Result<std::vector<std::string>> ActivateAll(const std::vector<Leg>& legs) override {
    std::set<std::string> wanted;
    std::set<std::string> groups;
    for (const Leg& leg : legs) {
      if (!leg.logical_volume || leg.id.empty()) continue;
      wanted.insert(leg.id);
      groups.merge(GroupsOf(leg));
    }
    std::vector<std::string> skipped;
    if (wanted.empty()) return skipped;
    const auto ours = [&](const LvmListing& listing) {
      std::vector<LvmVolume> found;
      for (const LvmVolume& v : listing.volumes) {
        if (wanted.count(ToLegId(v.uuid)) != 0) found.push_back(v);
      }
      return found;
    };
    SHADOW_ASSIGN(LvmListing listing, lvm_.List({groups.begin(), groups.end()}));
    std::vector<LvmVolume> found = ours(listing);
    if (found.size() < wanted.size() && !groups.empty()) {  // some were renamed, or are not there
      SHADOW_ASSIGN(listing, lvm_.List({}));
      found = ours(listing);
    }
    std::vector<std::string> argv = {"lvchange", "--yes", "--ignoreactivationskip", "--activate",
                                     "y"};
    const std::size_t words = argv.size();
    for (const LvmVolume& v : found) {
      if (v.skipped) skipped.push_back(ToLegId(v.uuid));
      if (!v.active) argv.push_back(v.FullName());
    }
    if (argv.size() == words) return skipped;
    const Status done = Run(argv, "activate the logical volumes of all volumes");
    if (!done.ok()) spdlog::warn("{}", done.error().ToString());
    return skipped;
  }

  std::vector<Leg> Suspended(const std::vector<Leg>& legs) override {
    std::vector<Leg> found;
    if (!options_.suspended) return found;
    const std::set<std::string> ids = options_.suspended();
    for (const Leg& leg : legs) {
      if (leg.logical_volume && ids.count(leg.id) != 0) found.push_back(leg);
    }
    return found;
  }

  Status Resume(const Leg& leg) override {
    SHADOW_ASSIGN(const LvmVolume v, Find(leg));
    return Run({"lvchange", "--yes", "--refresh", v.FullName()}, "resume " + v.FullName());
  }

  Result<std::vector<MadeLeg>> ListMade() override {
    SHADOW_ASSIGN(const std::vector<LvmVolume> all, Volumes({}));
    std::vector<MadeLeg> made;
    for (const LvmVolume& v : all) {
      if (v.Tag(kVolumeTag).empty()) continue;
      made.push_back(
          {LegOf(v), v.Tag(kVolumeTag), v.Tag(kModificationTag), v.Tag(kRoleTag), v.open});
    }
    return made;
  }

  Result<std::string> SampleDevice(const std::string& storage_class) override {
    SHADOW_ASSIGN(const ClassConfig config, FindClass(storage_class));
    if (!config.devices.empty()) return config.devices.front();
    SHADOW_ASSIGN(const ProcessResult r,
                  Command({"vgs", "--noheadings", "-o", "pv_name", config.volume_group}));
    const auto words = SplitWords(r.out);
    if (r.exit_code == 0 && !words.empty()) return std::string(words.front());
    return MakeError(Code::kNotFound, "There is no volume group " + config.volume_group + ".",
                     "make it with vgcreate, or correct shadowd.toml");
  }

  Status CheckTools() override { return Run({"lvs", "--version"}, "tell its version"); }

 private:
  Result<ProcessResult> Command(std::vector<std::string> argv) {
    return lvm_.Command(std::move(argv));
  }
  Status Run(const std::vector<std::string>& argv, const std::string& what) {
    return lvm_.Run(argv, what);
  }
  Result<std::vector<LvmVolume>> Volumes(const std::vector<std::string>& names) {
    return lvm_.Volumes(names);
  }
  // The groups of the classes.
  Result<std::vector<LvmGroup>> Groups() {
    const std::set<std::string> names = ClassGroups();
    return lvm_.Groups({names.begin(), names.end()});
  }

  Result<ClassConfig> FindClass(const std::string& name) {
    for (const ClassConfig& c : options_.classes) {
      if (c.name == name) return c;
    }
    return MakeError(Code::kNotFound, "There is no storage class " + name + ".",
                     "name one in shadowd.toml, or give the path of a device");
  }

  [[nodiscard]] std::set<std::string> ClassGroups() const {
    std::set<std::string> groups;
    for (const ClassConfig& c : options_.classes) {
      if (!c.volume_group.empty()) groups.insert(c.volume_group);
    }
    return groups;
  }

  // The groups in which the leg ought to be: that of its class, and the one that its path names.
  [[nodiscard]] std::set<std::string> GroupsOf(const Leg& leg) const {
    std::set<std::string> groups;
    for (const ClassConfig& c : options_.classes) {
      if (c.name == leg.storage_class && !c.volume_group.empty()) groups.insert(c.volume_group);
    }
    const auto here = identities_.Resolve(leg.id);
    for (const std::string& path : {leg.device, here.ok() ? here->path : std::string()}) {
      constexpr std::string_view kDev = "/dev/";
      const auto end = path.rfind('/');
      if (path.rfind(kDev, 0) != 0 || end == std::string::npos || end < kDev.size()) continue;
      const std::string group = path.substr(kDev.size(), end - kDev.size());
      if (group != "mapper" && group.find('/') == std::string::npos) groups.insert(group);
    }
    return groups;
  }

  // The one that `is_it`: first in these groups, so that LVM need not look at disks of others and
  // a broken one costs nothing; then in all, because groups are renamed. An error if it is not
  // found and LVM could not look everywhere.
  template <typename F>
  Result<std::optional<LvmVolume>> Search(const std::set<std::string>& groups, F is_it) {
    std::vector<std::vector<std::string>> passes = {{groups.begin(), groups.end()}};
    if (!groups.empty()) passes.emplace_back();
    for (const std::vector<std::string>& names : passes) {
      SHADOW_ASSIGN(const LvmListing listing, lvm_.List(names));
      for (const LvmVolume& v : listing.volumes) {
        if (is_it(v)) return std::optional<LvmVolume>(v);
      }
      if (names.empty() && !listing.complete) return listing.complaint;
    }
    return std::optional<LvmVolume>();
  }

  // The logical volume that a leg is, by its UUID. kFailedPrecondition: it is no logical volume;
  // kNotFound: it is gone, or its disks are not there.
  Result<LvmVolume> Find(const Leg& leg) {
    if (!leg.logical_volume || leg.id.empty()) {
      return MakeError(Code::kFailedPrecondition, leg.device + " is no logical volume.");
    }
    SHADOW_ASSIGN(
        const std::optional<LvmVolume> v,
        Search(GroupsOf(leg), [&](const LvmVolume& one) { return ToLegId(one.uuid) == leg.id; }));
    if (v) return *v;
    return MakeError(
        Code::kNotFound,
        "There is no logical volume with the UUID " + leg.id + " (" + leg.device + ").",
        "look whether its disk is connected (pvs, lsblk)");
  }

  // LVM would remove them together with it. They are the administrator's.
  Error HasSnapshots(const LvmVolume& v) {
    std::string names;
    if (const auto all = lvm_.List({v.group}); all.ok()) {
      for (const LvmVolume& one : all->volumes) {
        if (one.origin == v.name) names += (names.empty() ? "" : ", ") + one.FullName();
      }
    }
    return MakeError(Code::kFailedPrecondition,
                     "The logical volume " + v.path + " has snapshots" +
                         (names.empty() ? "" : " (" + names + ")") + ", which would go with it.",
                     "remove them, if they are not needed (lvremove), then try again");
  }

  static bool IsMadeFor(const LvmVolume& v, const LegOrder& order) {
    return v.name == LvNameFor(order) && v.Tag(kVolumeTag) == order.volume_uuid &&
           v.Tag(kModificationTag) == order.modification && v.Tag(kRoleTag) == order.role;
  }

  [[nodiscard]] Leg LegOf(const LvmVolume& v) const {
    Leg leg;
    leg.device = v.path;
    leg.id = ToLegId(v.uuid);
    leg.size_bytes = v.size_bytes;
    leg.logical_volume = true;
    for (const ClassConfig& c : options_.classes) {
      if (c.volume_group == v.group && !v.group.empty()) leg.storage_class = c.name;
    }
    return leg;
  }

  static std::vector<std::string> TagsOf(const LegOrder& order) {
    std::vector<std::string> tags = {std::string(kVolumeTag) + "=" + order.volume_uuid,
                                     std::string(kRoleTag) + "=" + order.role};
    if (!order.modification.empty()) {
      tags.push_back(std::string(kModificationTag) + "=" + order.modification);
    }
    return tags;
  }

  BlockDevices& blocks_;
  Identities& identities_;
  LvmOptions options_;
  LvmCommands lvm_;
};

}  // namespace

std::string LvNameFor(const LegOrder& order) {
  // LVM keeps words like "_mimage" and "_tmeta" to itself, so no underscore gets through.
  std::string name = "shadow." + order.volume + "." + order.role;
  std::replace(name.begin(), name.end(), '_', '.');
  const std::string& id = order.modification.empty() ? order.volume_uuid : order.modification;
  return name + "." + id.substr(0, 8);
}

std::unique_ptr<LegProvider> MakeLvmLegs(ProcessRunner& runner, BlockDevices& blocks,
                                         Identities& identities, LvmOptions options) {
  return std::make_unique<LvmLegs>(runner, blocks, identities, std::move(options));
}

}  // namespace shadow
