// SPDX-License-Identifier: Apache-2.0
// Who uses the world's devices, what is on them, on what they lie.
#include "daemon/sim/sim_parts.h"

namespace shadow::sim {
namespace {

class SimHold final : public DeviceHold {
 public:
  SimHold(SimWorld* world, std::string id) : w_(*world), id_(std::move(id)) {}
  ~SimHold() override {
    const std::lock_guard<std::recursive_mutex> lock(w_.mutex);
    for (auto& [path, disk] : w_.disks) {
      if (disk.id == id_) --disk.held;
    }
  }
  SimHold(const SimHold&) = delete;
  SimHold& operator=(const SimHold&) = delete;

 private:
  SimWorld& w_;
  std::string id_;
};

class SimGuard final : public DeviceGuard {
 public:
  explicit SimGuard(SimWorld* world) : w_(*world) {}

  Result<std::string> UsedBy(const std::string& path) override {
    const Call call(&w_, "", path);
    SHADOW_ASSIGN(Disk * disk, Find(path));
    for (const auto& [name, device] : w_.devices) {
      if (Uses(device.target->table(), path)) return "held by " + name;
    }
    if (!disk->used_by.empty()) return disk->used_by;
    if (disk->held > 0) return std::string("opened by shadowd");
    return disk->opened_by.empty() ? std::string() : "opened by " + disk->opened_by;
  }

  Result<std::vector<Signature>> Signatures(const std::string& path) override {
    const Call call(&w_, "", path);
    const std::string mapper = "/dev/mapper/";
    const auto volume =
        w_.devices.find(path.rfind(mapper, 0) == 0 ? path.substr(mapper.size()) : "");
    SHADOW_ASSIGN(
        Disk * disk,
        Find(volume == w_.devices.end() ? path : volume->second.target->table().origin.device));
    std::vector<Signature> all = disk->signatures;
    const std::uint64_t first = disk->content.empty() ? 0 : disk->content[0];
    const std::string type = SignatureOf(first);
    if (!type.empty()) all.push_back({type, "", std::to_string(first)});
    const auto fs = w_.filesystems.find(path);
    if (fs != w_.filesystems.end() && !fs->second.type.empty()) {
      all.push_back({fs->second.type, "", ""});
    }
    return all;
  }

  // Each signature of a disk stands at a place that follows from what it says.
  Result<std::vector<DeviceBytes>> SignatureBytes(const std::string& path) override {
    const Call call(&w_, "", path);
    SHADOW_ASSIGN(Disk * disk, Find(path));
    std::vector<DeviceBytes> all;
    for (const Signature& s : disk->signatures) all.push_back(BytesOf(s));
    return all;
  }

  Status WriteBytes(const std::string& path, const std::vector<DeviceBytes>& bytes) override {
    const Call call(&w_, "WriteBytes", path);
    SHADOW_TRY(call.before());
    SHADOW_ASSIGN(Disk * disk, Find(path));
    for (const auto& [name, device] : w_.devices) {
      if (Uses(device.target->table(), path))
        return MakeError(Code::kFailedPrecondition, path + " is in use.");
    }
    for (const DeviceBytes& one : bytes) {
      std::erase_if(disk->signatures,
                    [&](const Signature& s) { return BytesOf(s).offset == one.offset; });
      if (one.bytes.find_first_not_of('\0') == std::string::npos) continue;
      const auto first = one.bytes.find('|');
      const auto second = one.bytes.find('|', first + 1);
      disk->signatures.push_back({one.bytes.substr(0, first),
                                  one.bytes.substr(first + 1, second - first - 1),
                                  one.bytes.substr(second + 1)});
    }
    return call.after();
  }

  Result<bool> LooksBlank(const std::string& path) override {
    const Call call(&w_, "", path);
    SHADOW_ASSIGN(Disk * disk, Find(path));
    return disk->signatures.empty() && std::all_of(disk->content.begin(), disk->content.end(),
                                                   [](std::uint64_t value) { return value == 0; });
  }

  Result<std::vector<StackedDevice>> Stack(const std::string& path) override {
    const Call call(&w_, "", path);
    std::vector<StackedDevice> all;
    Walk(path, false, &all);
    return all;
  }

  Result<std::unique_ptr<DeviceHold>> Hold(const std::string& path) override {
    const Call call(&w_, "", path);
    SHADOW_ASSIGN(Disk * disk, Find(path));
    if (disk->held > 0 || !disk->used_by.empty()) {
      return MakeError(Code::kFailedPrecondition, path + " was taken by another program just now.");
    }
    ++disk->held;
    return std::unique_ptr<DeviceHold>(std::make_unique<SimHold>(&w_, disk->id));
  }

 private:
  static DeviceBytes BytesOf(const Signature& s) {
    std::string text = s.type + "|" + s.label + "|" + s.uuid;
    const std::uint64_t offset = std::hash<std::string>{}(text)&0xffffU;
    return {offset, std::move(text)};
  }

  Result<Disk*> Find(const std::string& path) {
    const auto it = w_.disks.find(path);
    if (it == w_.disks.end()) return MakeError(Code::kNotFound, "There is no device " + path + ".");
    return &it->second;
  }

  void Walk(const std::string& path, bool under_shadow, std::vector<StackedDevice>* all) {
    StackedDevice one;
    one.name = path;
    one.under_shadow = under_shadow;
    const std::string mapper = "/dev/mapper/";
    const std::string volume = path.rfind(mapper, 0) == 0 ? path.substr(mapper.size()) : "";
    std::vector<std::string> below;
    const auto disk = w_.disks.find(path);
    if (disk != w_.disks.end()) {
      one.major = 253;
      one.minor = disk->second.minor;
      below = disk->second.below;
    }
    const auto device = w_.devices.find(volume);
    if (device != w_.devices.end()) {
      one.dm_name = volume;
      one.dm_uuid = device->second.uuid;
      const ShadowTable& table = device->second.target->table();
      below.push_back(table.origin.device);
      if (table.target) below.push_back(table.target->device);
    }
    all->push_back(one);
    for (const std::string& next : below) {
      Walk(next, under_shadow || device != w_.devices.end(), all);
    }
  }

  SimWorld& w_;
};

}  // namespace

std::unique_ptr<DeviceGuard> MakeSimGuard(SimWorld* world) {
  return std::make_unique<SimGuard>(world);
}

}  // namespace shadow::sim
