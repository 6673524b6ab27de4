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
    const bool usable = mode_ != Mode::kFail;
    lut_[0][i] = usable && r.kind == SHADOW_ROUTE_LEG && !r.fallback && (i & SHADOW_READ)
                     ? FirstLeg(r.legs)
                     : kSlow;
    lut_[1][i] =
        usable && ctx.phase == SHADOW_STEADY && w.kind == SHADOW_ROUTE_LEG && (i & SHADOW_WROTE)
            ? FirstLeg(w.legs)
            : kSlow;
  }
}

// ---------------------------------------------------------------------- epoch

// shadow_epoch_enter: the index may be old when the counter grows
Task<u8> Volume::Enter() {
  const u8 i = epoch_.index;
  co_await m_.Maybe();
  epoch_.entered[i]++;
  co_return i;
}

// shadow_drain
Task<> Volume::Drain() {
  co_await m_.Lock(epoch_.lock);
  const u8 old = epoch_.index;
  if (old)
    co_await m_.Until(epoch_, [](const Epoch& e) { return e.entered[0] == e.left[0]; });
  else
    co_await m_.Until(epoch_, [](const Epoch& e) { return e.entered[1] == e.left[1]; });
  epoch_.index = old ^ 1;
  if (old)
    co_await m_.Until(epoch_, [](const Epoch& e) { return e.entered[1] == e.left[1]; });
  else
    co_await m_.Until(epoch_, [](const Epoch& e) { return e.entered[0] == e.left[0]; });
  epoch_.lock = false;
}

// -------------------------------------------------------------- sending, ends

/// The request's cells go to one leg: bio_set_dev and submit.
void Volume::SendPart(Io* io, u8 leg, EndFn end) {
  static constexpr OpKind kKinds[] = {OpKind::kRead, OpKind::kWrite, OpKind::kWrite, OpKind::kFlush,
                                      OpKind::kDiscard};
  if (legs_[leg] < 0) return m_.Fail("a request was sent to a leg that is not there");
  DeviceOp& op = m_.NewOp(kKinds[static_cast<int>(io->kind)], static_cast<u8>(legs_[leg]));
  op.leg = leg;
  op.cells = io->cells;
  op.fua = io->fua;
  op.end = end;
  op.who = this;
  op.what = io;
  if (io->kind != IoKind::kRead)
    for (CellMask m = op.cells; m; m &= m - 1) {
      const u32 c = static_cast<u32>(__builtin_ctz(m));
      op.value[c] = io->kind == IoKind::kWrite ? ValueOf(io->id, c) : kZero;
    }
  m_.Begin(op);
}

// send_to
void Volume::Send(Io* io, u8 leg) {
  io->leg = leg;
  SendPart(io, leg);
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
  owner_.answer(owner_.self, parent, parent->part_failed ? Status::kError : Status::kOk);
  owner_.free(owner_.self, parent);
}

// shadow_end_io, mirrored_clone_end
void Volume::EndIo(void* who, DeviceOp& op) {
  Volume& v = *static_cast<Volume*>(who);
  Io* const io = static_cast<Io*>(op.what);
  const Status status = op.ok ? Status::kOk : Status::kError;
  if (op.kind == OpKind::kRead && op.ok)
    for (u32 i = 0; i < kCellsPerBlock; i++) io->got[i] = op.value[io->block * kCellsPerBlock + i];
  switch (io->watch) {
    case Watch::kNone:
      return v.FinishIo(io, status);
    case Watch::kCounted:
      v.Leave(io->epoch);
      return v.FinishIo(io, status);
    case Watch::kMirrored:
      io->bad[op.leg] = !op.ok;
      if (!--io->pending) v.MirroredWriteOver(io);
      return;
    case Watch::kRead:
    case Watch::kFlush:
      if (op.ok) return v.FinishIo(io, status);
      if (io->watch == Watch::kRead) io->tried |= Bit(io->leg);
      return v.Defer(v.failed_, io);
  }
}

// mirrored_write_over
void Volume::MirroredWriteOver(Io* io) {
  const bool origin = io->bad[SHADOW_LEG_ORIGIN], target = io->bad[SHADOW_LEG_TARGET];
  const u8 epoch = io->epoch;
  if (origin != target) {
    m_.Spawn("end of a failed write", [this, io, epoch] {
      return [](Volume& v, Io* failed, u8 index) -> Task<> {
        // listed and counted before it leaves: who drained sees every failure until then
        v.failing_++;
        v.Defer(v.failed_, failed);
        co_await v.m_.Maybe();
        v.Leave(index);
      }(*this, io, epoch);
    });
    return;
  }
  Leave(epoch);
  FinishIo(io, origin ? Status::kError : Status::kOk);
}

