// SPDX-License-Identifier: Apache-2.0
#include "daemon/sim/sim_world.h"

#include "daemon/sim/sim_parts.h"

namespace shadow::sim {

SimWorld::SimWorld()
    : dm_(MakeSimDeviceMapper(this)),
      blocks_(MakeSimBlockDevices(this)),
      legs_(MakeSimLegs(this)),
      fs_(MakeSimFilesystems(this)) {}
SimWorld::~SimWorld() = default;

DeviceMapper& SimWorld::dm() { return *dm_; }
BlockDevices& SimWorld::blocks() { return *blocks_; }
LegProvider& SimWorld::legs() { return *legs_; }
Filesystems& SimWorld::fs() { return *fs_; }

void SimWorld::AddDisk(const std::string& path, std::uint64_t size_bytes) {
  Disk disk;
  disk.path = path;
  disk.id = "ID" + std::to_string(next_minor);
  disk.size_bytes = size_bytes;
  disk.minor = next_minor++;
  disks[path] = disk;
}

void SimWorld::AddGroup(const std::string& storage_class, std::uint64_t size_bytes) {
  groups[storage_class] = size_bytes;
}

void SimWorld::AddDeviceClass(const std::string& storage_class, std::vector<std::string> paths) {
  device_classes[storage_class] = std::move(paths);
}

void SimWorld::AddForeignLv(const std::string& path, const std::string& storage_class,
                            std::uint64_t size) {
  AddDisk(path, size);
  lvs[path] = SimLv{storage_class, {}};
}

void SimWorld::Advance(std::int64_t ms) {
  const std::lock_guard<std::mutex> lock(mutex);
  for (auto& [name, device] : devices) device.target->Advance(ms, device_kib_per_s);
}

void SimWorld::Reboot() {
  devices.clear();
  for (auto& [path, meta] : metadata) {
    for (BlockState& s : meta.states) {
      if (s == BlockState::kCopying) s = BlockState::kOrigin;
    }
  }
}

void SimWorld::CrashAt(std::uint64_t n) {
  crash_at_ = n;
  points = 0;
}

void SimWorld::Point(const std::string& where) {
  if (++points == crash_at_) throw SimCrash{where};
}

void SimWorld::FailNext(const std::string& call, Error error, int times) {
  failures.insert_or_assign(call, std::make_pair(std::move(error), times));
}

Status SimWorld::Injected(const std::string& call) {
  const auto it = failures.find(call);
  if (it == failures.end()) return Ok();
  Error error = it->second.first;
  if (--it->second.second <= 0) failures.erase(it);
  return error;
}

}  // namespace shadow::sim
