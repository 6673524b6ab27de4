// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-tier.c and dm-shadow-tier-table.c: shadows, their slots and ends, tiers of
// tables.
#include <algorithm>

#include "tests/sim/volume.h"

namespace sim {

/// Cells of a block, as they lie in its slot: to_slot.
CellMask Volume::SlotCells(u32 word, CellMask cells) const {
  if (cells == 0) return 0;  // a flush
  const u32 at = BlockOfCell(static_cast<u32>(__builtin_ctz(cells))) * kCellsPerBlock;
  return cells >> at << (shadow_slot(word) * kCellsPerBlock);
}

Volume::Blocks Volume::AllBlocks() const {
  Blocks all;
  for (u32 b = 0; b < nr_tracked_; b++) all.at[all.n++] = b;
  return all;
}

// shadow_tier_apply
Task<bool> Volume::TierApply(u32 block, shadow_tier_event event, shadow_tier_step* step) {
  shadow_tier_step s;
  u32 word;
  do {
    co_await m_.Maybe();
    word = words[block];
    s = shadow_tier_transition(word, event);
    if (step) *step = s;
    if (!s.legal) co_return false;
    co_await m_.Maybe();
  } while (words[block] != word);
  words[block] = s.next;
  touched |= 1u << block;
  const bool was = shadow_word_in(word, SHADOW_LIVES_NEWER);
  const bool is = shadow_word_in(s.next, SHADOW_LIVES_NEWER);
  if (was && event == SHADOW_TEV_GIVE_UP) owner_.forgotten(owner_.self, block);
  m_.Note("    block %u: shadow %s -> %s (slot %u of tier%d)", kNumber[block],
          shadow_life_name(shadow_life(word)), shadow_life_name(shadow_life(s.next)),
          shadow_slot(word), shadow_word_leg(word) - SHADOW_LEG_TIER1 + 1);
  co_await m_.Maybe();
  if (shadow_tier_disk(word) != shadow_tier_disk(s.next)) MarkSlotPageDirty(block);
  co_await m_.Maybe();
  if (was != is) tier_dirty_[shadow_word_leg(word) - SHADOW_LEG_TIER1] += is ? 1 : -1;
  co_return true;
}

// shadow_set_shadow
void Volume::SetShadow(u32 block, bool set) {
  map[block] = static_cast<u8>(set ? map[block] | SHADOW_SHADOW : map[block] & ~SHADOW_SHADOW);
  touched |= 1u << block;
}

void Volume::FreeSlot(u32 word) {
  const u8 leg = shadow_word_leg(word);
  if (legs_[leg] >= 0 && m_.Busy(static_cast<u8>(legs_[leg]), SlotCells(word, BlockCells(0))))
    m_.Fail("a slot is free while I/O to it is under way");
  if (!shadow_slot_free(&slots_[leg - SHADOW_LEG_TIER1], shadow_slot(word)))
    m_.Fail("a slot is freed that was not taken");
}

// shadow_finish_drops, end_some; false: the commit failed
Task<bool> Volume::FinishDrops(const Blocks& blocks) {
  std::array<u32, kBlocks> ended;
  u32 n = 0;
  bool any = false;
  for (u32 i = 0; i < blocks.n; i++) {
    const bool noted = co_await TierApply(blocks.at[i], SHADOW_TEV_DROP_NOTED);
    any |= noted;
  }
  if (!any) co_return true;
  const bool ok = co_await Commit();
  if (!ok) co_return false;
  for (u32 i = 0; i < blocks.n; i++) {
    const u32 b = blocks.at[i], word = words[b];
    if (shadow_life(word) != SHADOW_DROPPING || !(word & SHADOW_WORD_WRITTEN)) continue;
    SetShadow(b, false);
    co_await m_.Maybe();
    const bool done = co_await TierApply(b, SHADOW_TEV_DROP_DONE);
    if (done) ended[n++] = word;
  }
  if (!n) co_return true;
  co_await Drain();
  for (u32 i = 0; i < n; i++) FreeSlot(ended[i]);
  demoted += n;
  co_return true;
}

// shadow_finish_all_drops
Task<> Volume::FinishAllDrops() {
  co_await m_.Lock(lock_drop_);
  co_await FinishDrops(AllBlocks());
  lock_drop_ = false;
  ReleaseParked();
}

// shadow_tier_end_drop
void Volume::EndDrop(u32 block) {
  if (nr_dropping_ < dropping_.size())
    dropping_[nr_dropping_++] = block;
  else
    drop_all_ = true;
  slow_queued_ = true;
}

// shadow_finish_some_drops
Task<> Volume::FinishSomeDrops() {
  Blocks blocks;
  co_await m_.Lock(lock_drop_);
  for (u32 i = 0; i < nr_dropping_; i++) blocks.at[blocks.n++] = dropping_[i];
  nr_dropping_ = 0;
  co_await FinishDrops(blocks);
  lock_drop_ = false;
  ReleaseParked();
}

// shadow_tier_end_drops
void Volume::EndDrops() {
  drop_all_ = true;
  slow_queued_ = true;
}

// shadow_do_dirties
Task<> Volume::DoDirties(IoList& ios) {
  IoList claimed;
  if (mode_ != Mode::kRw) {
    for (u32 i = 0; i < ios.n; i++) FinishIo(ios.io[i], Status::kError);
    co_return;
  }
  for (u32 i = 0; i < ios.n; i++) {
    const bool mine = co_await TierApply(ios.io[i]->block, SHADOW_TEV_DIRTY_START);
    if (mine)
      claimed.Add(ios.io[i]);
    else
      co_await RouteAgain(ios.io[i]);
  }
  if (claimed.empty()) co_return;
  co_await DrainEpoch(epoch_);
  const bool later = failing_;
  bool ok = !later;
  if (!later) ok = co_await Commit();
  for (u32 i = 0; i < claimed.n; i++) {
    co_await TierApply(claimed.io[i]->block, ok ? SHADOW_TEV_DIRTY_DONE : SHADOW_TEV_DIRTY_FAILED);
    if (ok || later)
      co_await RouteAgain(claimed.io[i]);
    else
      FinishIo(claimed.io[i], Status::kError);
  }
  ReleaseParked();
}

// shadow_tier_read_failed
Task<> Volume::TierReadFailed(u32 block, u8 leg) {
  if (shadow_word_leg(words[block]) != leg) co_return;
  const bool ends = co_await TierApply(block, SHADOW_TEV_LOST);
  if (ends) EndDrop(block);
}

// shadow_tier_lose
Task<> Volume::TierLose(u8 leg, shadow_tier_event event) {
  for (u32 b = 0; b < nr_tracked_; b++)
    if (words[b] && shadow_word_leg(words[b]) == leg) co_await TierApply(b, event);
}

// shadow_tier_flush_failed
Task<> Volume::TierFlushFailed(u8 leg) {
  m_.Note("    a flush of tier%d failed", leg - SHADOW_LEG_TIER1 + 1);
  co_await PhaseWrite();
  if (tier_failed_ >> leg & 1) {
    phase_writer_ = false;
    co_return;
  }
  tier_failed_ |= static_cast<u8>(1u << leg);
  co_await TierLose(leg, SHADOW_TEV_LOST);
  phase_writer_ = false;
  EndDrops();
}

// one_home
Task<> Volume::OneHome(u32 block) {
  co_await DropHome(block, phase() == SHADOW_GRACE ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET);
}

// shadow_tier_forget
Task<const char*> Volume::Forget(u8 leg, bool lost) {
  if (!tiered_ || !sb_.legs[leg].present) co_return "the volume has no such tier";
  if (mode_ != Mode::kRw) co_return "the volume is not in rw mode";
  if (fetch_leg_ == leg) co_await SetFetch(0);
  co_await TierStop();
  if (!lost && TierDirty(leg)) co_return "it has dirty shadows";
  co_await m_.Lock(lock_drop_);
  co_await GateClose();
  if (lost && phase() != SHADOW_STEADY)
    for (u32 b = 0; b < nr_blocks_; b++)
      if (shadow_word_in(words[b], SHADOW_LIVES_NEWER) && shadow_word_leg(words[b]) == leg &&
          shadow_home(map[b]) == SHADOW_MIRRORED)
        co_await OneHome(b);
  bool ok = co_await Commit();
  co_await PhaseWrite();
  tier_failed_ |= static_cast<u8>(1u << leg);
  co_await TierLose(leg, lost ? SHADOW_TEV_GIVE_UP : SHADOW_TEV_LOST);
  phase_writer_ = false;
  if (ok) ok = co_await Commit();
  if (ok)
    GateOpen(1);
  else
    ReleaseParked();
  if (ok) ok = co_await FinishDrops(AllBlocks());
  lock_drop_ = false;
  if (!ok) co_return "the metadata cannot be written";
  co_return TierUsed(leg) ? "blocks became dirty meanwhile" : nullptr;
}

// set_tier_mode, shadow_tier_set_mode
Task<const char*> Volume::SetTierMode(u8 leg, bool writeback) {
  if (!tiered_ || !sb_.legs[leg].present) co_return "the volume has no such tier";
  co_await m_.Lock(lock_commit_);
  const u8 bit = static_cast<u8>(1u << leg);
  tier_ctx_.writeback =
      static_cast<u8>(writeback ? tier_ctx_.writeback | bit : tier_ctx_.writeback & ~bit);
  touched = ~0u;
  lock_commit_ = false;
  co_return nullptr;
}

// --------------------------------------------------------------------- tables

// take_word
const char* Volume::TakeWord(u32 block, u32 word) {
  const u8 leg = shadow_word_leg(word);
  if (block >= nr_tracked_ || !sb_.legs[leg].present ||
      shadow_slot(word) >= slots_[leg - SHADOW_LEG_TIER1].nr) {
    m_.Fail("the shadow of a block is out of range");
    return "out of range";
  }
  const u32 now = shadow_tier_from_disk(word, shadow_home(map[block]), tier_ctx_.tiers,
                                        intent_recent_ >> kRegionOf[block] & 1);
  if (!now) {
    MarkSlotPageDirty(block);
    return nullptr;
  }
  if (!shadow_slot_claim(&slots_[leg - SHADOW_LEG_TIER1], shadow_slot(word))) {
    m_.Fail("block %u shares its slot with another", kNumber[block]);
    return "shared slot";
  }
  words[block] = now;
  map[block] |= SHADOW_SHADOW;
  if (shadow_word_in(now, SHADOW_LIVES_NEWER)) tier_dirty_[leg - SHADOW_LEG_TIER1]++;
  return nullptr;
}

// set_tier_word
void Volume::SetTierWord(const Table& t) {
  tier_ctx_ = {};
  for (u8 leg = SHADOW_LEG_TIER1; leg < kLegs; leg++)
    if (t.dev[leg] >= 0) tier_ctx_.tiers |= static_cast<u8>(1u << leg);
  tier_ctx_.writeback = t.writeback;
  touched = ~0u;
}

// shadow_tier_configure
Task<const char*> Volume::TierConfigure(const Table& t, const shadow_superblock& next, bool load) {
  const bool had = sb_.slot_end, wants = next.slot_end;
  SetTierWord(t);
  tier_failed_ = home_failed_ = no_flush_ = 0;
  if (!had && !wants) co_return nullptr;
  if (!tiered_) {
    tiered_ = true;
    words.fill(0);
    slot_pages_.dirty = slot_pages_.newest = 0;
    nr_slot_pages_ = kSlotPageOf[nr_tracked_ - 1] + 1u;
  }
  for (u32 i = 0; i < SHADOW_NR_TIERS; i++) {  // size_tier
    const u32 leg = SHADOW_LEG_TIER1 + i;
    const shadow_leg_record& record = next.legs[leg].present ? next.legs[leg] : sb_.legs[leg];
    if (!record.present) continue;
    slots_[i].bits = &slot_bits_[i];
    slots_[i].nr = static_cast<u32>(record.sectors / kBlockSectors);
  }
  if (load && had) {
    if (const char* error = LoadSlotPages()) co_return error;
    const bool durable = co_await FlushMeta();
    if (!durable) co_return "the slot pages cannot be read";
  }
  for (u8 leg = SHADOW_LEG_TIER1; leg < kLegs; leg++)
    if (sb_.legs[leg].present && !next.legs[leg].present && TierUsed(leg))
      co_return "a tier that the table leaves out has shadows";
  for (u32 b = BlocksFor(CellsFor(next.nr_sectors)); b < nr_tracked_; b++)
    if (next.nr_sectors < sb_.nr_sectors && words[b])
      co_return "blocks beyond the new end have shadows";
  if (had) co_return nullptr;
  const bool ok = co_await FormatSlotPages(0, nr_slot_pages_);
  co_return ok ? nullptr : "the slot pages cannot be written";
}

// shadow_tier_settle
Task<bool> Volume::TierSettleTable(const Table& t) {
  if (!tiered_) co_return true;
  for (u8 leg = SHADOW_LEG_TIER1; leg < kLegs; leg++)
    if (t.dev[leg] < 0) co_await TierLose(leg, SHADOW_TEV_LOST);
  co_await m_.Lock(lock_drop_);
  const bool ok = co_await FinishDrops(AllBlocks());
  lock_drop_ = false;
  if (ok && !sb_.slot_end) {
    TierExit();
    BuildLut();
  }
  co_return ok;
}

// shadow_tier_exit
void Volume::TierExit() {
  nr_tier_requests_ = 0;
  fetch_leg_ = 0;
  counting_ = Counting::kNone;
  slots_ = {};
  slot_bits_ = {};
  words.fill(0);
  tiered_ = false;
  slot_pages_.dirty = slot_pages_.newest = 0;
}

}  // namespace sim
