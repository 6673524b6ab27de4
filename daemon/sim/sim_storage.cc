// SPDX-License-Identifier: Apache-2.0
// The world's block devices, volume groups and file systems.
#include "daemon/base/sizes.h"
#include "daemon/sim/sim_parts.h"

namespace shadow::sim {
namespace {

class SimBlockDevices final : public BlockDevices {
 public:
  explicit SimBlockDevices(SimWorld* world) : w_(*world) {}

  Result<BlockInfo> Describe(const std::string& path) override {
    const Call call(&w_, "", path);
    SHADOW_ASSIGN(Disk * disk, Find(path));
    BlockInfo info;
    info.path = path;
    info.size_bytes = disk->size_bytes;
    info.logical_block = disk->logical_block;
    info.major = 253;
    info.minor = disk->minor;
    info.used_by = disk->used_by;
    info.read_only = disk->read_only;
    for (const auto& [name, device] : w_.devices) {
      if (Uses(device.target->table(), path)) info.used_by = "held by " + name;
    }
    return info;
  }

  Status ZeroStart(const std::string& path, std::uint64_t bytes, Claim claim) override {
    const Call call(&w_, "ZeroStart", path);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(Disk * disk, Find(path));
    if (claim == Claim::kTake) SHADOW_TRY(CheckFree(*disk, path));
    const auto cells = static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(
        disk->content.size(), RoundUp(bytes, kSimCellBytes) / kSimCellBytes));
    std::fill(disk->content.begin(), disk->content.begin() + cells, 0);
    disk->blank_start = true;
    w_.metadata.erase(path);
    return call.after();
  }

  Status Discard(const std::string& path) override {
    const Call call(&w_, "Discard", path);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(Disk * disk, Find(path));
    SHADOW_TRY(CheckFree(*disk, path));
    std::fill(disk->content.begin(), disk->content.end(), 0);
    return call.after();
  }

  Result<DeviceSpeed> Probe(const std::string& path, bool may_write) override {
    const Call call(&w_, "", path);
    // What lies on the class nvme is fast.
    const std::uint64_t latency_us = path.find("nvme") == std::string::npos ? 2000 : 100;
    if (path.rfind("/dev/pv_", 0) == 0) {
      return DeviceSpeed{w_.device_kib_per_s * 1024, 0, latency_us};
    }
    SHADOW_ASSIGN(Disk * disk, Find(path));
    if (may_write) {
      constexpr std::size_t kWritten = 16;
      disk->content.resize(std::max(disk->content.size(), kWritten));
      std::fill_n(disk->content.begin(), kWritten, 0);
      disk->content.resize(std::max<std::size_t>(disk->size_bytes / kSimCellBytes, 1));
    }
    const std::uint64_t speed = w_.device_kib_per_s * 1024;
    return DeviceSpeed{speed, may_write ? speed : 0, latency_us};
  }

  Status Backup(const std::string& path, std::uint64_t /*bytes*/, const std::string&) override {
    const Call call(&w_, "Backup", path);
    SHADOW_TRY(call.before());
    SHADOW_TRY(Find(path));
    return call.after();
  }

 private:
  // As an open with O_EXCL: what is opened without a claim is no obstacle.
  [[nodiscard]] Status CheckFree(const Disk& disk, const std::string& path) const {
    bool used = !disk.used_by.empty() || disk.held > 0;
    for (const auto& [name, device] : w_.devices) {
      used = used || Uses(device.target->table(), path);
    }
    if (!used) return Ok();
    return MakeError(Code::kFailedPrecondition, path + " is in use.");
  }

  Result<Disk*> Find(const std::string& path) {
    const auto it = w_.disks.find(path);
    if (it == w_.disks.end()) {
      return MakeError(Code::kNotFound, "There is no device " + path + ".",
                       "give the full path of a block device, like /dev/vg/lv");
    }
    return &it->second;
  }

  SimWorld& w_;
};

class SimLegs final : public LegProvider {
 public:
  explicit SimLegs(SimWorld* world) : w_(*world) {}

  Result<std::vector<ClassInfo>> ListClasses() override {
    const Call call(&w_, "", "");
    std::vector<ClassInfo> classes;
    for (const auto& [name, size] : w_.groups) {
      ClassInfo info;
      info.name = name;
      info.volume_group = "vg_" + name;
      info.size_bytes = size;
      info.free_bytes = Free(name);
      classes.push_back(info);
    }
    for (const auto& [name, paths] : w_.device_classes) {
      ClassInfo info;
      info.name = name;
      info.devices = paths;
      classes.push_back(info);
    }
    return classes;
  }

