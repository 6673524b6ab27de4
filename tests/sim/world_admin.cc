// SPDX-License-Identifier: GPL-2.0-only
// The daemon's messages and the administrator's tables, suspends, restarts; power cuts.
#include <algorithm>
#include <cstdio>

#include "kernel/core/shadow_args.h"
#include "tests/sim/world.h"

namespace sim {

namespace {
constexpr u32 kSuperblockUsed = 352;  // bytes, up to the end of the home legs
}

// ------------------------------------------------------------------ the daemon

bool World::Message(Action what) {
  static constexpr const char* kNames[] = {
      "copy",    "remirror", "fill",      "retire", "clear",  "pause", "resume", "limit",
      "read",    "cutover",  "rollback",  "commit", "abort",  "sync",  "access", "clear",
      "promote", "demote",   "writeback", "mode",   "forget", "clear"};
  if (!up_ || messages_ >= 4) return false;
  Text name{}, argument{}, more{};
  std::snprintf(name.data(), name.size(), "%s", kNames[what - kCopy]);
  switch (what) {
    case kCopy:
    case kRemirror:
    case kFill:
    case kRetire:
    case kPromote:
    case kDemote:
    case kWriteback: {
      u32 b = PickBlock(), n = 1;
      while (b + n < v_->nr_blocks() && Adjoins(b + n - 1) && m_.random.OneIn(2)) n++;
      u32 count = kNumber[b + n - 1] + 1 - kNumber[b];
      if (what != kRetire && m_.random.OneIn(4)) {
        b = 0;
        count = kNumber[v_->nr_blocks() - 1] + 1;
      }
      if (what == kPromote)
        std::snprintf(argument.data(), argument.size(), "tier%u", 1 + m_.random.Below(2));
      Text& range = what == kPromote ? more : argument;
      std::snprintf(range.data(), range.size(), "%u+%u", kNumber[b], count);
      break;
    }
    case kPolicy:
      std::snprintf(
          argument.data(), argument.size(), "%s",
          shadow_policy_name(static_cast<shadow_policy>(m_.random.Below(SHADOW_NR_POLICIES))));
      break;
    case kMode:
    case kForget:
      std::snprintf(argument.data(), argument.size(), "tier%u", 1 + m_.random.Below(2));
      if (what == kMode)
        std::snprintf(more.data(), more.size(), "%s",
                      m_.random.OneIn(2) ? "writeback" : "writethrough");
      else if (m_.random.OneIn(3))
        std::snprintf(more.data(), more.size(), "lost");
      break;
    case kClearTiers:
      std::snprintf(argument.data(), argument.size(), "tiers");
      break;
    case kLimit:
      std::snprintf(argument.data(), argument.size(), "%u", 64 * (1 + m_.random.Below(8)));
      break;
    default:
      break;
  }
  messages_++;
  m_.Note("daemon: %s %s %s", name.data(), argument.data(), more.data());
  m_.Spawn("a message", [this, name, argument, more] { return Send(name, argument, more); });
  return true;
}

// shadow_message
Task<> World::Send(Text name, Text argument, Text more) {
  Volume& v = *v_;
  co_await m_.Lock(v.lock_admin);
  char inflight[] = "inflight";
  const bool limit = !std::strcmp(name.data(), "limit");
  char* argv[] = {name.data(), limit ? inflight : argument.data(),
                  limit ? argument.data() : more.data()};
  const unsigned argc = limit || more[0] ? 3 : argument[0] ? 2 : 1;
  const char* error = nullptr;
  shadow_message message;
  if (shadow_parse_message(argc, argv, kNumber[v.nr_blocks() - 1] + 1, &message, &error)) {
    m_.Fail("the message \"%s %s\" was not understood: %s", name.data(), argument.data(), error);
  } else {
    co_await m_.Maybe();
    error = co_await Do(message, message.first_range == 2 ? more : argument);
  }
  m_.Note("  %s: %s", name.data(), error ? error : "done");
  v.lock_admin = false;
  messages_--;
}

// do_message
Task<const char*> World::Do(const shadow_message& message, const Text& text) {
  Volume& v = *v_;
  u32 first = 0, end = 0;
  switch (message.type) {
    case SHADOW_MSG_LIMIT_INFLIGHT:
      v.LimitInflight(static_cast<u32>(std::max<u64>(1, message.value * 2 / kBlockSectors)));
      co_return nullptr;
    case SHADOW_MSG_PAUSE:
    case SHADOW_MSG_RESUME:
      v.SetPaused(message.type == SHADOW_MSG_PAUSE);
      co_return nullptr;
    case SHADOW_MSG_READ:
      co_await v.SetPolicy(static_cast<u8>(message.value));
      co_return nullptr;
    default:
      break;
  }
  if (suspended_) co_return "the volume is suspended: resume it first";
  if (message.nr_ranges) {
    shadow_range range;
    shadow_parse_range(text.data(), kNumber[v.nr_blocks() - 1] + 1, &range);
    while (kNumber[first] < range.first) first++;
    for (end = first; end < v.nr_blocks() && kNumber[end] < range.first + range.count;) end++;
  }
  const char* error = nullptr;
  switch (message.type) {
    case SHADOW_MSG_COPY:
    case SHADOW_MSG_REMIRROR:
    case SHADOW_MSG_FILL:
      co_return v.Queue(message.type, first, end);
    case SHADOW_MSG_PROMOTE:
    case SHADOW_MSG_DEMOTE:
    case SHADOW_MSG_WRITEBACK:
      co_return v.QueueTier(message.type, message.tier, first, end);
    case SHADOW_MSG_CLEAR_TIERS:
      co_await v.TierStop();
      co_return nullptr;
    case SHADOW_MSG_MODE:
      error = co_await v.SetTierMode(message.tier, message.flag);
      co_return error;
    case SHADOW_MSG_FORGET:
      error = co_await v.Forget(message.tier, message.flag);
      co_return error;
    case SHADOW_MSG_CLEAR:
      co_await v.StopCopies();
      co_return nullptr;
    case SHADOW_MSG_RETIRE:
      error = co_await v.Retire(first, end);
      co_return error;
    case SHADOW_MSG_CUTOVER:
      error = co_await v.Cutover();
      co_return error;
    case SHADOW_MSG_ROLLBACK:
      error = co_await v.Rollback();
      co_return error;
    case SHADOW_MSG_COMMIT:
      error = co_await v.FinishOn(SHADOW_LEG_TARGET);
      co_return error;
    case SHADOW_MSG_ABORT:
      error = co_await v.FinishOn(SHADOW_LEG_ORIGIN);
      co_return error;
    case SHADOW_MSG_SYNC: {
      const bool ok = co_await v.Commit();
      co_return ok ? nullptr : "the metadata cannot be written";
    }
    default:  // access
      for (u32 b = 0; b < v.nr_blocks(); b++) v.HarvestAccess(b);
      co_return nullptr;
  }
}

// ----------------------------------------------------------- the administrator

bool World::Administer(Action what) {
  if (what == kCommitTimer || what == kSweepTimer) {
    if (!up_) return false;
    if (what == kCommitTimer)
      v_->TimerCommit();
    else
      v_->TimerSweep();
    return false;
  }
  // a volume that went read-only is of little use: somebody restarts it
  if (up_ && v_->mode() != Mode::kRw && m_.random.OneIn(2))
    what = m_.random.OneIn(2) ? kRestart : kReload;
  if (!up_ || admin_busy_ || (what == kRestart && v_->mode() == Mode::kRw && m_.random.OneIn(2)))
    return false;
  admin_busy_ = true;
  const bool load_first = m_.random.OneIn(2);
  m_.Spawn("administrator", [this, what, load_first] {
    return what == kSuspend ? SuspendAndResume() : what == kReload ? Reload(load_first) : Restart();
  });
  return true;
}

int World::DeviceNamed(const char* id) const {
  for (u32 d = 0; d < kHomeLegs; d++) {
    char name[16];
    std::snprintf(name, sizeof(name), "D%u", m_.data[d].identity);
    if (!std::strcmp(name, id)) return static_cast<int>(d);
  }
  return -1;
}

/// Longer, shorter, or as it is.
void World::ChooseLength(Table& t, u32 len) {
  t.len = len;
  switch (m_.random.Below(4)) {
    case 0:
      if (len == kCells) return;
      t.len = len + 1 + m_.random.Below(kCells - len);
      return;
    case 1:
      if (len == 1) return;
      t.len = 1 + m_.random.Below(len - 1);
      t.shrink = true;
      return;
    default:
      return;
  }
}

/// Tiers that are there stay, or go if they are empty; others come.
void World::ChooseTiers(Table& t, const shadow_superblock& sb) {
  t.writeback = static_cast<u8>(m_.random.Below(4) << SHADOW_LEG_TIER1);
  for (u32 leg = SHADOW_LEG_TIER1; leg < kLegs; leg++) {
    DataDevice& d = m_.data[leg];
    t.slots[leg - SHADOW_LEG_TIER1] = tier_slots_[leg - SHADOW_LEG_TIER1];
    if (sb.legs[leg].present) {
      const bool empty = v_->loaded() && !v_->TierUsed(static_cast<u8>(leg));
      if (empty && m_.random.OneIn(4)) continue;
      if (m_.random.OneIn(2) || m_.calm) d.dead = false;
      if (!m_.calm && m_.random.OneIn(16)) d.dead = trouble_ = true;
      t.given[leg] = true;
      if (!d.dead) t.dev[leg] = static_cast<int>(leg);
      std::memcpy(t.id[leg], sb.legs[leg].id, sizeof(t.id[leg]));
      if (static_cast<u32>(std::atoi(t.id[leg] + 1)) != d.identity)
        m_.Fail("the metadata names a tier that was given up: %s", t.id[leg]);
    } else if (tiers_ && v_->loaded() && m_.random.OneIn(2)) {
      t.given[leg] = true;
      t.dev[leg] = static_cast<int>(leg);
      std::snprintf(t.id[leg], sizeof(t.id[0]), "D%u", ++next_identity_);
    }
  }
}

/// A table that makes sense with what the metadata says now.
Table World::ChooseTable() {
  Table t;
  shadow_superblock sb;
  bool blank = false;
  t.policy = static_cast<u8>(m_.random.Below(SHADOW_NR_POLICIES));
  t.given[SHADOW_LEG_ORIGIN] = true;
  if (v_->loaded()) {
    sb = v_->sb();
  } else if (!v_->Peek(&sb, &blank)) {
    if (!blank) m_.Fail("no superblock is valid");
    t.dev[SHADOW_LEG_ORIGIN] = 0;
    std::snprintf(t.id[SHADOW_LEG_ORIGIN], sizeof(t.id[0]), "D%u", m_.data[0].identity);
    t.fresh = !import_;
    t.len = first_len_;
    return t;
  }
  t.len = CellsFor(sb.nr_sectors);
  for (u32 leg = 0; leg < kHomeLegs; leg++) {
    if (!sb.legs[leg].present) continue;
    const int d = DeviceNamed(sb.legs[leg].id);
    if (d < 0) {
      m_.Fail("the metadata names a leg that was given up: %s", sb.legs[leg].id);
      return t;
    }
    std::memcpy(t.id[leg], sb.legs[leg].id, sizeof(t.id[leg]));
    t.given[leg] = true;
    if (sb.phase == SHADOW_STEADY) m_.data[static_cast<u32>(d)].dead = false;
    if (!m_.data[static_cast<u32>(d)].dead) t.dev[leg] = d;
  }
  ChooseTiers(t, sb);
  if (sb.phase != SHADOW_STEADY || !v_->loaded()) return t;
  const bool attach = !m_.random.OneIn(3);
  const u32 len = t.len;
  ChooseLength(t, len);
  if (attach) {
    t.given[SHADOW_LEG_TARGET] = true;
    t.dev[SHADOW_LEG_TARGET] = !t.dev[SHADOW_LEG_ORIGIN];
    std::snprintf(t.id[SHADOW_LEG_TARGET], sizeof(t.id[0]), "D%u", ++next_identity_);
  }
  shadow_superblock next;
  const char* error;
  if (Decide(&sb, t, &next, &error) == Decision::kRefuse)
    t.len = len;  // not all can be done at once
  for (u32 b = BlocksFor(t.len); b < kBlocks; b++)
    if (t.len < len && v_->words[b]) t.len = len;
  return t;
}

/// What must be so before the table is taken: a new target holds anything, new capacity is zero.
void World::Prepare(const Table& t) {
  shadow_superblock sb, next;
  bool blank = false;
  const char* error = nullptr;
  if (v_->loaded())
    sb = v_->sb();
  else if (!v_->Peek(&sb, &blank))
    return;
  const Decision d = Decide(&sb, t, &next, &error);
  for (u32 leg = SHADOW_LEG_TIER1; leg < kLegs; leg++) {
    if (t.dev[leg] < 0 || sb.legs[leg].present || d == Decision::kRefuse) continue;
    m_.data[leg].dead = false;
    m_.data[leg].Fill([](u32 cell) { return ValueOf(kGarbageId, cell); });
    m_.data[leg].identity = static_cast<u32>(std::atoi(t.id[leg] + 1));
  }
  const u32 len = CellsFor(sb.nr_sectors);
  if ((d == Decision::kGrow || d == Decision::kAttach) && t.len > len)
    truth_.Born(CellsBelow(t.len) & ~CellsBelow(len));
  if (d != Decision::kAttach) return;
  DataDevice& target = m_.data[static_cast<u32>(t.dev[SHADOW_LEG_TARGET])];
  target.dead = false;
  if (DeviceNamed(t.id[SHADOW_LEG_TARGET]) == t.dev[SHADOW_LEG_TARGET]) return;
  target.Fill([](u32 cell) { return ValueOf(kGarbageId, cell); });
  target.identity = static_cast<u32>(std::atoi(t.id[SHADOW_LEG_TARGET] + 1));
}

/// A leg that no table names is trimmed and given back at once.
void World::TableLive(const Table& t) {
  table_ = t;
  for (u32 leg = SHADOW_LEG_TIER1; leg < kLegs; leg++) {
    if (t.given[leg]) continue;
    m_.data[leg].Fill([](u32 cell) { return ValueOf(kGarbageId, cell); });
    m_.data[leg].identity = 0;
  }
  if (t.given[SHADOW_LEG_TARGET]) return;
  DataDevice& other = m_.data[!t.dev[SHADOW_LEG_ORIGIN]];
  other.Fill([](u32 cell) { return ValueOf(kGarbageId, cell); });
  other.identity = 0;
}

void World::DropVolume() {
  if (!v_) return;
  figures_.operations += v_->copied + v_->commits + v_->fills;
  for (u32 id = 1; id <= 6; id++) m_.Kill(id);
  v_.reset();
}

/// Brings a table to life: shadow_preresume. Errors are tried again until they are over.
Task<> World::Attach(Table t, bool chosen) {
  for (u32 attempt = 0;; attempt++) {
    if (!v_)
      v_.emplace(m_, Volume::Owner{Answer, this, CloneIo, FreeIo, Forgotten, DataAfterFlush});
    if (attempt >= 3) {  // somebody has repaired it
      m_.calm = true;
      m_.meta.dead = false;
    }
    const u32 phase_before = v_->loaded() ? v_->sb().phase : ~0u;
    if (!chosen) t = ChooseTable();
    if (m_.failed) co_return;
    m_.Note("administrator: table of %u cells, origin %s%s, target %s%s", t.len, t.id[0],
            t.dev[0] < 0 ? " (missing)" : "", t.given[1] ? t.id[1] : "none",
            t.given[1] && t.dev[1] < 0 ? " (missing)" : "");
    co_await m_.Lock(v_->lock_admin);
    Prepare(t);
    const char* error = co_await v_->Configure(t);
    v_->lock_admin = false;
    if (!error) break;
    m_.Note("  refused: %s", error);
    // a table that was chosen before the suspend may be out of date by now
    if (!chosen && !trouble_ && !m_.faults && !m_.failed)
      m_.Fail("a table was refused although nothing was wrong (phase %u): %s", phase_before, error);
    if (attempt > 8) m_.Fail("the volume cannot be brought up: %s", error);
    if (m_.failed) co_return;
    chosen = false;
    co_await v_->StopInOrder();
    DropVolume();
  }
  TableLive(t);
  Resume();
}

Task<> World::Boot() {
  co_await m_.Yield();
  co_await Attach({}, false);
  admin_busy_ = false;
}

Task<> World::Suspend() {
  co_await m_.Yield();
  co_await v_->MoverSuspend();
  co_await v_->TierSuspend();
  // what has a flush before it would wait for the resume in dm core: not told here
  co_await m_.Until(preflushes_out_, [](const u32& n) { return !n; });
  accept_ = false;
  co_await m_.Until(in_flight_, [](const u32& n) { return !n; });
  suspended_ = true;
  co_await v_->Quiesce();
}

// shadow_message: fetch, off, and again
Task<> World::Fetch() {
  const u32 rounds = m_.random.Below(3);
  for (u32 i = 0; i <= rounds; i++) {
    co_await m_.Lock(v_->lock_admin);
    if (v_->tiered()) co_await v_->SetFetch(i % 2 ? 0 : fetch_);
    v_->lock_admin = false;
    co_await m_.Maybe();
  }
}

void World::Resume() {
  v_->MoverResume();
  // as the daemon does; now and then it changes its mind while I/O is under way
  if (fetch_ && v_->tiered()) m_.Spawn("message fetch", [this] { return Fetch(); });
  suspended_ = false;
  accept_ = up_ = true;
  m_.Note("  resumed");
}

Task<> World::SuspendAndResume() {
  m_.Note("administrator: suspend and resume");
  co_await Suspend();
  co_await m_.Yield();
  Resume();
  admin_busy_ = false;
}

Task<> World::Reload(bool load_first) {
  Table t;
  if (load_first) t = ChooseTable();
  m_.Note("administrator: reload%s", load_first ? ", loaded before the suspend" : "");
  co_await Suspend();
  up_ = false;  // the new table takes no messages until it is resumed; the old one's end first
  co_await m_.Until(messages_, [](const u32& n) { return !n; });
  co_await Attach(t, load_first);
  admin_busy_ = false;
}

Task<> World::Restart() {
  m_.Note("administrator: remove and create");
  co_await Suspend();
  up_ = false;
  co_await m_.Until(messages_, [](const u32& n) { return !n; });
  co_await v_->StopInOrder();
  const bool clean = v_->sb().flags & SHADOW_SB_CLEAN;
  DropVolume();
  if (clean && m_.random.OneIn(4)) co_await Rot();
  if (m_.failed) co_return;
  if (v_) {  // it came up all the same
    Resume();
    admin_busy_ = false;
    co_return;
  }
  if (m_.random.OneIn(2)) m_.meta.dead = false;
  co_await Attach({}, false);
  admin_busy_ = false;
}

/// Both superblocks say the same, but for the clean flag.
bool World::SuperblocksAgree() const {
  MetaDevice::Page page;
  shadow_superblock sb[2];
  for (u32 i = 0; i < 2; i++) {
    m_.meta.Read(i, page.data());
    if (shadow_sb_decode(page.data(), &sb[i]) != SHADOW_FORMAT_OK) return false;
  }
  sb[0].flags = sb[1].flags;
  sb[0].generation = sb[1].generation;
  // Decoded into zeroes. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison)
  return std::memcmp(&sb[0], &sb[1], sizeof(sb[0])) == 0;
}

/// One bit of the metadata turns while the volume is down after a clean stop. A page: nothing can
/// be torn, so the volume must be refused until it is repaired. A superblock: if the one before it
/// says the same, all is well, or it is refused. (If not, a lost bit cannot be told from a torn
/// write: docs/on-disk-format.md.)
Task<> World::Rot() {
  const bool page = m_.random.OneIn(2);
  const u32 copy = m_.random.Below(2), slot = page ? PageSlot(0, copy) : copy;
  const u32 bit = m_.random.Below((page ? SHADOW_PAGE_SIZE : kSuperblockUsed) * 8);
  if (!m_.meta.AllDurable() || (!page && !SuperblocksAgree())) co_return;
  m_.Note("  bit %u of %s turns", bit, page ? "a metadata page" : "a superblock");
  m_.meta.FlipBit(slot, bit);
  v_.emplace(m_, Volume::Owner{Answer, this, CloneIo, FreeIo, Forgotten, DataAfterFlush});
  shadow_superblock sb;
  bool blank = false;
  const char* error = "no superblock is valid";
  if (v_->Peek(&sb, &blank)) {
    const Table t = ChooseTable();
    if (m_.failed) co_return;
    error = co_await v_->Configure(t);
    if (!error && page) m_.Fail("a damaged page was taken after a clean stop");
    if (!error) {
      TableLive(t);
      co_return;
    }
  }
  m_.Note("  refused: %s; it is repaired", error);
  DropVolume();
  m_.meta.FlipBit(slot, bit);
}

// ------------------------------------------------------------------ power cuts

void World::Crash() {
  const Cut how = static_cast<Cut>(m_.random.Below(4));
  static constexpr const char* kWords[] = {
      "the machine stops, the devices keep their power", "power cut: the caches are lost",
      "power cut: any part of the caches survives", "power cut: the older writes survive"};
  m_.Note("CRASH: %s", kWords[static_cast<int>(how)]);
  m_.PowerCut(how);
  if (v_) figures_.operations += v_->copied + v_->commits + v_->fills;
  v_.reset();
  for (auto& io : ios_) io.used = false;
  in_flight_ = flushes_ = messages_ = 0;
  preflushes_out_ = 0;
  accept_ = up_ = suspended_ = false;
  truth_.PowerCut(how == Cut::kKeepAll);
  for (auto& d : m_.data)
    if (d.dead && (m_.calm || m_.random.OneIn(2))) d.dead = false;
  m_.meta.dead = false;
  figures_.crashes++;
  admin_busy_ = true;
  m_.Spawn("administrator", [this] { return Boot(); });
}

}  // namespace sim
