// SPDX-License-Identifier: Apache-2.0
#include "daemon/sim/sim_world.h"

#include "daemon/sim/sim_parts.h"

namespace shadow::sim {

SimWorld::SimWorld()
    : dm_(MakeSimDeviceMapper(this)),
      blocks_(MakeSimBlockDevices(this)),
      legs_(MakeSimLegs(this)),
      fs_(MakeSimFilesystems(this)),
      identities_(MakeSimIdentities(this)),
      guard_(MakeSimGuard(this)) {}
SimWorld::~SimWorld() = default;

DeviceMapper& SimWorld::dm() { return *dm_; }
BlockDevices& SimWorld::blocks() { return *blocks_; }
LegProvider& SimWorld::legs() { return *legs_; }
Filesystems& SimWorld::fs() { return *fs_; }
Identities& SimWorld::identities() { return *identities_; }
DeviceGuard& SimWorld::guard() { return *guard_; }

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

namespace {

// What `map` has under the names a and b, exchanged. Either may be missing.
template <typename T>
void SwapKeys(std::map<std::string, T>* map, const std::string& a, const std::string& b) {
  auto was_a = map->extract(a);
  auto was_b = map->extract(b);
  if (!was_a.empty()) {
    was_a.key() = b;
    map->insert(std::move(was_a));
  }
  if (!was_b.empty()) {
    was_b.key() = a;
    map->insert(std::move(was_b));
  }
}

}  // namespace

void SimWorld::NameOnly(const std::string& path) {
  const auto disk = disks.find(path);
  if (disk != disks.end() && !disk->second.lasts)
    disk->second.id = "name:" + path.substr(path.rfind('/') + 1);
}

void SimWorld::SwapNames(const std::string& a, const std::string& b) {
  SwapKeys(&disks, a, b);
  SwapKeys(&metadata, a, b);
  SwapKeys(&lvs, a, b);
  SwapKeys(&filesystems, a, b);
  for (const std::string& path : {a, b}) {
    if (disks.count(path) != 0) disks.at(path).path = path;
    NameOnly(path);
  }
}

void SimWorld::Disconnect(const std::string& path) {
  away_.insert(disks.extract(path));
  lvs_away_.insert(lvs.extract(path));
}

void SimWorld::Connect(const std::string& path) {
  disks.insert(away_.extract(path));
  lvs.insert(lvs_away_.extract(path));
}

bool SimWorld::GroupIsWhole(const std::string& storage_class) const {
  return std::none_of(lvs_away_.begin(), lvs_away_.end(),
                      [&](const auto& lv) { return lv.second.storage_class == storage_class; });
}

std::string SignatureOf(std::uint64_t first_value) {
  static const std::array<const char*, kSimSignatures> kTypes = {"ext4", "xfs", "LVM2_member",
                                                                 "crypto_LUKS", "swap"};
  const std::uint64_t type = first_value >> 60;
  return type == 0 || type > kTypes.size() ? "" : kTypes.at(type - 1);
}

std::optional<shadow_superblock> SimWorld::Superblock(const std::string& path) {
  const auto it = metadata.find(path);
  if (it == metadata.end() || !it->second.formatted) return std::nullopt;
  const Metadata& m = it->second;
  shadow_superblock sb{};
  sb.phase = m.phase == "steady"      ? SHADOW_STEADY
             : m.phase == "migrating" ? SHADOW_MIGRATING
                                      : SHADOW_GRACE;
  sb.block_sectors = m.block_sectors;
  sb.nr_sectors = m.sectors;
  sb.old_sectors = m.phase == "steady" ? m.sectors : m.old_sectors;
  const auto copy = [](const std::string& text, char* to, std::size_t room) {
    (void)text.copy(to, room - 1);  // the rest is zero
  };
  copy(m.name, sb.name, sizeof(sb.name));
  const std::string prefix = "SHADOW-";
  copy(m.uuid.substr(std::min(prefix.size(), m.uuid.size())), sb.uuid, sizeof(sb.uuid));
  const std::array<std::string, SHADOW_NR_LEGS> ids = {m.origin_id, m.target_id, m.tier_ids[0],
                                                       m.tier_ids[1]};
  for (std::size_t leg = 0; leg < ids.size(); ++leg) {
    if (ids.at(leg).empty()) continue;
    sb.legs[leg].present = true;
    copy(ids.at(leg), sb.legs[leg].id, sizeof(sb.legs[leg].id));
    for (const auto& [at, disk] : disks) {
      if (disk.id == ids.at(leg)) sb.legs[leg].sectors = disk.size_bytes / kSectorBytes;
    }
  }
  return sb;
}

Result<std::uint64_t> SimWorld::OnlyCopies(const std::string& path, int leg) {
  const auto it = metadata.find(path);
  if (it == metadata.end()) return MakeError(Code::kNotFound, "There is no metadata on " + path);
  const Metadata& m = it->second;
  std::uint64_t only = 0;
  for (const BlockState state : m.states) {
    const bool origin = state == BlockState::kOrigin || state == BlockState::kCopying;
    const bool target = state == BlockState::kTarget || state == BlockState::kRemirroring;
    if ((leg == 0 && origin) || (leg == 1 && target)) ++only;
  }
  for (const auto& [block, shadow] : m.shadows) {
    if (shadow.dirty && leg >= 2 && static_cast<int>(IndexOf(shadow.tier)) == leg - 2) ++only;
  }
  return only;
}

void SimWorld::Count(SimDevice* device, std::uint64_t ios) const {
  if (device->counted_sectors == 0) return;
  const std::uint64_t slow = ios / 50;
  device->counted_ios += ios;
  device->counted.at(LatencyBucket(latency.p50_us)) += ios - slow;
  device->counted.at(LatencyBucket(latency.p99_us)) += slow;
}

void SimWorld::Advance(std::int64_t ms) {
  const std::lock_guard<std::recursive_mutex> lock(mutex);
  for (auto& [name, device] : devices) {
    device.target->Advance(ms, device_kib_per_s);
    Count(&device, latency.ios * static_cast<std::uint64_t>(ms) / 100);
  }
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

void SimWorld::MeanwhileAt(std::uint64_t n, std::function<void()> act) {
  meanwhile_in_ = n;
  meanwhile_ = std::move(act);
}

void SimWorld::Begin(const std::string& name) {
  if (meanwhile_in_ == 0) return;
  if (meanwhile_in_ > 1) {
    --meanwhile_in_;
    return;
  }
  if (name == "Load" || name == "Create") return;
  meanwhile_in_ = 0;
  const auto act = std::move(meanwhile_);
  meanwhile_ = nullptr;
  if (act) act();
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
