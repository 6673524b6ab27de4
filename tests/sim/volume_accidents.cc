// SPDX-License-Identifier: GPL-2.0-only
// Accidents that happen to a volume's devices.
#include <cstdlib>
#include <cstring>

#include "tests/sim/world.h"

namespace sim {

void Volume::set_hung(bool hung) {
  hung_ = hung;
  if (!hung) {
    for (auto& d : devices_) sim_disk_set_hung(d.disk, false);
    sim_disk_set_hung(meta_, false);
  }
}

bool Volume::Accidents(Action what) {
  switch (what) {
    case kLegDies: {
      const u32 d = sim_below(kHomes);
      if (sim_disk_dead(devices_[d].disk) || sim_disk_dead(devices_[!d].disk) || steady_ || !up_ ||
          !sim_one_in(4))
        return false;
      sim_disk_set_dead(devices_[d].disk, true);
      world_.trouble = true;
      world_.Note("device %s disappears", Name(d));
      return true;
    }
    case kTierDies: {
      const u32 d = kHomes + sim_below(SHADOW_NR_TIERS);
      if (sim_disk_dead(devices_[d].disk) || !devices_[d].identity || !sim_one_in(4)) return false;
      sim_disk_set_dead(devices_[d].disk, true);
      world_.trouble = true;
      world_.Note("device %s disappears", Name(d));
      return true;
    }
    case kMetadataDies:
      if (sim_disk_dead(meta_) || !sim_one_in(8)) return false;
      sim_disk_set_dead(meta_, true);
      world_.trouble = true;
      world_.Note("the metadata device disappears");
      return true;
    case kHangs: {
      if (hung_) {
        set_hung(false);
        world_.Note("device goes on");
        return true;
      }
      const u32 d = sim_below(kMeta + 1);
      hung_ = true;
      sim_disk_set_hung(d == kMeta ? meta_ : devices_[d].disk, true);
      world_.Note("device %s hangs", Name(d));
      return true;
    }
    case kBlip:
      if (away_ != kNone) return EndBlip();
      if (!up_ || busy_ || blipping_) return false;
      blipping_ = true;
      world_.Spawn("accident", [this] {
        StartBlip();
        blipping_ = false;
      });
      return true;
    default:
      return false;
  }
}

// ------------------------------------------------------- a leg that loses its cache
//
// A device loses power while the volume runs: what it acknowledged since its last flush is gone. It
// comes back after it has failed a write or a flush, when all that follows from that is over. If it
// failed none nobody could know. From then on what a read finds must be right: so the accident is
// for a leg that holds nothing alone, and happens in runs in which no other device fails.

/// A leg that holds nothing alone, as the status says; kNone: there is none. What becomes true
/// later is no matter: before a leg's copy may be the only one it has to be flushed, which fails.
u32 Volume::Expendable(const char* info) const {
  u64 origin = 0, copying = 0, target = 0, remirroring = 0, retiring = 0, filling = 0, tail = 0,
      mirrored = 0;
  if (std::strncmp(info, "rw ", 3) != 0 || !Field(info, "origin", &origin) ||
      !Field(info, "copying", &copying) || !Field(info, "target", &target) ||
      !Field(info, "remirroring", &remirroring) || !Field(info, "retiring", &retiring) ||
      !Field(info, "filling", &filling) || !Field(info, "tail", &tail) ||
      !Field(info, "mirrored", &mirrored))
    return kNone;
  std::array<u32, SHADOW_NR_LEGS> may{};
  u32 n = 0;
  shadow_superblock sb;
  bool blank;
  if (!Superblock(&sb, &blank)) return kNone;
  const bool home = sb.phase != SHADOW_STEADY && mirrored && !retiring && !filling;
  if (home && !origin && !copying) may[n++] = SHADOW_LEG_ORIGIN;
  if (home && !target && !remirroring && !tail) may[n++] = SHADOW_LEG_TARGET;
  for (u32 leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
    char all_clean[40], key[16];
    std::snprintf(key, sizeof(key), " tier%u=", leg - SHADOW_LEG_TIER1 + 1);
    const char* at = std::strstr(info, key);
    std::snprintf(all_clean, sizeof(all_clean), "%sok:writethrough:", key);
    if (!at || std::strncmp(at, all_clean, std::strlen(all_clean)) != 0) continue;
    u32 slots = 0, used = 0, dirty = 1;
    if (std::sscanf(at + std::strlen(all_clean), "%u:%u:%u", &slots, &used, &dirty) == 3 && used &&
        !dirty)
      may[n++] = leg;
  }
  if (!n) return kNone;
  const u32 leg = may[sim_below(n)];
  if (leg >= SHADOW_LEG_TIER1) return leg;
  const int d = DeviceNamed(sb.legs[leg].id);
  return d < 0 ? kNone : static_cast<u32>(d);
}

void Volume::StartBlip() {
  char info[kRoom];
  if (!md_ || !sim_dm_status(md_, 0, false, info, kRoom)) return;
  const u32 d = Expendable(info);
  if (d == kNone || !up_ || busy_) return;
  for (u32 i = 0; i < SHADOW_NR_LEGS; i++)
    if (sim_disk_dead(devices_[i].disk)) return;
  away_ = d;
  world_.trouble = true;
  world_.counts().blips++;
  world_.Note("device %s loses power, and what was in its cache", Name(d));
  sim_disk_blip(devices_[d].disk, sim_one_in(2) ? SIM_LOSE_ALL : SIM_MIX);
}

bool Volume::EndBlip() {
  sim_disk* disk = devices_[away_].disk;
  if (sim_disk_dead(disk)) {
    if (!sim_disk_told(disk) || !sim_at_rest()) return false;
    sim_disk_back(disk);
    world_.Note("device %s is back", Name(away_));
  }
  away_ = kNone;
  return true;
}

/// In a fiber, with nothing else going on: whoever is away fails a flush, or is not asked.
void Volume::TellBlip() {
  if (away_ == kNone || !up_ || sim_disk_told(devices_[away_].disk)) return;
  Request* r = NewRequest(kFlush, SIM_IO_WRITE);
  flushes_++;
  r->io.preflush = true;
  truth_.StartFlush(r->flush);
  world_.Note("user flushes");
  in_flight_++;
  sim_dm_submit(&r->io);
  while (in_flight_) sim_block(&in_flight_);
}

}  // namespace sim
