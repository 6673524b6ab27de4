// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-io.c and dm-shadow-epoch.h: the path of every bio.
#include "tests/sim/volume.h"

namespace sim {

namespace {
constexpr u8 Bit(u32 leg) { return static_cast<u8>(1u << leg); }
u8 FirstLeg(u8 mask) { return static_cast<u8>(__builtin_ctz(mask)); }
}  // namespace

Volume::Volume(Machine& m, const Owner& owner) : m_(m), owner_(owner) {
  legs_.fill(-1);
  m_.Spawn(
      "slow worker", [this] { return SlowWork(); }, 1);
  m_.Spawn(
      "intent worker", [this] { return IntentWork(); }, 2);
  m_.Spawn(
      "mover", [this] { return MoverThread(); }, 3);
  m_.Spawn(
      "tier mover", [this] { return TierThread(); }, 6);
  m_.Spawn(
      "commit timer",
      [this]() -> Task<> {
        return [](Volume& v) -> Task<> {  // commit_work
          for (;;) {
            co_await v.m_.UntilSet(v.commit_due_);
            v.commit_due_ = false;
            v.commit_running_ = true;
            co_await v.Commit();
            v.commit_running_ = false;
          }
        }(*this);
      },
      4);
  m_.Spawn(
      "sweep timer",
      [this]() -> Task<> {
        return [](Volume& v) -> Task<> {  // sweep_work
          for (;;) {
            co_await v.m_.UntilSet(v.sweep_due_);
            v.sweep_due_ = false;
            v.sweep_running_ = true;
            co_await v.IntentSweep(false);
            v.sweep_running_ = false;
          }
        }(*this);
      },
      5);
}

shadow_ctx Volume::Ctx(u32 block) const {
  shadow_ctx ctx = ctx_;
  ctx.tail = block >= tail_;
  return ctx;
}

// shadow_build_lut
void Volume::BuildLut() {
  shadow_ctx ctx = Ctx(0);
  ctx.tail = false;
  for (u32 i = 0; i < 256; i++) {
    const auto r = shadow_route(static_cast<u8>(i), SHADOW_OP_READ, &ctx);
    const auto w = shadow_route(static_cast<u8>(i), SHADOW_OP_WRITE, &ctx);
    const bool usable = mode_ != Mode::kFail && !(i & SHADOW_SHADOW);
    lut_[0][i] =
        usable && r.kind == SHADOW_ROUTE_LEG && !r.fallback && (i & SHADOW_READ) && !fetch_leg_
            ? FirstLeg(r.legs)
            : kSlow;
    lut_[1][i] = usable && ctx.phase == SHADOW_STEADY && !tiered_ && w.kind == SHADOW_ROUTE_LEG &&
                         (i & SHADOW_WROTE)
                     ? FirstLeg(w.legs)
                     : kSlow;
  }
}

// ---------------------------------------------------------------------- epoch

// shadow_epoch_enter: the index may be old when the counter grows
Task<u8> Volume::Enter(Epoch& e) {
  const u8 i = e.index;
  co_await m_.Maybe();
  e.entered[i]++;
  co_return i;
}

// shadow_drain_epoch
Task<> Volume::DrainEpoch(Epoch& e) {
  const u32 begun = e.begun;
  co_await m_.Lock(e.lock);
  if (e.begun != begun) {
    e.lock = false;
    co_return;
  }
  e.begun++;
  const u8 old = e.index;
  if (old)
    co_await m_.Until(e, [](const Epoch& x) { return x.entered[0] == x.left[0]; });
  else
    co_await m_.Until(e, [](const Epoch& x) { return x.entered[1] == x.left[1]; });
  e.index = old ^ 1;
  if (old)
    co_await m_.Until(e, [](const Epoch& x) { return x.entered[1] == x.left[1]; });
  else
    co_await m_.Until(e, [](const Epoch& x) { return x.entered[0] == x.left[0]; });
  e.lock = false;
}

// shadow_drain
Task<> Volume::Drain() {
  co_await DrainEpoch(epoch_);
  if (tiered_) co_await DrainEpoch(tier_epoch_);
}

// -------------------------------------------------------------- sending, ends

/// The request's cells go to one leg: bio_set_dev and submit.
void Volume::SendPart(Io* io, u8 leg, u32 word, EndFn end) {
  static constexpr OpKind kKinds[] = {OpKind::kRead, OpKind::kWrite, OpKind::kWrite, OpKind::kFlush,
                                      OpKind::kDiscard};
  if (legs_[leg] < 0) return m_.Fail("a request was sent to a leg that is not there");
  DeviceOp& op = m_.NewOp(kKinds[static_cast<int>(io->kind)], static_cast<u8>(legs_[leg]));
  op.leg = leg;
  const u32 from = io->block * kCellsPerBlock;  // to_slot
  op.cells = leg < kHomeLegs ? io->cells : SlotCells(word, io->cells);
  const u32 base = leg < kHomeLegs ? from : shadow_slot(word) * kCellsPerBlock;
  op.fua = io->fua;
  op.zeroes = io->kind == IoKind::kZeroes;
  op.end = end;
  op.who = this;
  op.what = io;
  if (io->kind != IoKind::kRead)
    for (CellMask m = op.cells; m; m &= m - 1) {
      const u32 c = static_cast<u32>(__builtin_ctz(m));
      op.value[c] = io->kind == IoKind::kWrite ? ValueOf(io->id, c - base + from) : kZero;
    }
  m_.Begin(op);
}

// send_to
void Volume::Send(Io* io, u8 leg, u32 word) {
  io->leg = leg;
  SendPart(io, leg, word);
}

// shadow_finish_bio
void Volume::FinishIo(Io* io, Status status) {
  Io* const parent = io->parent;
  if (!parent) {
    owner_.answer(owner_.self, io, status);
    return owner_.free(owner_.self, io);
  }
  parent->part_failed |= status != Status::kOk;
  owner_.free(owner_.self, io);
  if (--parent->pending) return;
  // dm core forgets what became of a flush that has data behind it
  if (parent->preflush) return owner_.data(owner_.self, parent);
  owner_.answer(owner_.self, parent, parent->part_failed ? Status::kError : Status::kOk);
  owner_.free(owner_.self, parent);
}

// shadow_end_io, mirrored_clone_end
void Volume::EndIo(void* who, DeviceOp& op) {
  Volume& v = *static_cast<Volume*>(who);
  Io* const io = static_cast<Io*>(op.what);
  const Status status = op.ok ? Status::kOk : Status::kError;
  if (op.kind == OpKind::kRead && op.ok) {
    const u32 base = BlockOfCell(static_cast<u32>(__builtin_ctz(op.cells))) * kCellsPerBlock;
    for (u32 i = 0; i < kCellsPerBlock; i++) io->got[i] = op.value[base + i];
  }
  switch (io->watch) {
    case Watch::kNone:
      return v.FinishIo(io, status);
    case Watch::kTierRead:
      v.Leave(v.epoch_, io->epoch);
      if (op.ok) return v.FinishIo(io, status);
      io->tried |= Bit(io->leg);
      return v.Defer(v.failed_, io);
    case Watch::kCounted:
    case Watch::kTierWrite:
      v.LeaveWrite(io);
      return v.FinishIo(io, status);
    case Watch::kMirrored:
      io->bad[op.leg] = !op.ok;
      if (op.unsupported) io->unsupported |= Bit(op.leg);
      if (!--io->pending) v.MirroredWriteOver(io);
      return;
    case Watch::kRead:
      if (io->counted) v.ReadsOf(io->block)--;
      io->counted = false;
      [[fallthrough]];
    case Watch::kFlush:
      if (op.ok) return v.FinishIo(io, status);
      if (io->watch == Watch::kRead) io->tried |= Bit(io->leg);
      return v.Defer(v.failed_, io);
  }
}

// mirrored_write_over
void Volume::MirroredWriteOver(Io* io) {
  const u8 epoch = io->epoch;
  u8 failed = 0;
  for (u8 leg = 0; leg < kLegs; leg++)
    if ((io->sent >> leg & 1) && io->bad[leg]) failed |= Bit(leg);
  if (failed) {
    m_.Spawn("end of a failed write", [this, io, epoch] {
      return [](Volume& v, Io* failed, u8 index) -> Task<> {
        // listed and counted before it leaves: who drained sees every failure until then
        v.failing_++;
        v.FetchWriteOver(failed);
        v.Defer(v.failed_, failed);
        co_await v.m_.Maybe();
        v.Leave(v.epoch_, index);
      }(*this, io, epoch);
    });
    return;
  }
  LeaveWrite(io);
  FinishIo(io, Status::kOk);
}

// ---------------------------------------------------------------------- reads

// map_race
void Volume::MapRace(Io* io) {
  io->pending = kHomeLegs;
  io->won = false;
  strays_++;
  for (u8 leg = 0; leg < kHomeLegs; leg++) {
    SendPart(io, leg, 0, RaceEnd);
    if (m_.failed) return;
  }
}

// race_end
void Volume::RaceEnd(void* who, DeviceOp& op) {
  Volume& v = *static_cast<Volume*>(who);
  Io* const io = static_cast<Io*>(op.what);
  if (op.ok && !io->won) {
    io->won = true;
    for (u32 i = 0; i < kCellsPerBlock; i++) io->got[i] = op.value[io->block * kCellsPerBlock + i];
    v.owner_.answer(v.owner_.self, io, Status::kOk);
  }
  if (--io->pending) return;
  if (!io->won) v.owner_.answer(v.owner_.self, io, Status::kError);
  v.owner_.free(v.owner_.self, io);
  v.strays_--;
}

// map_read
Task<> Volume::MapRead(Io* io) {
  const shadow_ctx ctx = Ctx(io->block);
  const shadow_tier_ctx tctx = tier_ctx_;
  co_await m_.Maybe();
  u8 state = map[io->block];
  map[io->block] |= SHADOW_READ;
  struct shadow_route r = shadow_route(state, SHADOW_OP_READ, &ctx);
  if (state & SHADOW_SHADOW) {
    io->epoch = co_await Enter(epoch_);
    co_await m_.Maybe();
    state = map[io->block];
    co_await m_.Maybe();
    const u32 word = WordOf(io->block, state);
    r = shadow_tier_route(state, word, SHADOW_OP_READ, &ctx, &tctx).r;
    co_await m_.Maybe();
    if (r.kind == SHADOW_ROUTE_LEG && (r.legs & SHADOW_MASK_TIERS & ~io->tried)) {
      io->watch = Watch::kTierRead;  // send_tier_read
      Send(io, shadow_word_leg(word), word);
      co_return;
    }
    Leave(epoch_, io->epoch);
  }
  co_await m_.Maybe();
  if (io->tried) {  // sent again after a leg failed it
    const u8 left = static_cast<u8>((r.legs | r.fallback) & ~io->tried);
    if (left)
      r = {SHADOW_ROUTE_LEG, Bit(FirstLeg(left)), 0};
    else if (r.kind != SHADOW_ROUTE_ZERO)
      r.kind = SHADOW_ROUTE_NO_COPY;
  }
  io->counted = false;
  if (tiered_ && (r.kind == SHADOW_ROUTE_LEG || r.kind == SHADOW_ROUTE_BALANCE) && !io->tried) {
    const bool waits = co_await FetchWait(io);
    if (waits) co_return;
  }
  switch (r.kind) {
    case SHADOW_ROUTE_RACE:
      if (m_.random.OneIn(8)) {  // no memory for it
        r.legs = SHADOW_MASK_TARGET;
        break;
      }
      MapRace(io);
      co_return;
    case SHADOW_ROUTE_BALANCE:
      r.legs = Bit(toggle_++ & 1);
      break;
    case SHADOW_ROUTE_LEG:
      break;
    case SHADOW_ROUTE_ZERO:
      io->got.fill(kZero);
      FinishIo(io, Status::kOk);
      co_return;
    default:
      FinishIo(io, Status::kError);
      co_return;
  }
  io->watch = ctx.phase != SHADOW_STEADY || tiered_ ? Watch::kRead : Watch::kNone;
  Send(io, FirstLeg(r.legs));
}

// --------------------------------------------------------------------- writes

// park
bool Volume::Park(Io* io, u32 block) {
  const bool busy = (map[block] & SHADOW_BUSY) || gate_ ||
                    shadow_word_in(WordOf(block, map[block]), SHADOW_LIVES_WAIT);
  if (busy) parked_.Add(io);
  return busy;
}

// map_mirrored_write
void Volume::MapSeveral(Io* io, u8 legs, u32 word) {
  io->watch = Watch::kMirrored;
  io->sent = legs;
  io->unsupported = 0;
  io->pending = static_cast<u8>(__builtin_popcount(legs));
  for (u8 leg = 0; leg < kLegs && !m_.failed; leg++) {
    io->bad[leg] = false;
    if (legs >> leg & 1) SendPart(io, leg, word);
  }
}

// map_write, map_several
Task<> Volume::MapWrite(Io* io) {
  const u32 b = io->block, region = kRegionOf[b];
  const shadow_tier_ctx tctx = tier_ctx_;
  for (;;) {
    io->epoch = co_await Enter(epoch_);
    co_await m_.Maybe();
    io->counted = counting_ != Counting::kNone;  // shadow_fetch_write
    if (io->counted) WritesOf(b)++;
    co_await m_.Maybe();
    const bool gated = gate_;  // entered, then looked at, then the states
    co_await m_.Maybe();
    const shadow_ctx ctx = Ctx(b);
    co_await m_.Maybe();
    const u8 state = map[b];
    co_await m_.Maybe();
    const u32 word = WordOf(b, state);
    const struct shadow_tier_route t = shadow_tier_route(state, word, SHADOW_OP_WRITE, &ctx, &tctx);
    u8 kind = t.r.kind;
    const u8 legs = t.r.legs;
    co_await m_.Maybe();
    if (gated) kind = SHADOW_ROUTE_WAIT;

    if (kind == SHADOW_ROUTE_LEG || kind == SHADOW_ROUTE_MARK || kind == SHADOW_ROUTE_BOTH) {
      if (t.mark) {
        co_await m_.Maybe();
        if (words[b] != word) {
          LeaveWrite(io);
          continue;
        }
        words[b] = word | SHADOW_WORD_WRITTEN;
      }
      // what the shadow takes alone does not touch home
      const u8 next = static_cast<u8>(
          (legs & SHADOW_MASK_BOTH ? shadow_transition(state, SHADOW_EV_WRITE, &ctx).next : state) |
          SHADOW_WROTE);
      co_await m_.Maybe();
      if (next != state && map[b] != state) {
        LeaveWrite(io);
        continue;
      }
      if (next != state) map[b] = next;
      co_await m_.Maybe();
      if (kind != SHADOW_ROUTE_BOTH) {
        io->watch = FirstLeg(legs) < kHomeLegs ? Watch::kCounted : Watch::kTierWrite;
        Send(io, FirstLeg(legs), word);  // map_one_leg
        co_return;
      }
      if (!(intent_ >> region & 1)) {
        LeaveWrite(io);
        Defer(intents_, io);
        co_return;
      }
      intent_recent_ |= 1u << region;
      co_await m_.Maybe();
      MapSeveral(io, legs, word);
      co_return;
    }

    LeaveWrite(io);
    switch (kind) {
      case SHADOW_ROUTE_FILL:
        // a hole of a read-only volume may never have become durable
        if (mode_ != Mode::kRw)
          FinishIo(io, Status::kError);
        else if (io->kind == IoKind::kZeroes)
          FinishIo(io, Status::kOk);
        else
          Defer(fills_, io);
        co_return;
      case SHADOW_ROUTE_WAIT:
        if (mode_ != Mode::kRw && gate_) {
          FinishIo(io, Status::kError);
          co_return;
        }
        if (Park(io, b)) co_return;
        continue;
      case SHADOW_ROUTE_DIRTY:
        if (mode_ != Mode::kRw)
          FinishIo(io, Status::kError);
        else
          Defer(dirties_, io);
        co_return;
      case SHADOW_ROUTE_NO_SPACE:
        FinishIo(io, Status::kNoSpace);
        co_return;
      default:
        FinishIo(io, Status::kError);
        co_return;
    }
  }
}

// map_one
Task<> Volume::MapOne(Io* io) {
  if (io->kind == IoKind::kRead)
    co_await MapRead(io);
  else
    co_await MapWrite(io);
}

// shadow_route_again
Task<> Volume::RouteAgain(Io* io) {
  if (mode_ == Mode::kFail)
    FinishIo(io, Status::kError);
  else
    co_await MapOne(io);
}

// -------------------------------------------------------------- shadow_map

// map_tier_flush
void Volume::MapTierFlush(Io* io, u8 leg) {
  if (!tiered_ || (legs_[leg] >= 0 && !TierUsed(leg))) return FinishIo(io, Status::kOk);
  if (legs_[leg] < 0) return FinishIo(io, TierDirty(leg) ? Status::kError : Status::kOk);
  io->watch = Watch::kFlush;
  Send(io, leg);
}

// map_flush
Task<> Volume::MapFlush(Io* io) {
  const u8 leg = io->nr;
  const shadow_ctx ctx = ctx_;
  if (leg >= kHomeLegs) {
    MapTierFlush(io, leg);
    co_return;
  }
  bool idle = ctx.phase == SHADOW_STEADY ? leg != ctx.steady_leg : (ctx.missing >> leg & 1);
  const bool missing = ctx.phase != SHADOW_STEADY && (ctx.missing >> leg & 1);
  if (missing && (OnlyOn(leg) || given_up_)) {
    FinishIo(io, Status::kError);
    co_return;
  }
  if (ctx.phase != SHADOW_STEADY && !missing && no_flush_) {
    const bool counts = co_await Counts(leg);
    co_await m_.Maybe();
    idle = !counts && !given_up_ && (no_flush_ >> leg & 1);
  }
  if (idle || legs_[leg] < 0) {
    FinishIo(io, Status::kOk);
    co_return;
  }
  if (ctx.phase != SHADOW_STEADY) io->watch = Watch::kFlush;
  Send(io, leg);
}

/// The legs that no flush may leave out, as things are now.
u32 Volume::FlushDevices() const {
  u32 devices = 0;
  for (u8 leg = 0; leg < kLegs; leg++) {
    const bool home = phase() == SHADOW_STEADY
                          ? leg == ctx_.steady_leg
                          : !((ctx_.missing | no_flush_) >> leg & 1) || OnlyOn(leg);
    if (legs_[leg] >= 0 && (leg < kHomeLegs ? home : tiered_ && TierDirty(leg)))
      devices |= 1u << legs_[leg];
  }
  return devices;
}

// __send_empty_flush: an empty bio for each leg of the table, the first of which is a clone of the
// request and has its sector. The data of the request goes on when all are over.
Task<> Volume::Submit(Io* io) {
  if (io->kind != IoKind::kFlush && !io->preflush) {
    co_await Map(io);
    co_return;
  }
  const u32 n = num_flush_;
  io->pending = static_cast<u8>(n);
  io->part_failed = false;
  for (u8 nr = 0; nr < n && !m_.failed; nr++) {
    Io* const part = owner_.clone(owner_.self);
    part->kind = IoKind::kFlush;
    part->nr = nr;
    part->block = nr ? 0 : io->block;
    part->parent = io;
    co_await m_.Maybe();
    co_await Map(part);
  }
}

// map_discard: whole blocks to the worker, a piece of one to the leg that holds everything
Task<> Volume::MapDiscard(Io* io) {
  if (io->count) {
    Defer(discards_, io);
    co_return;
  }
  const u8 leg = lut_[1][map[io->block] | SHADOW_WROTE];
  co_await m_.Maybe();
  if (leg == kSlow || m_.random.OneIn(2))
    FinishIo(io, Status::kOk);  // or: cannot discard
  else
    Send(io, leg);
}

// map_shadowed
Task<bool> Volume::MapShadowed(Io* io) {
  const shadow_tier_ctx tctx = tier_ctx_;
  const bool read = io->kind == IoKind::kRead;
  io->epoch = co_await Enter(epoch_);
  co_await m_.Maybe();
  const bool gated = gate_;
  co_await m_.Maybe();
  const u8 state = map[io->block];
  co_await m_.Maybe();
  const u32 word = WordOf(io->block, state);
  co_await m_.Maybe();
  if ((state & (read ? SHADOW_READ : SHADOW_WROTE)) && mode_ != Mode::kFail &&
      shadow_word_serves(state, word, tctx.tiers)) {
    if (read || (shadow_life(word) == SHADOW_DIRTY && !(state & SHADOW_BUSY) && !gated)) {
      co_await m_.Maybe();
      io->watch = read ? Watch::kTierRead : Watch::kTierWrite;
      Send(io, shadow_word_leg(word), word);
      co_return true;
    }
  }
  Leave(epoch_, io->epoch);
  co_return false;
}

Task<> Volume::Map(Io* io) {
  io->watch = Watch::kNone;
  io->tried = 0;
  io->waited = io->counted = false;
  // an empty bio has no position, whatever its sector is; a flush is a write for the rest
  if (io->cells && io->kind != IoKind::kZeroes && io->kind != IoKind::kDiscard) {
    const u8 leg = lut_[io->kind != IoKind::kRead][map[io->block]];
    co_await m_.Maybe();
    if (leg != kSlow) {
      Send(io, leg);
      co_return;
    }
    if (map[io->block] & SHADOW_SHADOW) {
      const bool sent = co_await MapShadowed(io);
      if (sent) co_return;
    }
  }
  // map_slow
  if (mode_ == Mode::kFail)
    FinishIo(io, Status::kError);
  else if (io->kind == IoKind::kFlush)
    co_await MapFlush(io);
  else if (io->kind == IoKind::kDiscard)
    co_await MapDiscard(io);
  else
    co_await MapOne(io);
}

}  // namespace sim