  Result<Leg> Make(const LegOrder& order) override {
    const std::string path = "/dev/vg_" + order.storage_class + "/" + order.volume + "." +
                             order.role + "." + order.modification;
    const Call call(&w_, "Make", path);
    SHADOW_TRY(call.before());
    if (w_.groups.count(order.storage_class) == 0) {
      return MakeError(Code::kNotFound, "There is no storage class " + order.storage_class + ".");
    }
    if (w_.lvs.count(path) == 0) {
      SHADOW_TRY(CheckWhole(order.storage_class));
      const std::uint64_t size = RoundUp(order.size_bytes, kSimExtent);
      if (size > Free(order.storage_class)) {
        return MakeError(Code::kOutOfSpace, "Class " + order.storage_class + " is full.");
      }
      w_.AddDisk(path, size);
      w_.disks.at(path).blank_start = false;  // whatever was there before
      w_.disks.at(path).content.assign(size / 65536, 0xbad);
      w_.lvs[path] = SimLv{order.storage_class, order};
    }
    SHADOW_TRY(call.after());
    Leg leg = LegOf(path);
    leg.made_here = true;
    return leg;
  }

  Result<Leg> Describe(const std::string& device) override {
    const Call call(&w_, "", device);
    if (w_.disks.count(device) == 0) {
      return MakeError(Code::kNotFound, "There is no device " + device + ".");
    }
    return LegOf(device);
  }

  Result<std::optional<Leg>> FindMade(const LegOrder& order) override {
    const Call call(&w_, "", order.volume);
    for (const auto& [path, lv] : w_.lvs_away()) {
      const LegOrder& o = lv.order;
      if (o.volume_uuid == order.volume_uuid && o.modification == order.modification &&
          o.role == order.role && !o.role.empty())
        SHADOW_TRY(CheckWhole(lv.storage_class));
    }
    for (const auto& [path, lv] : w_.lvs) {
      const LegOrder& o = lv.order;
      if (o.volume_uuid != order.volume_uuid || o.modification != order.modification ||
          o.role != order.role || o.role.empty()) {
        continue;
      }
      Leg leg = LegOf(path);
      leg.made_here = true;
      return std::optional<Leg>(leg);
    }
    return std::optional<Leg>();
  }

  Status Extend(const Leg& leg, std::uint64_t size_bytes) override {
    const Call call(&w_, "Extend", leg.device);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(const std::string path, Find(leg));
    Disk& disk = w_.disks.at(path);
    const std::string& storage_class = w_.lvs.at(path).storage_class;
    const std::uint64_t size = RoundUp(size_bytes, kSimExtent);
    if (size > disk.size_bytes && size - disk.size_bytes > Free(storage_class)) {
      return MakeError(Code::kOutOfSpace, "Class " + storage_class + " is full.");
    }
    disk.size_bytes = std::max(disk.size_bytes, size);
    disk.content.resize(std::max(disk.content.size(), disk.size_bytes / kSimCellBytes), 0xbad);
    return call.after();
  }

  Status Reduce(const Leg& leg, std::uint64_t size_bytes) override {
    const Call call(&w_, "Reduce", leg.device);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(const std::string path, Find(leg));
    Disk& disk = w_.disks.at(path);
    disk.size_bytes = std::min(disk.size_bytes, RoundUp(size_bytes, kSimExtent));
    disk.content.resize(std::min(disk.content.size(), disk.size_bytes / kSimCellBytes));
    return call.after();
  }

  Result<bool> Remove(const Leg& leg) override {
    const Call call(&w_, "RemoveLv", leg.device);
    SHADOW_TRY(call.before());
    const auto path = Find(leg);
    if (!path.ok() && path.error().code == Code::kNotFound) return false;
    if (!path.ok()) return path.error();
    for (const auto& [name, dm] : w_.devices) {
      if (Uses(dm.target->table(), *path)) {
        return MakeError(Code::kFailedPrecondition, *path + " is in use.");
      }
    }
    if (!w_.disks.at(*path).used_by.empty()) {
      return MakeError(Code::kFailedPrecondition, *path + " is in use.");
    }
    w_.lvs.erase(*path);
    w_.disks.erase(*path);
    w_.metadata.erase(*path);
    SHADOW_TRY(call.after());
    return true;
  }

  Result<Leg> Release(const Leg& leg, const std::string& name) override {
    const Call call(&w_, "Release", leg.device);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(std::string path, Find(leg));
    const bool ours = !w_.lvs.at(path).order.role.empty();
    w_.lvs.at(path).order = {};
    if (ours) {
      std::string plain = path.substr(0, path.rfind('/') + 1) + name;
      while (w_.disks.count(plain) != 0) plain += ".x";
      w_.SwapNames(path, plain);
      path = plain;
    }
    SHADOW_TRY(call.after());
    return LegOf(path);
  }

  Status Activate(const Leg& leg) override {
    const Call call(&w_, "", leg.device);
    for (const auto& [path, disk] : w_.disks) {
      if (disk.id == leg.id) return Ok();
    }
    return MakeError(Code::kNotFound, "There is no device " + leg.device + ".");
  }

