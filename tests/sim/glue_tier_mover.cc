// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-tier-{mover,round}.c: copies blocks to slots and home, ends shadows.
#include <algorithm>

#include "kernel/core/shadow_args.h"
#include "tests/sim/volume.h"

namespace sim {

namespace {
u8 FirstLeg(u8 mask) { return static_cast<u8>(__builtin_ctz(mask)); }
}  // namespace

// enter_round
bool Volume::EnterRound(TierCopy& c, const TierRound& round) {
  if (&round == &asked_)
    c.live = !FetchOf(c.block);
  else
    c.live = std::none_of(copies_.begin(), copies_.end(), [&](const TierCopy& other) {
      return other.live && other.block == c.block;
    });
  return c.live;
}

// claim
Task<bool> Volume::Claim(u8 leg, TierCopy& c, const TierRound& round) {
  bool full = false, mine;
  if (c.type != SHADOW_MSG_PROMOTE) {
    mine = co_await TierApply(c.block, SHADOW_TEV_CLEAN_START);
  } else {
    mine = EnterRound(c, round);
    co_await m_.Maybe();
    if (mine) mine = co_await ClaimPromote(leg, c.block, &full);
    if (!mine) c.live = false;
  }
  c.state = mine ? CopyState::kClaimed : CopyState::kOver;
  co_return !full;
}

// claim_promote
Task<bool> Volume::ClaimPromote(u8 leg, u32 block, bool* full) {
  if (!((tier_ctx_.tiers & ~tier_failed_) >> leg & 1) || words[block]) co_return false;
  co_await m_.Maybe();
  if ((map[block] & SHADOW_BUSY) || shadow_home(map[block]) >= SHADOW_HOLE) co_return false;
  co_await m_.Maybe();
  const u32 slot = shadow_slot_take(&slots_[leg - SHADOW_LEG_TIER1]);
  *full = slot == SHADOW_NO_SLOT;
  if (*full) co_return false;
  const u32 word = shadow_word(static_cast<shadow_leg>(leg), slot, SHADOW_PROMOTING);
  co_await m_.Maybe();
  if (words[block]) {
    FreeSlot(word);
    co_return false;
  }
  words[block] = word;
  touched |= 1u << block;
  co_await m_.Maybe();
  SetShadow(block, true);
  m_.Note("    block %u: promoted to slot %u of tier%d", kNumber[block], slot,
          leg - SHADOW_LEG_TIER1 + 1);
  co_return true;
}

// claim_some, shadow_queue_advance
Task<> Volume::ClaimSome() {
  const u32 limit = 1 + m_.random.Below(4);
  asked_.n = 0;
  while (asked_.n < limit && TierMayClaim()) {
    const TierRequest q = tier_requests_[0];
    const u32 end = std::min(q.end, nr_blocks_);
    u32 b = q.next;
    for (; b < end && asked_.n < limit; b++) {
      TierCopy& c = copies_[asked_.n];
      c = {};
      c.round = &asked_;
      c.block = b;
      c.type = q.type;
      const bool fits = co_await Claim(q.tier, c, asked_);
      if (!fits) {
        b = end;
        break;
      }
      if (c.state == CopyState::kClaimed ||
          (q.type == SHADOW_MSG_DEMOTE && shadow_life(words[b]) == SHADOW_CLEAN))
        asked_.n++;
    }
    tier_requests_[0].next = b;
    if (b < end) continue;
    for (u32 i = 1; i < nr_tier_requests_; i++) tier_requests_[i - 1] = tier_requests_[i];
    nr_tier_requests_--;
  }
}

// ------------------------------------------------------------ copying, in the epoch

// dm_kcopyd: reads, then writes to all
void Volume::TierCopyRead(void* who, DeviceOp& op) {
  Volume& v = *static_cast<Volume*>(who);
  TierCopy& c = *static_cast<TierCopy*>(op.what);
  const u32 from = static_cast<u32>(__builtin_ctz(op.cells));
  const bool promote = c.type == SHADOW_MSG_PROMOTE;
  c.read_err = !op.ok;
  if (!op.ok) {
    c.round->out--;
    return;
  }
  const CellMask home = v.RunCells(c.block, 1);
  const u8 legs = promote ? static_cast<u8>(1u << shadow_word_leg(c.word)) : c.legs;
  c.out = static_cast<u8>(__builtin_popcount(legs));
  for (u8 leg = 0; leg < kLegs; leg++) {
    if (!(legs >> leg & 1)) continue;
    DeviceOp& write = v.m_.NewOp(OpKind::kWrite, static_cast<u8>(v.legs_[leg]));
    write.leg = leg;
    write.cells = promote ? v.SlotCells(c.word, home) : home;
    const u32 to = static_cast<u32>(__builtin_ctz(write.cells));
    for (u32 i = 0; i < kCellsPerBlock; i++) write.value[to + i] = op.value[from + i];
    write.end = TierCopyWritten;
    write.who = who;
    write.what = &c;
    v.m_.Begin(write);
  }
}

void Volume::TierCopyWritten(void* who, DeviceOp& op) {
  (void)who;
  TierCopy& c = *static_cast<TierCopy*>(op.what);
  if (!op.ok) c.write_err |= static_cast<u8>(1u << op.leg);
  if (!--c.out) c.round->out--;
}

// start_promote
Task<bool> Volume::StartPromote(TierCopy& c, u32 word) {
  const shadow_ctx ctx = Ctx(c.block);
  co_await m_.Maybe();
  const u8 copies = shadow_copies(map[c.block], &ctx) & static_cast<u8>(~ctx.missing);
  const u8 from = copies & SHADOW_MASK_TARGET ? SHADOW_MASK_TARGET : copies;
  c.legs = from;
  if (!copies || (tier_failed_ >> shadow_word_leg(word) & 1)) co_return false;
  if (legs_[FirstLeg(from)] < 0 || legs_[shadow_word_leg(word)] < 0) co_return false;
  c.word = word;
  c.round->out++;
  DeviceOp& op = m_.NewOp(OpKind::kRead, static_cast<u8>(legs_[FirstLeg(from)]));
  op.cells = RunCells(c.block, 1);
  op.end = TierCopyRead;
  op.who = this;
  op.what = &c;
  m_.Begin(op);
  co_return true;
}

// start_writeback, write_home
Task<bool> Volume::StartWriteback(TierCopy& c, u32 word) {
  if (legs_[shadow_word_leg(word)] < 0) co_return false;
  for (;;) {
    const shadow_ctx ctx = Ctx(c.block);
    co_await m_.Maybe();
    const u8 state = map[c.block];
    const auto r = shadow_route(state, SHADOW_OP_WRITE, &ctx);
    if (r.kind != SHADOW_ROUTE_LEG && r.kind != SHADOW_ROUTE_MARK && r.kind != SHADOW_ROUTE_BOTH)
      co_return false;
    const u8 next = shadow_transition(state, SHADOW_EV_WRITE, &ctx).next;
    co_await m_.Maybe();
    if (next != state && map[c.block] != state) continue;
    if (next != state) map[c.block] = next;
    c.legs = r.legs;
    break;
  }
  c.word = word;
  c.round->out++;
  DeviceOp& op = m_.NewOp(OpKind::kRead, static_cast<u8>(legs_[shadow_word_leg(word)]));
  op.cells = SlotCells(word, RunCells(c.block, 1));
  op.end = TierCopyRead;
  op.who = this;
  op.what = &c;
  m_.Begin(op);
  co_return true;
}

// flush_sources: what was read may have been in home's cache only
Task<> Volume::FlushSources(TierRound& round) {
  const auto good = [](const TierCopy& c) {
    return c.state == CopyState::kStarted && c.type == SHADOW_MSG_PROMOTE && !c.read_err &&
           !c.write_err;
  };
  u8 mask = 0;
  for (u32 i = 0; i < round.n; i++)
    if (good(round.copies[i])) mask |= round.copies[i].legs;
  for (u8 leg = 0; leg < kHomeLegs; leg++) {
    if (!(mask >> leg & 1)) continue;
    const bool ok = co_await FlushLeg(leg);
    for (u32 i = 0; i < round.n && !ok; i++)
      if (good(round.copies[i]) && (round.copies[i].legs >> leg & 1))
        round.copies[i].read_err = true;
  }
}

// only_home
u8 Volume::OnlyHome(u32 block) const {
  const shadow_ctx ctx = Ctx(block);
  const u8 homes = shadow_copies(map[block], &ctx);
  if (shadow_home(map[block]) == SHADOW_RETIRING) return SHADOW_MASK_TARGET;
  return homes & (homes - 1) ? 0 : homes;
}

// settle: true: it has to be made again
Task<bool> Volume::TierSettle(TierCopy& c) {
  const bool promote = c.type == SHADOW_MSG_PROMOTE;
  const u8 tier = static_cast<u8>(1u << shadow_word_leg(words[c.block]));
  co_await PhaseRead();
  const bool failed = tier_failed_ & tier;
  if (promote) {
    unflushed_ |= tier;
  } else {
    unflushed_ |= c.legs | tier;
    sole_ |= OnlyHome(c.block);
    if (!(c.legs & (c.legs - 1))) sole_ |= c.legs;
  }
  co_await m_.Maybe();
  if (promote && failed) {
    phase_readers_--;
    c.state = CopyState::kFailed;
    co_return false;
  }
  shadow_tier_step step;
  const bool legal =
      co_await TierApply(c.block, promote ? SHADOW_TEV_PROMOTE_DONE : SHADOW_TEV_CLEAN_DONE, &step);
  if (legal && failed && !(step.actions & SHADOW_ACT_COPY_AGAIN)) {
    const bool ends = co_await TierApply(c.block, SHADOW_TEV_LOST);
    if (ends) EndDrop(c.block);
  }
  phase_readers_--;
  if (legal && (step.actions & SHADOW_ACT_COPY_AGAIN)) {
    c.state = CopyState::kClaimed;
    co_return true;
  }
  c.state = CopyState::kOver;
  if (legal) (!promote ? written_back : c.round == &asked_ ? promoted : fetched)++;
  co_return false;
}

// copy_round
Task<bool> Volume::CopyRound(TierRound& round, bool* blocked) {
  bool again = false;
  const u8 epoch = co_await Enter(tier_epoch_);
  co_await m_.Maybe();
  *blocked = gate_ || failing_;
  for (u32 i = 0; i < round.n && !*blocked; i++) {
    TierCopy& c = round.copies[i];
    if (c.state != CopyState::kClaimed) continue;
    const u32 word = words[c.block];
    bool started = false;
    if (c.type == SHADOW_MSG_PROMOTE)
      started = co_await StartPromote(c, word);
    else if (shadow_life(word) == SHADOW_CLEANING || shadow_life(word) == SHADOW_HOLDING)
      started = co_await StartWriteback(c, word);
    c.state = started ? CopyState::kStarted : CopyState::kFailed;
  }
  co_await m_.Until(round.out, [](const u32& n) { return !n; });
  co_await FlushSources(round);
  for (u32 i = 0; i < round.n; i++) {
    TierCopy& c = round.copies[i];
    if (c.state != CopyState::kStarted) continue;
    if (c.read_err || c.write_err) {
      c.state = CopyState::kFailed;
      continue;
    }
    const bool more = co_await TierSettle(c);
    again |= more;
  }
  Leave(tier_epoch_, epoch);
  co_return again;
}

// ------------------------------------------------------------------ after the epoch

// give_up, lose_home, unpromote
Task<> Volume::GiveUp(TierCopy& c) {
  c.state = CopyState::kOver;
  if (c.type == SHADOW_MSG_PROMOTE) {
    const u32 word = words[c.block];
    SetShadow(c.block, false);
    co_await m_.Maybe();
    const bool legal = co_await TierApply(c.block, SHADOW_TEV_PROMOTE_FAILED);
    if (!legal) m_.Fail("a promotion cannot be given up: an invariant is broken");
    if (legal) FreeSlot(word);
    co_return;
  }
  if (c.write_err && c.legs == SHADOW_MASK_BOTH && c.write_err != SHADOW_MASK_BOTH) {
    co_await DropHome(c.block,
                      c.write_err & SHADOW_MASK_ORIGIN ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET);
    co_await Commit();
  }
  co_await TierApply(c.block, SHADOW_TEV_CLEAN_FAILED);
}

// prepare_again
Task<> Volume::PrepareAgain(TierRound& round, bool last) {
  for (u32 i = 0; i < round.n; i++) {
    TierCopy& c = round.copies[i];
    if (c.state != CopyState::kClaimed) continue;
    const auto event = c.type == SHADOW_MSG_PROMOTE ? SHADOW_TEV_PROMOTE_RETRY
                       : last                       ? SHADOW_TEV_CLEAN_HOLD
                                                    : SHADOW_TEV_CLEAN_RETRY;
    const bool legal = co_await TierApply(c.block, event);
    if (!legal) c.state = CopyState::kOver;
  }
}

// drop_some
Task<> Volume::DropSome(TierRound& round) {
  Blocks blocks;
  if (std::none_of(round.copies, round.copies + round.n,
                   [](const TierCopy& c) { return c.type == SHADOW_MSG_DEMOTE; }))
    co_return;
  co_await m_.Lock(lock_drop_);
  for (u32 i = 0; i < round.n; i++) {
    const TierCopy& c = round.copies[i];
    if (c.type != SHADOW_MSG_DEMOTE) continue;
    const bool ends = co_await TierApply(c.block, SHADOW_TEV_DROP);
    if (ends) blocks.at[blocks.n++] = c.block;
  }
  if (blocks.n) co_await FinishDrops(blocks);
  lock_drop_ = false;
}

// do_round
Task<> Volume::DoRound(TierRound& round) {
  bool again = true;
  for (u32 tries = 0; tries < kMaxTries && again; tries++) {
    bool blocked;
    if (tries) co_await PrepareAgain(round, tries + 1 == kMaxTries);
    co_await m_.Maybe();
    bool quiet = &round != &asked_ && counting_ == Counting::kAll;  // shadow_fetch_quiet
    co_await m_.Maybe();
    quiet = quiet && !WritesOf(round.copies->block);
    co_await m_.Maybe();
    if (!quiet) co_await DrainEpoch(epoch_);
    do {
      again = co_await CopyRound(round, &blocked);
      if (blocked)
        co_await m_.Until(
            *this, [](const Volume& v) { return !v.TierMayGoOn() || (!v.gate_ && !v.failing_); });
    } while (blocked && TierMayGoOn());
  }
  for (u32 i = 0; i < round.n; i++)
    if (round.copies[i].state != CopyState::kOver) co_await GiveUp(round.copies[i]);
  ReleaseParked();
  co_await DropSome(round);
  for (u32 i = 0; i < round.n; i++) {
    co_await m_.Maybe();
    round.copies[i].live = false;  // leave_round
  }
  CommitSoon();
}

// fetch_work: the copy
Task<> Volume::TierFetch(Fetch& f) {
  if (mode_ != Mode::kRw) co_return;
  co_await Claim(f.leg, f.copy, f.round);
  if (f.copy.state == CopyState::kClaimed) co_await DoRound(f.round);
}

// tier_thread
Task<> Volume::TierThread() {
  for (;;) {
    tier_parked_ = true;
    co_await m_.Until(*this,
                      [](const Volume& v) { return v.TierMayClaim() && v.mode_ == Mode::kRw; });
    co_await m_.Maybe();
    tier_parked_ = false;
    co_await m_.Maybe();
    if (!TierMayClaim() || mode_ != Mode::kRw) continue;
    co_await ClaimSome();
    if (asked_.n) co_await DoRound(asked_);
  }
}

// wait_parked
Task<> Volume::WaitParked() {
  co_await m_.UntilSet(tier_parked_);
  co_await m_.Until(nr_fetches_, [](const u32& n) { return !n; });
}

// shadow_tier_mover_suspend
Task<> Volume::TierSuspend() {
  tier_suspended_ = true;
  co_await WaitParked();
}

// shadow_tier_mover_stop
Task<> Volume::TierStop() {
  tier_stopping_ = true;
  co_await WaitParked();
  nr_tier_requests_ = 0;
  tier_stopping_ = false;
}

// queue_tier_message
const char* Volume::QueueTier(u8 type, u8 tier, u32 first, u32 end) {
  if (mode_ != Mode::kRw) return "the volume is not in rw mode";
  if (!tiered_) return "the volume has no tiers";
  if (type == SHADOW_MSG_PROMOTE && legs_[tier] < 0) return "this tier is not there";
  if (type == SHADOW_MSG_PROMOTE && (tier_failed_ >> tier & 1)) return "this tier has failed";
  if (nr_tier_requests_ == tier_requests_.size()) return "the queue is full";
  tier_requests_[nr_tier_requests_++] = {type, tier, first, end};
  return nullptr;
}

}  // namespace sim
