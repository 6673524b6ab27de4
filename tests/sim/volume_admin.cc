// SPDX-License-Identifier: GPL-2.0-only
// The administrator: tables, suspend and resume, removal.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/sim/world.h"

namespace sim {

namespace {
constexpr u32 kTable = 640, kPageSectors = SHADOW_PAGE_SIZE / 512;
constexpr u32 kSuperblockUsed = 352;  // bytes, up to the end of the home legs
const char* const kRoles[] = {"origin", "target", "tier1", "tier2"};
}  // namespace

/// The newest valid one, as a reader of the device finds it now.
bool Volume::Superblock(shadow_superblock* sb, bool* blank) const {
  bool found = false;
  *blank = true;
  for (u32 i = 0; i < SHADOW_NR_SUPERBLOCKS; i++) {
    std::array<u8, SHADOW_PAGE_SIZE> page;
    shadow_superblock one;
    sim_disk_read(meta_, i * kPageSectors, kPageSectors, page.data());
    const shadow_format_error e = shadow_sb_decode(page.data(), &one);
    if (e != SHADOW_FORMAT_BLANK) *blank = false;
    if (e != SHADOW_FORMAT_OK || (found && one.generation <= sb->generation)) continue;
    *sb = one;
    found = true;
  }
  return found;
}

int Volume::DeviceNamed(const char* id) const {
  for (u32 d = 0; d < kHomes; d++) {
    char name[16];
    std::snprintf(name, sizeof(name), "D%u", devices_[d].identity);
    if (!std::strcmp(name, id)) return static_cast<int>(d);
  }
  return -1;
}

/// Tiers that are there stay, or go if they are empty; others come.
void Volume::ChooseTiers(Plan& p, const shadow_superblock& sb, bool fancy, bool may_leave) {
  p.writeback = static_cast<u8>(sim_below(4) << SHADOW_LEG_TIER1);
  for (u32 leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
    Device& d = devices_[leg];
    if (sb.legs[leg].present) {
      if (fancy && may_leave && sim_one_in(4)) {
        p.fancy = true;
        continue;
      }
      if (leg != away_ && (sim_one_in(2) || machine.calm)) sim_disk_set_dead(d.disk, false);
      if (!machine.calm && !world_.blips() && sim_one_in(16)) {
        sim_disk_set_dead(d.disk, true);
        world_.trouble = true;
      }
      p.given[leg] = true;
      if (!sim_disk_dead(d.disk)) p.dev[leg] = static_cast<int>(leg);
      p.id[leg] = static_cast<u32>(std::atoi(sb.legs[leg].id + 1));
      if (p.id[leg] != d.identity)
        world_.Fail(index_, "the metadata names a tier that was given up: %s", sb.legs[leg].id);
    } else if (tiers_ && fancy && sim_one_in(2)) {
      p.given[leg] = p.fancy = true;
      p.dev[leg] = static_cast<int>(leg);
      p.id[leg] = d.identity ? d.identity : ++next_identity_;
    }
  }
}

/// A table that makes sense with what the metadata says now. @fancy: that changes something.
Plan Volume::Choose(bool fancy, bool may_leave, bool may_shrink) {
  Plan p;
  shadow_superblock sb;
  bool blank = false;
  p.turns = turns_ - turning_;
  p.policy = sim_one_in(2) ? static_cast<u8>(SHADOW_READ_BALANCE)
                           : static_cast<u8>(sim_below(SHADOW_NR_POLICIES));
  p.given[SHADOW_LEG_ORIGIN] = true;
  if (!Superblock(&sb, &blank)) {
    // a first superblock that was torn: the device is wiped and formatted again
    if (!blank && formatted_) world_.Fail(index_, "no superblock is valid");
    if (!blank) sim_disk_clear(meta_);
    p.dev[SHADOW_LEG_ORIGIN] = 0;
    p.id[SHADOW_LEG_ORIGIN] = devices_[0].identity;
    sim_disk_set_dead(devices_[0].disk, false);
    p.fresh = !import_;
    p.len = first_len_;
    return p;
  }
  p.len = geometry_.Cells(sb.nr_sectors);
  for (u32 leg = 0; leg < kHomes; leg++) {
    if (!sb.legs[leg].present) continue;
    const int d = DeviceNamed(sb.legs[leg].id);
    if (d < 0) {
      world_.Fail(index_, "the metadata names a leg that was given up: %s", sb.legs[leg].id);
      return p;
    }
    sim_disk* disk = devices_[static_cast<u32>(d)].disk;
    p.id[leg] = devices_[static_cast<u32>(d)].identity;
    p.given[leg] = true;
    if (sb.phase == SHADOW_STEADY) sim_disk_set_dead(disk, false);
    if (!sim_disk_dead(disk)) p.dev[leg] = d;
  }
  ChooseTiers(p, sb, fancy, may_leave);
  if (sb.phase != SHADOW_STEADY || !fancy) return p;
  const u32 len = p.len;
  switch (sim_below(4)) {
    case 0:
      if (len < kCells) p.len = len + 1 + sim_below(kCells - len);
      break;
    case 1:
      if (len > 1 && may_shrink) p.len = 1 + sim_below(len - 1);
      p.shrink = p.len < len;
      break;
    default:
      break;
  }
  if (!sim_one_in(3)) {
    p.attach = p.given[SHADOW_LEG_TARGET] = true;
    p.dev[SHADOW_LEG_TARGET] = !p.dev[SHADOW_LEG_ORIGIN];
    // one whose attach failed may be named by the metadata all the same: it stays what it is
    const u32 before = devices_[static_cast<u32>(p.dev[SHADOW_LEG_TARGET])].identity;
    p.id[SHADOW_LEG_TARGET] = before ? before : ++next_identity_;
    // the block at the shorter end would have two lengths: that has to be refused
    if (std::min(p.len, len) % kCellsPerBlock && !sim_one_in(8)) p.len = len;
  }
  if (p.shrink && p.len == len) p.shrink = false;
  p.fancy |= p.attach || p.len != len;
  return p;
}

void Volume::Text(const Plan& p, char* text, size_t room) const {
  char legs[160] = "", features[400] = "";
  u32 n = 0, words = 0;
  const auto add = [](char* to, size_t size, const char* format, auto... args) {
    const size_t used = std::strlen(to);
    std::snprintf(to + used, size - used, format, args...);
  };
  for (u32 leg = 0; leg < SHADOW_NR_LEGS; leg++) {
    if (!p.given[leg]) continue;
    n++;
    add(legs, sizeof(legs), " %s %s", kRoles[leg],
        p.dev[leg] < 0 ? "-" : Name(static_cast<u32>(p.dev[leg])));
    add(features, sizeof(features), " leg_id %s D%u", kRoles[leg], p.id[leg]);
    words += 3;
    if (leg >= SHADOW_LEG_TIER1 && (p.writeback >> leg & 1)) {
      add(features, sizeof(features), " writeback %s", kRoles[leg]);
      words += 2;
    }
  }
  if (p.fresh || p.shrink) {
    add(features, sizeof(features), p.fresh ? " fresh" : " shrink");
    words++;
  }
  if (p.policy) {
    add(features, sizeof(features), " read %s",
        shadow_policy_name(static_cast<shadow_policy>(p.policy)));
    words += 2;
  }
  std::snprintf(text, room, "%s %u %u%s %u%s", Name(kMeta), kBlockSectors, n, legs, words,
                features);
}

/// Cells that the volume has when the modification, if there is one, was given up.
u32 Volume::LengthLeft(const shadow_superblock& sb) const {
  const u32 now = geometry_.Cells(sb.nr_sectors);
  return sb.phase == SHADOW_STEADY ? now : std::min(now, geometry_.Cells(sb.old_sectors));
}

/// What must be so before the table is taken: a new leg holds anything, new capacity is zero.
void Volume::Prepare(const Plan& p) {
  shadow_superblock sb;
  bool blank = false;
  if (!Superblock(&sb, &blank)) return;
  for (u32 leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
    if (p.dev[leg] < 0 || sb.legs[leg].present || !p.given[leg]) continue;
    sim_disk_set_dead(devices_[leg].disk, false);
    devices_[leg].Refill(Device::kGarbage);
    devices_[leg].identity = p.id[leg];
  }
  const u32 len = geometry_.Cells(sb.nr_sectors);
  if (p.len > len) truth_.Born(CellsBelow(p.len) & ~CellsBelow(len));
  if (!p.attach || sb.phase != SHADOW_STEADY) return;
  Device& target = devices_[static_cast<u32>(p.dev[SHADOW_LEG_TARGET])];
  sim_disk_set_dead(target.disk, false);
  if (target.identity == p.id[SHADOW_LEG_TARGET]) return;
  target.Refill(Device::kGarbage);
  target.identity = p.id[SHADOW_LEG_TARGET];
}

/// A leg that no table names is trimmed and given back at once.
void Volume::Live(const Plan& p) {
  for (u32 leg = SHADOW_LEG_TIER1; leg < SHADOW_NR_LEGS; leg++) {
    if (p.given[leg]) continue;
    devices_[leg].Refill(Device::kGarbage);
    devices_[leg].identity = 0;
  }
  if (!p.given[SHADOW_LEG_TARGET]) {
    Device& other = devices_[!p.dev[SHADOW_LEG_ORIGIN]];
    other.Refill(Device::kGarbage);
    other.identity = 0;
  }
  if (resizes_ % 2) resizes_++;
  len_ = p.len;
  for (Request& r : requests_)  // put off by the suspend: they may come to what is not there
    if (r.used) r.homeless |= MayBeRefused(r) || (r.cells & ~CellsBelow(len_));
  formatted_ = true;
  lives_++;
  for (u32 leg = 0; leg < kHomes; leg++) homes_[leg] = p.given[leg] ? p.dev[leg] : -1;
  shadow_superblock sb;
  bool blank;
  const bool found = Superblock(&sb, &blank);
  // a message may have ended the phase while the table was resumed
  steady_ = !p.given[SHADOW_LEG_TARGET] || turning_ || !found || sb.phase == SHADOW_STEADY;
  sure_len_ = found ? LengthLeft(sb) : len_;
  tail_lost_ = found && sb.phase == SHADOW_STEADY && sure_len_ < len_;
  accept_ = up_ = true;
  world_.Note("  live: %u cells", len_);
  if (!fetch_ || !p.given[fetch_] || messages_ >= 4) return;
  messages_++;
  world_.Spawn("message fetch", [this] {
    char text[32], answer[kRoom];
    std::snprintf(text, sizeof(text), "fetch %s", kRoles[fetch_]);
    Say(text, answer);
    messages_--;
    sim_wake(&messages_);
  });
}

int Volume::Load(const Plan& p) {
  char text[kTable], why[200];
  Text(p, text, sizeof(text));
  world_.Note("administrator: table of %u cells: %s", p.len, text);
  Prepare(p);
  if (len_ && p.len != len_) resizes_ |= 1;  // odd until a table is live
  const int r = sim_dm_load(md_, geometry_.Sectors(p.len), text, why);
  if (r && !p.fancy && p.turns == turns_ && !world_.ErrorsExpected())
    world_.Fail(index_, "a table was refused although nothing was wrong: %s (%s)", why, text);
  return r;
}

/// Until the volume is up. Errors are tried again until they are over.
void Volume::BringUp(bool fancy) {
  for (u32 attempt = 0; !machine.failed; attempt++) {
    char name[16], uuid[32];
    if (!md_) {
      std::snprintf(name, sizeof(name), "253:%u", index_);
      std::snprintf(uuid, sizeof(uuid), "SHADOW-v%u", index_);
      md_ = sim_dm_create(name, uuid);
    }
    if (attempt >= 3) {  // somebody has repaired it
      machine.calm = true;
      sim_disk_set_dead(meta_, false);
    }
    Plan p = Choose(fancy && !attempt, true, !in_flight_);
    if (p.shrink) accept_ = false;  // nobody uses what is taken away
    if (machine.failed) return;
    int r = Load(p);
    if (r && p.fancy) {  // not all can be done at once: as it was, then
      p = Choose(false, false, false);
      r = Load(p);
    }
    if (!r) {
      r = sim_dm_resume(md_);
      if (!r) return Live(p);
      world_.Note("  resume: %d", r);
      if (!world_.ErrorsExpected())
        world_.Fail(index_,
                    "a table that was taken when it was loaded is refused when it is resumed");
    }
    if (attempt > 8) world_.Fail(index_, "the volume cannot be brought up: %d", r);
    if (!attempt && sim_one_in(2)) continue;  // another table may do, without a new device
    mapped_device* md = md_;
    md_ = nullptr;
    up_ = accept_ = false;
    sim_dm_wipe(md);
    WaitRequests();
    WaitMessages();
    sim_dm_remove(md);
  }
}

void Volume::Boot() {
  busy_ = true;
  world_.Spawn("administrator", [this] {
    BringUp(false);
    busy_ = false;
  });
}

void Volume::WaitMessages() {
  while (messages_) sim_block(&messages_);
}

void Volume::WaitRequests() {
  while (in_flight_) sim_block(&in_flight_);
}

void Volume::SuspendAndResume() {
  world_.Note("administrator: suspend and resume");
  if (sim_one_in(2)) accept_ = false;  // or what comes meanwhile is put off by device mapper
  const int stopped = sim_dm_suspend(md_, sim_one_in(3));
  const u64 copies = machine.copies;
  sim_yield();
  if (!stopped && !world_.several() && machine.copies != copies)
    world_.Fail(index_, "a copy was begun while the volume was suspended");
  const int r = sim_dm_resume(md_);
  if (!r) {
    accept_ = true;
    world_.Note("  resumed");
    return;
  }
  if (!world_.ErrorsExpected()) world_.Fail(index_, "a resume without a new table failed: %d", r);
  BringUp(false);
}

void Volume::Reload(bool load_first) {
  Plan p;
  world_.Note("administrator: reload%s", load_first ? ", loaded before the suspend" : "");
  bool loaded = false;
  if (load_first) {
    const bool shrink = sim_one_in(4);
    if (shrink) {
      accept_ = false;
      WaitRequests();
    }
    p = Choose(true, true, shrink);
    if (machine.failed) return;
    loaded = !Load(p);
  }
  if (sim_one_in(2)) accept_ = false;
  const int stopped = sim_dm_suspend(md_, false);
  const u64 copies = machine.copies;
  up_ = false;
  if (!loaded) return BringUp(true);
  WaitMessages();
  if (!stopped && !world_.several() && machine.copies != copies)
    world_.Fail(index_, "a copy was begun while the volume was suspended");
  const int r = sim_dm_resume(md_);
  if (!r) return Live(p);
  // it may have become wrong since it was loaded: a message may have ended a phase
  world_.Note("  resume: %d", r);
  BringUp(false);
}

void Volume::LoadOnly() {
  const Plan p = Choose(true, true, true);
  char text[kTable], why[200], status[kRoom];
  if (machine.failed || p.attach) return;  // a new leg's content is nobody's before it is attached
  world_.Note("administrator: loads a table, and forgets it");
  Text(p, text, sizeof(text));
  if (sim_dm_load(md_, geometry_.Sectors(p.len), text, why)) return;
  for (u32 n = sim_below(3); n; n--) {
    sim_dm_status(md_, static_cast<int>(sim_below(3)), true, status, kRoom);
    sim_yield();
  }
  sim_dm_clear(md_);
}

void Volume::Restart() {
  world_.Note("administrator: remove and create");
  accept_ = up_ = false;
  WaitRequests();
  WaitMessages();
  if (sim_one_in(2)) sim_dm_suspend(md_, false);
  mapped_device* md = md_;
  md_ = nullptr;
  sim_dm_remove(md);
  shadow_superblock sb;
  bool blank;
  if (Superblock(&sb, &blank) && (sb.flags & SHADOW_SB_CLEAN) && sim_one_in(4) && Rot()) return;
  if (sim_one_in(2)) sim_disk_set_dead(meta_, false);
  BringUp(false);
}

/// One bit of the metadata turns while the volume is down after a clean stop. A page: nothing can
/// be torn, so the volume must be refused until it is repaired. A superblock: if the one before it
/// says the same, all is well, or it is refused. (If not, a lost bit cannot be told from a torn
/// write: docs/on-disk-format.md.) True: the volume is up.
bool Volume::Rot() {
  const bool page = sim_one_in(2);
  const u32 copy = sim_below(2);
  const u32 sector = page ? static_cast<u32>(shadow_page_sector(0, copy)) : copy * kPageSectors;
  const u32 bit = sector * 512 * 8 + sim_below((page ? SHADOW_PAGE_SIZE : kSuperblockUsed) * 8);
  shadow_superblock sb[2];
  for (u32 i = 0; i < 2; i++) {
    std::array<u8, SHADOW_PAGE_SIZE> bytes;
    sim_disk_read(meta_, i * kPageSectors, kPageSectors, bytes.data());
    if (shadow_sb_decode(bytes.data(), &sb[i]) != SHADOW_FORMAT_OK) return false;
  }
  sb[0].flags = sb[1].flags;
  sb[0].generation = sb[1].generation;
  // Decoded into zeroes. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison)
  const bool agree = std::memcmp(&sb[0], &sb[1], sizeof(sb[0])) == 0;
  if (!sim_disk_all_durable(meta_) || sim_disk_dead(meta_) || (!page && !agree)) return false;
  world_.Note("  bit %u of %s turns", bit, page ? "a metadata page" : "a superblock");
  sim_disk_flip(meta_, bit);
  turned_ = bit + 1;
  ReadTurned(turned_page_.data());
  bool up = false, blank = false;
  if (Superblock(&sb[0], &blank)) {
    Plan p = Choose(false, false, false);
    p.fancy = true;  // may be refused
    char uuid[32];
    std::snprintf(uuid, sizeof(uuid), "SHADOW-v%u", index_);
    md_ = sim_dm_create("253:9", uuid);
    up = !machine.failed && !Load(p) && !sim_dm_resume(md_);
    if (up && page) world_.Fail(index_, "a damaged page was taken after a clean stop");
    if (up) {
      turned_ = 0;
      Live(p);
      return true;
    }
    mapped_device* md = md_;
    md_ = nullptr;
    sim_dm_wipe(md);
    sim_dm_remove(md);
  }
  world_.Note("  refused; it is repaired");
  Repair();
  return false;
}

void Volume::ReadTurned(void* page) const {
  const u32 sector = (turned_ - 1) / (512 * 8) / kPageSectors * kPageSectors;
  sim_disk_read(meta_, sector, kPageSectors, page);
}

/// The bit turns back, unless the page was written again meanwhile.
void Volume::Repair() {
  std::array<u8, SHADOW_PAGE_SIZE> now;
  if (turned_) ReadTurned(now.data());
  if (turned_ && now == turned_page_) sim_disk_flip(meta_, turned_ - 1);
  turned_ = 0;
}

void Volume::Remove() {
  if (!md_) return;
  accept_ = up_ = false;
  mapped_device* md = md_;
  md_ = nullptr;
  sim_dm_wipe(md);
  sim_dm_remove(md);
}

bool Volume::Administer(Action what) {
  if (!up_ || busy_ || !md_) return false;
  busy_ = true;
  world_.Spawn("administrator", [this, what] {
    Action doing = what;
    char info[kRoom];
    // a volume that went read-only is of little use: somebody restarts it
    if (sim_dm_status(md_, 0, false, info, kRoom) && std::strncmp(info, "rw ", 3) != 0 &&
        sim_one_in(2))
      doing = kRestart;
    if (doing == kSuspend)
      SuspendAndResume();
    else if (doing == kReload)
      Reload(sim_one_in(2));
    else if (doing == kLoadOnly)
      LoadOnly();
    else
      Restart();
    busy_ = false;
  });
  return true;
}

}  // namespace sim