  Result<std::vector<std::string>> ActivateAll(const std::vector<Leg>& legs) override {
    const Call call(&w_, "ActivateAll", std::to_string(legs.size()));
    SHADOW_TRY(call.before());
    SHADOW_TRY(call.after());
    return std::vector<std::string>();
  }

  std::vector<Leg> Suspended(const std::vector<Leg>& legs) override {
    const Call call(&w_, "", "");
    std::vector<Leg> found;
    for (const Leg& leg : legs) {
      if (w_.suspended_lvs.count(leg.id) != 0) found.push_back(leg);
    }
    return found;
  }

  Status Resume(const Leg& leg) override {
    const Call call(&w_, "Resume", leg.device);
    SHADOW_TRY(call.before());
    w_.suspended_lvs.erase(leg.id);
    return call.after();
  }

  Result<std::vector<MadeLeg>> ListMade() override {
    const Call call(&w_, "", "");
    std::vector<MadeLeg> made;
    for (const auto& [path, lv] : w_.lvs) {
      if (lv.order.role.empty()) continue;
      MadeLeg leg{LegOf(path), lv.order.volume_uuid, lv.order.modification, lv.order.role, false};
      for (const auto& [name, dm] : w_.devices) {
        leg.open = leg.open || Uses(dm.target->table(), path);
      }
      made.push_back(leg);
    }
    return made;
  }

  Result<std::string> SampleDevice(const std::string& storage_class) override {
    return "/dev/pv_" + storage_class;
  }

  Status CheckTools() override { return Ok(); }

 private:
  Leg LegOf(const std::string& path) const {
    const Disk& disk = w_.disks.at(path);
    Leg leg;
    leg.device = path;
    leg.id = disk.id;
    leg.size_bytes = disk.size_bytes;
    const auto lv = w_.lvs.find(path);
    if (lv != w_.lvs.end()) {
      leg.storage_class = lv->second.storage_class;
      leg.logical_volume = true;
    }
    for (const auto& [name, paths] : w_.device_classes) {
      if (std::count(paths.begin(), paths.end(), path) > 0) leg.storage_class = name;
    }
    return leg;
  }

  std::uint64_t Free(const std::string& storage_class) const {
    std::uint64_t used = 0;
    for (const auto& [path, lv] : w_.lvs) {
      if (lv.storage_class == storage_class) used += w_.disks.at(path).size_bytes;
    }
    const std::uint64_t size = w_.groups.at(storage_class);
    return size > used ? size - used : 0;
  }

  Status CheckWhole(const std::string& storage_class) const {
    if (w_.GroupIsWhole(storage_class)) return Ok();
    return MakeError(Code::kUnavailable, "A disk of the volume group of class " + storage_class +
                                             " is missing: LVM changes nothing in it.");
  }

  // The path that the leg has now.
  Result<std::string> Find(const Leg& leg) {
    for (const auto& [path, lv] : w_.lvs) {
      if (w_.disks.at(path).id != leg.id) continue;
      SHADOW_TRY(CheckWhole(lv.storage_class));
      return path;
    }
    for (const auto& [path, lv] : w_.lvs_away()) {
      if (w_.away().at(path).id == leg.id) SHADOW_TRY(CheckWhole(lv.storage_class));
    }
    if (leg.logical_volume) {
      return MakeError(Code::kNotFound, "There is no logical volume " + leg.device + ".");
    }
    return MakeError(Code::kFailedPrecondition, leg.device + " is no logical volume.");
  }

  SimWorld& w_;
};

class SimFilesystems final : public Filesystems {
 public:
  explicit SimFilesystems(SimWorld* world) : w_(*world) {}

  Result<FsInfo> Inspect(const std::string& device) override {
    const Call call(&w_, "", device);
    const auto it = w_.filesystems.find(device);
    return it == w_.filesystems.end() ? FsInfo{} : it->second;
  }
  Status Trim(const std::string& device, std::uint64_t /*from*/, std::uint64_t /*bytes*/) override {
    const Call call(&w_, "Trim", device);
    SHADOW_TRY(call.before());
    return call.after();
  }
  Status Grow(const std::string& device) override {
    const Call call(&w_, "Grow", device);
    SHADOW_TRY(call.before());
    const auto it = w_.filesystems.find(device);
    const std::string name = device.substr(device.rfind('/') + 1);
    if (it != w_.filesystems.end() && w_.devices.count(name) != 0) {
      it->second.end_bytes = w_.devices.at(name).target->table().sectors * kSectorBytes;
    }
    return call.after();
  }

 private:
  SimWorld& w_;
};

}  // namespace

std::unique_ptr<BlockDevices> MakeSimBlockDevices(SimWorld* world) {
  return std::make_unique<SimBlockDevices>(world);
}
std::unique_ptr<LegProvider> MakeSimLegs(SimWorld* world) {
  return std::make_unique<SimLegs>(world);
}
std::unique_ptr<Filesystems> MakeSimFilesystems(SimWorld* world) {
  return std::make_unique<SimFilesystems>(world);
}

}  // namespace shadow::sim
