// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/daemon/machine.h"

#include "daemon/boot/superblock.h"
#include "tests/sim/daemon/step.h"

namespace shadow::judge {
namespace {

constexpr std::uint64_t kGroupBytes = 10 * sim::kSimExtent;

}  // namespace

Machine::Machine(std::uint64_t seed) {
  Dice dice(seed);
  std::uint64_t value = 1'000'000;
  const auto fill = [&](const std::string& path, std::uint32_t kind) {
    sim::Disk& disk = world.disks.at(path);
    disk.content.assign(disk.size_bytes / kCell, 0);
    if (kind == 0) return;
    for (std::uint64_t& cell : disk.content) cell = ++value;
    if (kind > 1) disk.content[0] = sim::SignedValue(dice.Below(sim::kSimSignatures), ++value);
  };
  world.AddGroup("hdd", kGroupBytes);
  world.AddGroup("nvme", kGroupBytes);
  for (const char* path : {"/dev/p1", "/dev/p2", "/dev/p3"}) {
    world.AddDisk(path, (8 + dice.Below(16)) * kCell);
    fill(path, dice.Below(4) == 0 ? 1 + dice.Below(2) : 0);
  }
  world.AddDeviceClass("pool", {"/dev/p1", "/dev/p2", "/dev/p3"});
  for (const char* path : {"/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sdd"}) {
    world.AddDisk(path, (8 + dice.Below(16)) * kCell);
    fill(path, dice.Below(3));
  }
  if (dice.Below(2) == 0) {
    world.disks.at("/dev/sdd").lasts = false;
    world.NameOnly("/dev/sdd");
  }
  world.AddForeignLv("/dev/vg_hdd/home", "hdd", sim::kSimExtent);
  fill("/dev/vg_hdd/home", 2);
  world.AddForeignLv("/dev/vg_nvme/scratch", "nvme", sim::kSimExtent);
  fill("/dev/vg_nvme/scratch", dice.Below(3));
  world.device_kib_per_s = std::uint64_t{256} << dice.Below(6);
  store_ = OpenStore({":memory:"}).value();
  crashing_ = std::make_unique<sim::CrashingStore>(store_.get(), &world);
}

void Machine::Start() {
  if (engine_) return;
  Deps deps;
  deps.store = crashing_.get();
  deps.dm = &world.dm();
  deps.blocks = &world.blocks();
  deps.guard = &world.guard();
  deps.identities = &world.identities();
  deps.only_copies = [this](const std::string& metadata, int leg) {
    return world.OnlyCopies(metadata, leg);
  };
  deps.superblock = [this](const std::string& metadata) {
    return Result<std::optional<shadow_superblock>>(world.Superblock(metadata));
  };
  deps.legs = &world.legs();
  deps.fs = &world.fs();
  deps.clock = &clock;
  deps.ids = &ids_;
  deps.state_dir = "/dev/null";  // backups are the world's; no directory is made
  EngineOptions options;
  options.threads = false;
  options.sleep = [this](std::int64_t ms) { Pass(ms); };
  engine_ = std::make_unique<EngineImpl>(deps, options);
  const Status started = engine_->Start();
  start_failed = started.ok() ? "" : started.error().ToString();
  if (!started.ok()) engine_.reset();
}

void Machine::Kill() { engine_.reset(); }

void Machine::Reboot() {
  Kill();
  world.Reboot();
  clock.Reboot();
}

void Machine::ActivateFromMetadata(const std::function<bool(const std::string&)>& known) {
  for (const auto& [path, meta] : world.metadata) {
    const auto sb = world.Superblock(path);
    if (!sb || world.disks.count(path) == 0 || world.devices.count(sb->name) != 0) continue;
    if (!known(sb->name)) continue;
    LegPaths paths;
    bool all = true;
    for (int leg = 0; leg < SHADOW_NR_LEGS; ++leg) {
      paths.at(static_cast<std::size_t>(leg)) = "-";
      if (!sb->legs[leg].present) continue;
      const auto found = world.identities().Resolve(sb->legs[leg].id);
      all = all && found.ok();
      if (found.ok()) paths.at(static_cast<std::size_t>(leg)) = found->path;
    }
    if (!all) continue;
    const ShadowTable table = TableFor(*sb, path, paths);
    const auto params = BuildTable(table);
    if (!params.ok()) continue;
    (void)world.dm().Create(sb->name, DmUuid(sb->uuid), table.sectors, *params);
  }
}

void Machine::Pass(std::int64_t ms) {
  clock.AdvanceMs(ms);
  world.Advance(ms);
}

}  // namespace shadow::judge
