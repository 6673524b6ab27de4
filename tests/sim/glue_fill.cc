// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-fill.c: holes become data.
#include "tests/sim/volume.h"

namespace sim {

/// Cells of a run of blocks, the volume's last one possibly short: shadow_run_sectors.
CellMask Volume::RunCells(u32 first, u32 count) const {
  return CellsBelow((first + count) * kCellsPerBlock) & ~CellsBelow(first * kCellsPerBlock) &
         CellsBelow(len_);
}

// zero_run
DeviceOp& Volume::ZeroRun(u8 leg, u32 first, u32 count, bool written) {
  if (legs_[leg] < 0) m_.Fail("zeroes were sent to a leg that is not there");
  DeviceOp& op = m_.NewOp(OpKind::kWrite, static_cast<u8>(legs_[leg] < 0 ? 0 : legs_[leg]));
  op.leg = leg;
  op.cells = RunCells(first, count);
  op.zeroes = !written;
  for (CellMask m = op.cells; m; m &= m - 1) op.value[static_cast<u32>(__builtin_ctz(m))] = kZero;
  return op;
}

// zero_leg: waits; false: the leg has failed
Task<bool> Volume::ZeroLeg(u8 leg, u32 first, u32 count) {
  bool written = no_zeroes_ >> leg & 1;
  for (;;) {
    DeviceOp& op = ZeroRun(leg, first, count, written);
    m_.Begin(op);
    const bool ok = co_await m_.Finish(op);
    if (ok && written) no_zeroes_ |= static_cast<u8>(1u << leg);
    if (ok || written) co_return ok;
    written = true;
  }
}

// fill_again: legs that failed get zeroes as data before they are believed to have failed
Task<> Volume::FillAgain(const IoList& claimed) {
  for (u32 i = 0; i < claimed.n; i++)
    for (u8 leg = 0; leg < kHomeLegs; leg++) {
      Io* const io = claimed.io[i];
      if (!io->bad[leg]) continue;
      DeviceOp& op = ZeroRun(leg, io->block, 1, true);
      m_.Begin(op);
      const bool ok = co_await m_.Finish(op);
      io->bad[leg] = !ok;
      if (ok) no_zeroes_ |= static_cast<u8>(1u << leg);
    }
}

// fill_start, zeroed
void Volume::FillStart(Io* io, u32* out) {
  shadow_ctx ctx = Ctx(io->block);
  ctx.missing |= Avoided(io->block);
  const shadow_step done =
      shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
  io->filling = done.legal ? shadow_copies(done.next, &ctx) : 0;
  for (u8 leg = 0; leg < kHomeLegs; leg++) {
    io->bad[leg] = false;
    if (!(io->filling >> leg & 1)) continue;
    ++*out;
    DeviceOp& op = ZeroRun(leg, io->block, 1, no_zeroes_ >> leg & 1);
    op.who = out;
    op.what = io;
    op.end = [](void* who, DeviceOp& o) {
      static_cast<Io*>(o.what)->bad[o.leg] = !o.ok;
      --*static_cast<u32*>(who);
    };
    m_.Begin(op);
  }
}

// fill_to_home
Task<bool> Volume::FillToHome(Io* io) {
  u8 lost = 0;
  for (u32 leg = 0; leg < kHomeLegs; leg++)
    if (io->bad[leg]) lost |= static_cast<u8>(1u << leg);
  co_await PhaseRead();
  lost |= Avoided(io->block);
  unflushed_ |= io->filling;
  co_await m_.Maybe();
  shadow_ctx ctx = Ctx(io->block);
  ctx.missing |= lost;  // in one step: a half-filled block is never called mirrored
  const shadow_step done =
      shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
  const u8 copies = done.legal ? shadow_copies(done.next, &ctx) : 0;
  bool filled = copies && !(copies & (lost | ~io->filling));
  if (copies != SHADOW_MASK_BOTH) sole_ |= copies;
  if (filled) filled = co_await Apply(io->block, SHADOW_EV_FILL_DONE, nullptr, lost);
  phase_readers_--;
  co_return filled;
}

// shadow_do_fills
Task<> Volume::DoFills(IoList& ios) {
  IoList claimed, filled;
  u32 out = 0;
  for (u32 i = 0; i < ios.n; i++) {
    const bool mine = co_await Apply(ios.io[i]->block, SHADOW_EV_FILL_START);
    if (!mine) {
      co_await RouteAgain(ios.io[i]);  // somebody else fills or has filled it
      continue;
    }
    claimed.Add(ios.io[i]);
    FillStart(ios.io[i], &out);
  }
  co_await m_.Until(out, [](const u32& n) { return !n; });
  co_await FillAgain(claimed);

  for (u32 i = 0; i < claimed.n; i++) {
    const bool ok = co_await FillToHome(claimed.io[i]);
    if (ok) {
      filled.Add(claimed.io[i]);
      continue;
    }
    co_await ApplyOwn(claimed.io[i]->block, SHADOW_EV_FILL_FAILED);
    FinishIo(claimed.io[i], Status::kError);
  }
  bool ok = true;
  if (!filled.empty()) ok = co_await Commit();
  for (u32 i = 0; i < filled.n; i++) {
    Io* const io = filled.io[i];
    co_await ApplyOwn(io->block, ok ? SHADOW_EV_RELEASE : SHADOW_EV_FILL_FAILED);
    if (!ok) {
      FinishIo(io, Status::kError);
      continue;
    }
    fills++;
    co_await RouteAgain(io);
  }
  ReleaseParked();
}

// shadow_fill_run
Task<bool> Volume::FillRun(u32 first, u32 count) {
  shadow_ctx ctx = Ctx(first);
  ctx.missing |= Avoided(first);
  const shadow_step to = shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
  const u8 legs = to.legal ? shadow_copies(to.next, &ctx) : 0;
  bool ok = legs;
  for (u8 leg = 0; leg < kHomeLegs && ok; leg++) {
    if (!(legs >> leg & 1)) continue;
    ok = co_await ZeroLeg(leg, first, count);
  }
  co_await PhaseRead();
  const u8 avoided = Avoided(first);
  ctx = Ctx(first);
  ctx.missing |= avoided;
  const shadow_step done =
      shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
  const u8 copies = done.legal ? shadow_copies(done.next, &ctx) : 0;
  ok = ok && copies && !(copies & ~legs);
  unflushed_ |= copies;
  if (copies != SHADOW_MASK_BOTH) sole_ |= copies;
  co_await m_.Maybe();
  for (u32 b = first; b < first + count && ok; b++)
    ok = co_await Apply(b, SHADOW_EV_FILL_DONE, nullptr, avoided);
  phase_readers_--;
  if (ok) ok = co_await Commit();
  for (u32 b = first; b < first + count; b++)
    co_await ApplyOwn(b, ok ? SHADOW_EV_RELEASE : SHADOW_EV_FILL_FAILED);
  if (ok) fills += count;
  ReleaseParked();
  co_return ok;
}

}  // namespace sim