// ---------------------------------------------------------------------- reads

// map_race
void Volume::MapRace(Io* io) {
  io->pending = kHomeLegs;
  io->won = false;
  strays_++;
  for (u8 leg = 0; leg < kHomeLegs; leg++) {
    SendPart(io, leg, RaceEnd);
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
  co_await m_.Maybe();
  const u8 state = map[io->block];
  map[io->block] |= SHADOW_READ;
  struct shadow_route r = shadow_route(state, SHADOW_OP_READ, &ctx);
  co_await m_.Maybe();
  io->tried = 0;
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
  io->watch = ctx.phase != SHADOW_STEADY ? Watch::kRead : Watch::kNone;
  Send(io, FirstLeg(r.legs));
}

// --------------------------------------------------------------------- writes

// park
bool Volume::Park(Io* io, u32 block) {
  const bool busy = (map[block] & SHADOW_BUSY) || gate_;
  if (busy) parked_.Add(io);
  return busy;
}

// map_write, map_both
Task<> Volume::MapWrite(Io* io) {
  const u32 b = io->block, region = kRegionOf[b];
  for (;;) {
    io->epoch = co_await Enter();
    co_await m_.Maybe();
    const shadow_ctx ctx = Ctx(b);
    co_await m_.Maybe();
    const u8 state = map[b];
    u8 kind = shadow_route(state, SHADOW_OP_WRITE, &ctx).kind;
    const u8 legs = shadow_route(state, SHADOW_OP_WRITE, &ctx).legs;
    co_await m_.Maybe();
    if (gate_) kind = SHADOW_ROUTE_WAIT;  // entered, then looked at

    if (kind == SHADOW_ROUTE_LEG || kind == SHADOW_ROUTE_MARK || kind == SHADOW_ROUTE_BOTH) {
      const u8 next = shadow_transition(state, SHADOW_EV_WRITE, &ctx).next | SHADOW_WROTE;
      co_await m_.Maybe();
      if (next != state && map[b] != state) {
        Leave(io->epoch);
        continue;
      }
      if (next != state) map[b] = next;
      co_await m_.Maybe();
      if (kind != SHADOW_ROUTE_BOTH) {
        io->watch = Watch::kCounted;
        Send(io, FirstLeg(legs));
        co_return;
      }
      if (!(intent_ >> region & 1)) {
        Leave(io->epoch);
        Defer(intents_, io);
        co_return;
      }
      intent_recent_ |= 1u << region;
      co_await m_.Maybe();
      io->watch = Watch::kMirrored;  // map_mirrored_write
      io->pending = 2;
      SendPart(io, SHADOW_LEG_ORIGIN);
      if (!m_.failed) Send(io, SHADOW_LEG_TARGET);
      co_return;
    }

    Leave(io->epoch);
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

// map_flush, once for each leg of the table
Task<> Volume::MapFlush(Io* io) {
  const u32 n = num_flush_;
  io->pending = static_cast<u8>(n);
  io->part_failed = false;
  for (u8 leg = 0; leg < n; leg++) {
    Io* const part = owner_.clone(owner_.self);
    part->kind = IoKind::kFlush;
    part->parent = io;
    part->cells = 0;
    part->watch = Watch::kNone;
    co_await m_.Maybe();
    const shadow_ctx ctx = ctx_;
    const bool idle = ctx.phase == SHADOW_STEADY ? leg != ctx.steady_leg : (ctx.missing >> leg & 1);
    const bool missing = ctx.phase != SHADOW_STEADY && (ctx.missing >> leg & 1);
    if (mode_ == Mode::kFail || (missing && (OnlyOn(leg) || given_up_))) {
      FinishIo(part, Status::kError);
    } else if (idle || legs_[leg] < 0) {
      FinishIo(part, Status::kOk);
    } else {
      if (ctx.phase != SHADOW_STEADY) part->watch = Watch::kFlush;
      Send(part, leg);
    }
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

Task<> Volume::Map(Io* io) {
  io->watch = Watch::kNone;
  if (io->kind == IoKind::kFlush) {
    co_await MapFlush(io);
    co_return;
  }
  if (io->kind == IoKind::kRead || io->kind == IoKind::kWrite) {
    const u8 leg = lut_[io->kind == IoKind::kWrite][map[io->block]];
    co_await m_.Maybe();
    if (leg != kSlow) {
      Send(io, leg);
      co_return;
    }
  }
  // map_slow
  if (mode_ == Mode::kFail)
    FinishIo(io, Status::kError);
  else if (io->kind == IoKind::kDiscard)
    co_await MapDiscard(io);
  else
    co_await MapOne(io);
}

}  // namespace sim
