// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-slow.c: what a bio cannot do at once.
#include "tests/sim/volume.h"

namespace sim {

// shadow_defer
void Volume::Defer(IoList& list, Io* io) {
  list.Add(io);
  if (&list == &intents_)
    intent_queued_ = true;
  else
    slow_queued_ = true;
}

// shadow_release_parked
void Volume::ReleaseParked() {
  reroute_.Take(parked_);
  slow_queued_ = true;
}

// shadow_gate_close
Task<> Volume::GateClose() {
  gate_++;
  co_await Drain();
}

// shadow_gate_open
void Volume::GateOpen(u32 times) {
  gate_ -= times;
  ReleaseParked();
}

// ------------------------------------------------------------------- discards

// discard_run
Task<> Volume::DiscardRun(u32 first, u32 count) {
  for (u8 leg = 0; leg < kHomeLegs; leg++) {
    if (legs_[leg] < 0 || (leg == SHADOW_LEG_ORIGIN && first + count > tail_)) continue;
    DeviceOp& op = m_.NewOp(OpKind::kDiscard, static_cast<u8>(legs_[leg]));
    op.cells = RunCells(first, count) & static_cast<CellMask>(m_.random.Next());
    const bool zero = m_.random.OneIn(2);  // devices differ in what they show afterwards
    for (u32 c = 0; c < kCells; c++) op.value[c] = zero ? kZero : ValueOf(kGarbageId, c);
    m_.Begin(op);
    co_await m_.Finish(op);
  }
}

// discard_release: ours are the blocks that are busy holes
Task<> Volume::DiscardRelease(Io* io, bool durable) {
  const u32 end = io->block + io->count;
  for (u32 b = io->block; b < end;) {
    u32 first = b;
    while (b < end && Punched(b)) b++;
    if (durable && b > first) co_await DiscardRun(first, b - first);
    for (; first < b; first++) co_await ApplyOwn(first, SHADOW_EV_RELEASE);
    if (b < end) b++;
  }
}

// out_of_reach: the only copy is on a missing leg
bool Volume::OutOfReach(u32 block) const {
  const shadow_ctx ctx = Ctx(block);
  const u8 copies = shadow_copies(map[block], &ctx);
  return copies && !(copies & ~(ctx.missing | no_flush_));
}

// discard_shadows: of holes of one request; false: their end could not be made durable
Task<bool> Volume::DiscardShadows(u32 first, u32 end) {
  Blocks blocks;
  bool any = false;
  for (u32 b = first; b < end; b++) {
    blocks.at[blocks.n++] = b;
    if (!(map[b] & SHADOW_SHADOW) || !Punched(b)) continue;
    const bool legal = co_await TierApply(b, SHADOW_TEV_DISCARD);
    any |= legal;
  }
  if (!any) co_return true;
  const bool ok = co_await FinishDrops(blocks);
  co_return ok;
}

// do_discards
Task<> Volume::DoDiscards(IoList& ios) {
  bool drain = false, copying = false, any = false, ok = true;
  u32 given_up = 0;
  if (mode_ != Mode::kRw) {
    for (u32 i = 0; i < ios.n; i++) FinishIo(ios.io[i], Status::kError);
    co_return;
  }
  for (u32 i = 0; i < ios.n; i++) {
    Io* const io = ios.io[i];
    for (u32 b = io->block; b < io->block + io->count; b++) {
      shadow_step step;
      const u32 gone = OutOfReach(b);
      given_up += gone;
      given_up_ += gone;
      const bool legal = co_await Apply(b, SHADOW_EV_DISCARD, &step);
      if (!legal) {
        const auto home = shadow_home(step.next);
        if (home == SHADOW_COPYING || home == SHADOW_REMIRRORING)
          m_.Fail("a discard passed block %u over that is being copied", kNumber[b]);
        continue;
      }
      io->punched |= BlockCells(b) & io->cells;
      drain |= step.actions & SHADOW_ACT_DRAIN;
      copying |= step.actions & SHADOW_ACT_WAIT_COPY;
      any = true;
    }
  }
  if (copying) co_await WaitRunning();
  if (drain || tiered_) co_await Drain();
  if (any) ok = co_await Commit();
  if (tiered_) {
    co_await m_.Lock(lock_drop_);
    for (u32 i = 0; i < ios.n && ok; i++)
      ok = co_await DiscardShadows(ios.io[i]->block, ios.io[i]->block + ios.io[i]->count);
    lock_drop_ = false;
  }
  if (ok) given_up_ -= given_up;
  for (u32 i = 0; i < ios.n; i++) {
    co_await DiscardRelease(ios.io[i], ok);
    FinishIo(ios.io[i], ok ? Status::kOk : Status::kError);
  }
  ReleaseParked();
}

// ------------------------------------------------------------------- failures

// read_elsewhere
Task<> Volume::ReadElsewhere(Io* io) {
  const shadow_ctx ctx = Ctx(io->block);
  u8 copies = shadow_copies(map[io->block], &ctx);
  if (WordOf(io->block, map[io->block])) {
    if (io->tried & SHADOW_MASK_TIERS) co_await TierReadFailed(io->block, io->leg);
    co_await RouteAgain(io);
    co_return;
  }
  copies &= static_cast<u8>(~(io->tried | ctx.missing));
  if (!copies) {
    FinishIo(io, Status::kError);
    co_return;
  }
  io->watch = Watch::kRead;
  Send(io, static_cast<u8>(__builtin_ctz(copies)));
}

// write_zeroes_again
Task<> Volume::WriteZeroesAgain(Io* io) {
  for (u8 leg = 0; leg < kHomeLegs; leg++) {
    if (!(io->sent >> leg & 1) || !(io->unsupported >> leg & 1) || legs_[leg] < 0) continue;
    DeviceOp& op = m_.NewOp(OpKind::kWrite, static_cast<u8>(legs_[leg]));
    op.cells = io->cells;
    for (CellMask m = op.cells; m; m &= m - 1) op.value[static_cast<u32>(__builtin_ctz(m))] = kZero;
    m_.Begin(op);
    const bool ok = co_await m_.Finish(op);
    io->bad[leg] = !ok;
  }
}

// write_survives
Task<bool> Volume::WriteSurvives(Io* io) {
  u8 failed = 0;
  for (u32 leg = 0; leg < kLegs; leg++)
    if ((io->sent >> leg & 1) && io->bad[leg]) failed |= static_cast<u8>(1u << leg);
  const u8 home = io->sent & SHADOW_MASK_BOTH;
  bool ok = home & ~failed;
  if (ok && (home & failed))
    ok = co_await DropHome(io->block,
                           failed & SHADOW_MASK_ORIGIN ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET);
  else if (!ok && home == SHADOW_MASK_BOTH)
    co_await DropHome(io->block, phase() == SHADOW_GRACE ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET);
  if ((io->sent & SHADOW_MASK_TIERS) && (!ok || (failed & SHADOW_MASK_TIERS))) {
    const bool ends = co_await TierApply(io->block, SHADOW_TEV_LOST);
    if (ends) EndDrop(io->block);
  }
  co_return ok;
}

// flush_survives
Task<bool> Volume::FlushSurvives(Io* io) {
  const u8 leg = io->leg;
  if (leg >= kHomeLegs) {
    co_await TierFlushFailed(leg);
    co_return !TierDirty(leg);
  }
  co_await DropLeg(leg);
  if (ctx_.phase == SHADOW_STEADY) co_return leg != ctx_.steady_leg;
  co_return !OnlyOn(leg);
}

// do_failed_writes
Task<> Volume::DoFailedWrites(IoList& ios) {
  IoList saved, lost;
  u32 decided = 0;
  u8 leg_failed = 0;
  co_await GateClose();
  ios.Take(failed_);
  for (u32 i = 0; i < ios.n; i++) {
    Io* const io = ios.io[i];
    if (io->watch == Watch::kRead || io->watch == Watch::kTierRead) {
      co_await ReadElsewhere(io);
      continue;
    }
    bool ok;
    if (io->watch == Watch::kFlush) {
      leg_failed |= static_cast<u8>(1u << io->leg);
      ok = co_await FlushSurvives(io);
    } else {
      co_await WriteZeroesAgain(io);
      ok = co_await WriteSurvives(io);
      decided++;
    }
    (ok ? saved : lost).Add(io);
  }
  co_await PhaseRead();
  const u32 drops = drops_;
  phase_readers_--;
  const bool durable = co_await Commit();
  if (durable && leg_failed) {
    co_await PhaseWrite();
    if (drops == drops_) no_flush_ |= leg_failed & home_failed_;
    phase_writer_ = false;
  }
  failing_ -= decided;
  for (u32 i = 0; i < saved.n; i++) FinishIo(saved.io[i], durable ? Status::kOk : Status::kError);
  for (u32 i = 0; i < lost.n; i++) FinishIo(lost.io[i], Status::kError);
  if (durable)
    GateOpen(1);
  else
    ReleaseParked();
}

// do_failed
Task<> Volume::DoFailed(IoList& ios) {
  IoList writes;
  for (u32 i = 0; i < ios.n; i++) {
    if (ios.io[i]->watch == Watch::kRead || ios.io[i]->watch == Watch::kTierRead)
      co_await ReadElsewhere(ios.io[i]);
    else
      writes.Add(ios.io[i]);
  }
  if (!writes.empty()) co_await DoFailedWrites(writes);
}

// slow_work
Task<> Volume::SlowWork() {
  for (;;) {
    co_await m_.UntilSet(slow_queued_);
    slow_queued_ = false;
    slow_running_ = true;
    IoList ios;
    ios.Take(failed_);
    if (!ios.empty()) co_await DoFailed(ios);
    ios.n = 0;
    ios.Take(reroute_);
    for (u32 i = 0; i < ios.n; i++) co_await RouteAgain(ios.io[i]);  // do_reroute
    ios.n = 0;
    ios.Take(fills_);
    if (!ios.empty()) co_await DoFills(ios);
    ios.n = 0;
    ios.Take(dirties_);
    if (!ios.empty()) co_await DoDirties(ios);
    ios.n = 0;
    ios.Take(discards_);
    if (!ios.empty()) co_await DoDiscards(ios);
    if (std::exchange(drop_all_, false))
      co_await FinishAllDrops();
    else if (nr_dropping_)
      co_await FinishSomeDrops();
    slow_running_ = false;
  }
}

// --------------------------------------------------------------- write intent

// intent_work, intent_set
Task<> Volume::IntentWork() {
  for (;;) {
    co_await m_.UntilSet(intent_queued_);
    intent_queued_ = false;
    intent_running_ = true;
    co_await m_.Lock(lock_intent_);
    IoList ios;
    ios.Take(intents_);
    for (u32 i = 0; i < ios.n; i++) {
      const u32 region = kRegionOf[ios.io[i]->block];
      if (intent_ >> region & 1) continue;
      intent_disk_ |= 1u << region;
      co_await m_.Maybe();
      MarkPageDirty(ios.io[i]->block);
    }
    bool ok = true;
    if (!ios.empty()) ok = co_await Commit();
    for (u32 i = 0; i < ios.n; i++) {
      const u32 region = kRegionOf[ios.io[i]->block];
      if (!ok) {
        FinishIo(ios.io[i], Status::kError);
        continue;
      }
      intent_recent_ |= 1u << region;
      intent_ |= 1u << region;
      co_await RouteAgain(ios.io[i]);
    }
    lock_intent_ = false;
    intent_running_ = false;
  }
}

// intent_sweep
Task<> Volume::IntentSweep(bool all) {
  co_await m_.Lock(lock_intent_);
  if (mode_ != Mode::kRw) {
    lock_intent_ = false;
    co_return;
  }
  u32 cleared = 0;
  for (u32 region = 0; region < kRegions; region++) {
    const u32 bit = 1u << region;
    if (!(intent_ & bit)) continue;
    if (!all && (intent_recent_ & bit)) {
      intent_recent_ &= ~bit;
      continue;
    }
    intent_ &= ~bit;
    cleared++;
  }
  if (cleared) {
    bool ok = true;
    co_await Drain();
    co_await PhaseRead();
    const u8 homes = home_failed_;
    const u8 failed = tier_failed_ | (HasMirrored() ? 0 : homes);
    phase_readers_--;
    // what failed was counted before it left: until its loss is durable nothing is clean
    if (failing_) ok = false;
    if (tiered_ && (ctx_.missing || homes)) ok = false;
    // shadows that ended because of those writes have no word left when the bits go
    if (ok && tiered_) ok = co_await Commit();
    for (u8 leg = 0; leg < kLegs && ok; leg++) {
      if (legs_[leg] < 0 || (failed >> leg & 1)) continue;
      ok = co_await FlushLeg(leg);
      if (!ok && leg >= kHomeLegs) co_await TierFlushFailed(leg);
    }
    for (u32 b = 0; b < nr_tracked_; b++) {
      const u32 bit = 1u << kRegionOf[b];
      if (!(intent_disk_ & bit) || (intent_ & bit)) continue;
      if (!ok) {
        intent_ |= bit;  // still so on disk: next time
        continue;
      }
      intent_disk_ &= ~bit;
      MarkPageDirty(b);
    }
    CommitSoon();
  }
  lock_intent_ = false;
}

void Volume::TimerCommit() {
  if (!commit_armed_) return;
  commit_armed_ = false;
  commit_due_ = true;
}

void Volume::TimerSweep() {
  if (live_ && (phase() != SHADOW_STEADY || tiered_)) sweep_due_ = true;
}

}  // namespace sim
