// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-volume.c, dm-shadow-state.c and dm-shadow-table.c: what the tables of one device
// share.
#include "tests/sim/volume.h"

namespace sim {

// --------------------------------------------------------------------- states

// shadow_apply
Task<bool> Volume::Apply(u32 block, shadow_event event, shadow_step* step, u8 lost) {
  shadow_ctx ctx;
  shadow_step s;
  u8 state;
  do {
    ctx = Ctx(block);
    ctx.missing |= lost;
    co_await m_.Maybe();
    state = map[block];
    s = shadow_transition(state, event, &ctx);
    if (step) *step = s;
    if (!s.legal) co_return false;
    co_await m_.Maybe();
  } while (map[block] != state);
  map[block] = s.next;
  touched |= 1u << block;
  if (shadow_home(state) == shadow_home(s.next)) co_return true;
  co_await m_.Maybe();
  if (shadow_disk_home(state, &ctx) != shadow_disk_home(s.next, &ctx)) MarkPageDirty(block);
  co_await m_.Maybe();
  homes_[Counted(shadow_home(s.next))]++;
  co_await m_.Maybe();
  homes_[Counted(shadow_home(state))]--;
  m_.Note("    block %u: %s -> %s", kNumber[block], shadow_home_name(shadow_home(state)),
          shadow_home_name(shadow_home(s.next)));
  co_return true;
}

// shadow_apply_own
Task<> Volume::ApplyOwn(u32 block, shadow_event event) {
  const bool legal = co_await Apply(block, event);
  if (!legal)
    m_.Fail("event %d is not legal for block %u in state %#x: an invariant is broken", event,
            kNumber[block], map[block]);
}

// shadow_counted_as
enum shadow_home Volume::Counted(enum shadow_home home) const {
  if (!untidy_ || home == SHADOW_HOLE || home == SHADOW_FILLING) return home;
  return SHADOW_ORIGIN;
}

// count_fewer, count_more, count_steady, count_all
void Volume::CountHomes() {
  homes_.fill(0);
  for (u32 b = 0; b < nr_blocks_; b++) homes_[Counted(shadow_home(map[b]))]++;
}

// set_ctx
void Volume::SetCtx(const shadow_ctx& ctx) {
  ctx_ = ctx;
  BuildLut();
  touched = ~0u;
}

/// Some block has its only copy there.
Task<bool> Volume::Counts(u8 leg) {
  const bool only = OnlyOn(leg);
  co_await m_.Maybe();
  co_return only || HasMirrored();
}

bool Volume::OnlyOn(u8 leg) const {
  return leg == SHADOW_LEG_TARGET ? homes_[SHADOW_TARGET] + homes_[SHADOW_REMIRRORING]
                                  : homes_[SHADOW_ORIGIN] + homes_[SHADOW_COPYING];
}

// shadow_tail_data
u32 Volume::TailData() const {
  u32 n = 0;
  for (u32 b = tail_; b < nr_blocks_; b++) n += shadow_home(map[b]) != SHADOW_HOLE;
  return n;
}

// shadow_set_mode
Task<> Volume::SetMode(Mode mode) {
  shadow_superblock sb = sb_;
  if (mode <= mode_) co_return;
  mode_ = mode;
  m_.Note("    the volume is read-only now");
  BuildLut();
  paused_ = true;
  sb.flags |= SHADOW_SB_NEEDS_CHECK;
  co_await WriteSb(sb);
}

Task<> Volume::PhaseRead() {
  co_await m_.Until(phase_writer_, [](const bool& w) { return !w; });
  phase_readers_++;
}

Task<> Volume::PhaseWrite() {
  co_await m_.Until(*this, [](const Volume& v) { return !v.phase_writer_ && !v.phase_readers_; });
  phase_writer_ = true;
}

// shadow_drop_home
Task<bool> Volume::DropHome(u32 block, u8 leg) {
  const bool origin = leg == SHADOW_LEG_ORIGIN;
  co_await PhaseRead();
  sole_ |= origin ? SHADOW_MASK_TARGET : SHADOW_MASK_ORIGIN;
  const bool legal = co_await Apply(block, origin ? SHADOW_EV_ORIGIN_LOST : SHADOW_EV_TARGET_LOST);
  phase_readers_--;
  co_return legal;
}

// shadow_drop_leg
Task<> Volume::DropLeg(u8 leg) {
  co_await PhaseWrite();
  if ((home_failed_ >> leg & 1) && !HasMirrored()) {
    phase_writer_ = false;
    co_return;
  }
  paused_ = true;
  m_.Note("    the copies on the %s are given up", leg ? "target" : "origin");
  home_failed_ |= static_cast<u8>(1u << leg);
  no_flush_ &= static_cast<u8>(~(1u << leg));
  drops_++;
  sole_ |= leg == SHADOW_LEG_ORIGIN ? SHADOW_MASK_TARGET : SHADOW_MASK_ORIGIN;
  for (u32 b = 0; b < nr_blocks_; b++) {
    const auto home = shadow_home(map[b]);
    if (home != SHADOW_MIRRORED && home != SHADOW_RETIRING) continue;
    co_await Apply(b, leg == SHADOW_LEG_ORIGIN ? SHADOW_EV_ORIGIN_LOST : SHADOW_EV_TARGET_LOST);
  }
  phase_writer_ = false;
}

// --------------------------------------------------------------------- tables

namespace {
Decision No(const char** error, const char* why) {
  *error = why;
  return Decision::kRefuse;
}

void Name(shadow_leg_record* leg, const char* id) {
  std::memcpy(leg->id, id, sizeof(leg->id));
  leg->sectors = SectorsFor(kCells);
}

// decide_steady
Decision DecideSteady(const shadow_superblock& sb, const Table& t, shadow_superblock* next,
                      const char** error) {
  const u64 len = SectorsFor(t.len);
  const bool attach = t.given[SHADOW_LEG_TARGET];
  if (t.dev[SHADOW_LEG_ORIGIN] < 0) return No(error, "the origin cannot be missing");
  if (std::strcmp(sb.legs[SHADOW_LEG_ORIGIN].id, t.id[SHADOW_LEG_ORIGIN]) != 0)
    return No(error, "not the origin that the metadata names");
  if (len < sb.nr_sectors && !t.shrink) return No(error, "shorter than the volume");
  if (attach && t.dev[SHADOW_LEG_TARGET] < 0) return No(error, "a missing target makes no sense");
  if (attach && len != sb.nr_sectors &&
      (len < sb.nr_sectors ? len : sb.nr_sectors) % sb.block_sectors)
    return No(error, "length is no multiple of the block size");
  Name(&next->legs[SHADOW_LEG_ORIGIN], t.id[SHADOW_LEG_ORIGIN]);
  next->nr_sectors = len;
  next->old_sectors = attach ? sb.nr_sectors : len;
  next->tracked_sectors =
      next->nr_sectors > next->old_sectors ? next->nr_sectors : next->old_sectors;
  if (attach) {
    next->phase = SHADOW_MIGRATING;
    next->epoch++;
    next->legs[SHADOW_LEG_TARGET].present = true;
    Name(&next->legs[SHADOW_LEG_TARGET], t.id[SHADOW_LEG_TARGET]);
    return Decision::kAttach;
  }
  if (len == sb.nr_sectors) return Decision::kRun;
  return len > sb.nr_sectors ? Decision::kGrow : Decision::kShrink;
}

// decide_tiers
bool DecideTiers(const shadow_superblock& sb, const Table& t, shadow_superblock* next,
                 const char** error) {
  bool any = false;
  for (u32 leg = SHADOW_LEG_TIER1; leg < kLegs; leg++) {
    shadow_leg_record* const record = &next->legs[leg];
    if (!t.given[leg]) {
      *record = {};
      continue;
    }
    *error = "there is no such tier: a missing one makes no sense";
    if (t.dev[leg] < 0 && !sb.legs[leg].present) return false;
    any = true;
    if (t.dev[leg] < 0) continue;
    *error = "a tier is not the one in the metadata";
    if (sb.legs[leg].present && std::strcmp(record->id, t.id[leg])) return false;
    record->present = true;
    record->sectors = u64{t.slots[leg - SHADOW_LEG_TIER1]} * kBlockSectors;
    std::memcpy(record->id, t.id[leg], sizeof(record->id));
  }
  *error = "add the first tier without changing the length";
  if (!any)
    next->slot_end = 0;
  else if (!next->slot_end && SectorsFor(t.len) != sb.nr_sectors)
    return false;
  else if (!next->slot_end)
    next->slot_end = shadow_slot_end(4096);
  return true;
}
}  // namespace

// shadow_decide
Decision Decide(const shadow_superblock* sb, const Table& t, shadow_superblock* next,
                const char** error) {
  const u64 len = SectorsFor(t.len);
  if (!sb) {
    for (u32 leg = SHADOW_LEG_TARGET; leg < kLegs; leg++)
      if (t.given[leg]) return No(error, "metadata is blank: the origin alone");
    *next = {};
    next->block_sectors = kBlockSectors;
    next->epoch = 1;
    next->flags = SHADOW_SB_CLEAN;
    next->nr_sectors = next->old_sectors = next->tracked_sectors = len;
    std::memcpy(next->uuid, "sim", 4);
    next->legs[SHADOW_LEG_ORIGIN].present = true;
    Name(&next->legs[SHADOW_LEG_ORIGIN], t.id[SHADOW_LEG_ORIGIN]);
    return Decision::kFormat;
  }
  *next = *sb;
  if (!DecideTiers(*sb, t, next, error)) return Decision::kRefuse;
  if (sb->phase == SHADOW_STEADY) return DecideSteady(*sb, t, next, error);
  if (!t.given[SHADOW_LEG_TARGET]) return No(error, "modification under way: give the target");
  for (u32 leg = 0; leg < kHomeLegs; leg++)
    if (t.dev[leg] >= 0 && std::strcmp(sb->legs[leg].id, t.id[leg]) != 0)
      return No(error, "a leg is not the one in the metadata");
  if (len != sb->nr_sectors) return No(error, "length cannot change now");
  return Decision::kRun;
}

// take_phase
void Volume::TakePhase(const shadow_superblock& sb, const Table& t) {
  shadow_ctx ctx{};
  ctx.phase = static_cast<u8>(sb.phase);
  ctx.policy = t.policy;
  ctx.steady_leg = SHADOW_LEG_ORIGIN;
  for (u32 leg = 0; leg < kHomeLegs; leg++)
    if (sb.phase != SHADOW_STEADY && t.dev[leg] < 0) ctx.missing |= static_cast<u8>(1u << leg);
  tail_ = sb.phase != SHADOW_STEADY && sb.nr_sectors > sb.old_sectors
              ? BlocksFor(CellsFor(sb.old_sectors))
              : kBlocks;
  SetCtx(ctx);
}

// after_a_modification
void Volume::AfterAModification() {
  tidy_due_ = false;
  untidy_ = true;
  tidy_next_ = 0;
  if (tiered_) return;  // shadows rely on the bits that the last sweep could not clear
  intent_ = intent_disk_ = intent_recent_ = 0;
}

// tidy_block; false: it is busy
bool Volume::TidyBlock(u32 b) {
  const shadow_ctx ctx = Ctx(b);
  const enum shadow_home home = shadow_home(map[b]);
  if (home == SHADOW_HOLE || home == SHADOW_FILLING) return true;
  if (map[b] & SHADOW_BUSY) return home == SHADOW_ORIGIN;
  const shadow_step step = shadow_transition(map[b], SHADOW_EV_STEADY, &ctx);
  if (step.legal) map[b] = step.next;
  return true;
}

// tidy, beside I/O
Task<> Volume::TidyWork() {
  tidy_running_ = true;
  while (untidy_ && live_) {
    const bool done = TidyBlock(tidy_next_);
    if (done && ++tidy_next_ >= nr_tracked_) untidy_ = false;
    co_await m_.Maybe();
  }
  tidy_running_ = false;
}

// shadow_tidy_now
void Volume::TidyNow() {
  for (; untidy_ && tidy_next_ < nr_tracked_; tidy_next_++) TidyBlock(tidy_next_);
  untidy_ = false;
}

// zero_shadow
Task<bool> Volume::ZeroShadow(u32 word, CellMask cells) {
  const u8 leg = shadow_word_leg(word);
  if (legs_[leg] < 0) co_return false;
  DeviceOp& op = m_.NewOp(OpKind::kWrite, static_cast<u8>(legs_[leg]));
  op.cells = SlotCells(word, cells);
  op.value.fill(kZero);
  m_.Begin(op);
  bool ok = co_await m_.Finish(op);
  if (ok) ok = co_await FlushLeg(leg);
  co_return ok;
}

// zero_short_end
Task<bool> Volume::ZeroShortEnd(u32 old_len, u32 len) {
  const u32 block = BlockOfCell(old_len);
  u32 end = BlocksFor(old_len) * kCellsPerBlock;
  if (end > len) end = len;
  if (old_len == end || shadow_home(map[block]) == SHADOW_HOLE) co_return true;
  if (tiered_) {
    co_await m_.Lock(lock_drop_);  // the slot stays the block's meanwhile
    bool zeroed = true;
    if (words[block]) {
      zeroed = co_await ZeroShadow(words[block], CellsBelow(end) & ~CellsBelow(old_len));
    }
    lock_drop_ = false;
    if (!zeroed) co_return false;
  }
  DeviceOp& op = m_.NewOp(OpKind::kWrite, static_cast<u8>(legs_[SHADOW_LEG_ORIGIN]));
  op.cells = CellsBelow(end) & ~CellsBelow(old_len);
  for (u32 c = old_len; c < end; c++) op.value[c] = kZero;
  m_.Begin(op);
  bool ok = co_await m_.Finish(op);
  if (ok) ok = co_await FlushLeg(SHADOW_LEG_ORIGIN);
  co_return ok;
}

// resize: new blocks are holes, blocks beyond are forgotten
bool Volume::Resize(u32 cells) {
  const u32 blocks = BlocksFor(cells);
  for (u32 b = nr_tracked_; b < blocks; b++) {
    map[b] = SHADOW_HOLE;
    words[b] = 0;
  }
  nr_tracked_ = blocks;
  nr_pages_ = kPageOf[blocks - 1] + 1u;
  const u32 regions = (1u << (kRegionOf[blocks - 1] + 1)) - 1, pages = (1u << nr_pages_) - 1;
  intent_ &= regions;
  intent_disk_ &= regions;
  intent_recent_ &= regions;
  states_.dirty &= pages;
  states_.newest &= pages;
  nr_slot_pages_ = kSlotPageOf[blocks - 1] + 1u;
  slot_pages_.dirty &= (1u << nr_slot_pages_) - 1;
  slot_pages_.newest &= (1u << nr_slot_pages_) - 1;
  return true;
}

// extend
Task<bool> Volume::Extend(u32 cells) {
  const u32 old = nr_tracked_, old_pages = nr_pages_, old_slot_pages = nr_slot_pages_;
  Resize(cells);
  if (nr_tracked_ == old) co_return true;
  bool ok = true;
  if (tiered_ && sb_.slot_end && old_slot_pages < nr_slot_pages_)
    ok = co_await FormatSlotPages(old_slot_pages, nr_slot_pages_);
  if (ok) ok = co_await FormatPages(old_pages, nr_pages_);
  if (!ok) co_return false;
  // a page that was cut by a shrink may still tell of blocks beyond the old end
  if (kPageOf[old - 1] != kPageOf[old]) co_return true;
  MarkPageDirty(old);
  ok = co_await Commit();
  co_return ok;
}

// carry_out
Task<bool> Volume::CarryOut(const Table& t, Decision d, const shadow_superblock& next) {
  bool ok = true;
  const u32 tracked = CellsFor(next.tracked_sectors);
  switch (d) {
    case Decision::kFormat:
      Resize(tracked);
      if (!t.fresh) std::memset(map.data(), SHADOW_ORIGIN, nr_tracked_);
      std::memcpy(sb_.uuid, next.uuid, sizeof(sb_.uuid));
      sb_.epoch = next.epoch;
      ok = co_await FormatPages(0, nr_pages_);
      page_generation_ = 1;
      break;
    case Decision::kGrow:
      ok = co_await ZeroShortEnd(CellsFor(sb_.nr_sectors), t.len);
      if (ok) ok = co_await Extend(tracked);
      break;
    case Decision::kAttach:
      if (t.len < CellsFor(sb_.nr_sectors)) ok = co_await FlushLeg(SHADOW_LEG_ORIGIN);
      if (ok) ok = co_await Extend(tracked);
      break;
    default:
      Resize(tracked);
      break;
  }
  // A copy with the same padding. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison)
  if (ok && (d != Decision::kRun || std::memcmp(&sb_, &next, sizeof(next)) != 0))
    ok = co_await WriteSb(next);
  co_return ok;
}

// configure
Task<const char*> Volume::Configure(const Table& t) {
  shadow_superblock sb, next;
  bool blank = false;
  const char* error = nullptr;
  if (loaded_ && mode_ != Mode::kRw) co_return "the volume is not in rw mode";
  if (loaded_) {
    sb = sb_;
  } else if (!Peek(&sb, &blank) && !blank) {
    co_return "the metadata cannot be read: run shadow_check";
  }
  const Decision d = Decide(blank ? nullptr : &sb, t, &next, &error);
  if (d == Decision::kRefuse) co_return error;

  for (u32 leg = 0; leg < kLegs; leg++) legs_[leg] = t.dev[leg];  // take_legs
  len_ = t.len;
  nr_blocks_ = BlocksFor(len_);
  for (num_flush_ = kLegs; !t.given[num_flush_ - 1];) num_flush_--;
  if (loaded_) {
    if (phase() == SHADOW_STEADY) {
      if (tidy_due_) AfterAModification();
      Resize(CellsFor(sb.tracked_sectors));  // what a shrink left behind is forgotten first
    }
  } else if (!blank) {
    sb_ = sb;
    TakePhase(sb, t);
    Resize(CellsFor(sb.tracked_sectors));
    error = Load();
    if (error) co_return error;
    // what was read may have been in the device's cache only
    const bool durable = co_await FlushMeta();
    if (!durable) co_return "the metadata could not be read or written";
    if (sb.flags & SHADOW_SB_NEEDS_CHECK) next.flags &= ~SHADOW_SB_NEEDS_CHECK;
  }
  error = co_await TierConfigure(t, next, !loaded_ && !blank);
  intent_recent_ = 0;
  if (error) co_return error;
  if (d == Decision::kAttach) TidyNow();
  bool ok = co_await CarryOut(t, d, next);
  if (!ok) co_return "the metadata could not be read or written";
  TakePhase(sb_, t);
  CountHomes();
  loaded_ = true;
  for (u8 leg = 0; leg < kHomeLegs; leg++)
    if (sb_.phase != SHADOW_STEADY && legs_[leg] < 0) co_await DropLeg(leg);
  ok = co_await TierSettleTable(t);
  if (ok) ok = co_await Commit();
  if (!ok) co_return "the metadata could not be read or written";
  co_return nullptr;
}

// shadow_volume_quiesce
Task<> Volume::Quiesce() {
  live_ = false;
  sweep_due_ = false;
  co_await m_.Until(tidy_running_, [](const bool& r) { return !r; });
  co_await m_.Until(sweep_running_, [](const bool& r) { return !r; });
  co_await m_.Until(*this, [](const Volume& v) { return !v.slow_queued_ && !v.slow_running_; });
  co_await m_.Until(*this, [](const Volume& v) { return !v.intent_queued_ && !v.intent_running_; });
  co_await m_.Until(strays_, [](const u32& n) { return !n; });
  if (phase() != SHADOW_STEADY || tiered_) co_await IntentSweep(true);
  commit_armed_ = commit_due_ = false;
  co_await m_.Until(commit_running_, [](const bool& r) { return !r; });
  co_await Commit();
}

// stop_in_order
Task<> Volume::StopInOrder() {
  if (!loaded_ || mode_ != Mode::kRw || (sb_.flags & SHADOW_SB_CLEAN)) co_return;
  const bool ok = co_await Commit();
  if (!ok || ((sb_.phase != SHADOW_STEADY || tiered_) && intent_disk_)) co_return;
  shadow_superblock sb = sb_;
  sb.flags |= SHADOW_SB_CLEAN;
  co_await WriteSb(sb);
}

}  // namespace sim
