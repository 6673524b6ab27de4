// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-phase.c: cut-over, rollback, commit, abort, retire.
#include "tests/sim/volume.h"

namespace sim {

// may_drop_origin
const char* Volume::MayDropOrigin() const {
  return homes_[SHADOW_ORIGIN] + homes_[SHADOW_COPYING] ? "blocks live on the origin only"
                                                        : nullptr;
}

// tail_has_shadows
bool Volume::TailHasShadows() const {
  for (u32 b = tail_; b < nr_blocks_; b++)
    if (tiered_ && words[b]) return true;
  return false;
}

// may_drop_target
const char* Volume::MayDropTarget() const {
  if (TailData() || TailHasShadows()) return "blocks beyond the old end hold data";
  return homes_[SHADOW_TARGET] + homes_[SHADOW_RETIRING] + homes_[SHADOW_REMIRRORING]
             ? "blocks live on the target only"
             : nullptr;
}

// phase_begin: all states durable, nobody changes them
Task<const char*> Volume::PhaseBegin(const char* (Volume::*may)() const) {
  co_await m_.Lock(lock_commit_);
  const char* error;
  for (;;) {
    const bool ok = co_await CommitLocked();
    if (!ok) {
      error = "the metadata cannot be written";
      break;
    }
    co_await PhaseWrite();
    error = (this->*may)();
    co_await m_.Maybe();
    if (!error && !states_.dirty) co_return nullptr;
    phase_writer_ = false;
    if (error) break;
  }
  lock_commit_ = false;
  co_return error;
}

// phase_end
void Volume::PhaseEnd() {
  phase_writer_ = false;
  lock_commit_ = false;
}

// set_phase
Task<const char*> Volume::SetPhase(const shadow_superblock& sb, u8 steady_leg) {
  const bool ok = co_await WriteSb(sb);
  if (!ok) {
    co_await SetMode(Mode::kRo);
    co_return "the superblock could not be written";
  }
  shadow_ctx ctx = ctx_;
  ctx.phase = static_cast<u8>(sb.phase);
  ctx.steady_leg = steady_leg;
  SetCtx(ctx);
  co_return nullptr;
}

// shadow_cutover
Task<const char*> Volume::Cutover() {
  if (phase() != SHADOW_MIGRATING) co_return "the phase is not migrating";
  const char* error = co_await PhaseBegin(&Volume::MayDropOrigin);
  if (error) co_return error;
  shadow_superblock sb = sb_;
  sb.phase = SHADOW_GRACE;
  error = co_await SetPhase(sb, SHADOW_LEG_ORIGIN);
  PhaseEnd();
  co_return error;
}

// shadow_rollback
Task<const char*> Volume::Rollback() {
  if (phase() != SHADOW_GRACE) co_return "the phase is not grace";
  const char* error = co_await PhaseBegin(&Volume::MayDropTarget);
  if (error) co_return error;
  shadow_superblock sb = sb_;
  sb.phase = SHADOW_MIGRATING;
  error = co_await SetPhase(sb, SHADOW_LEG_ORIGIN);
  PhaseEnd();
  co_return error;
}

// shadow_finish
Task<const char*> Volume::FinishOn(u8 keep) {
  if (phase() == SHADOW_STEADY) co_return "no modification is under way";
  if (keep == SHADOW_LEG_TARGET && phase() != SHADOW_GRACE) co_return "cut over first";
  if (legs_[keep] < 0) co_return "the leg to be kept is missing";
  co_await StopCopies();
  const char* error = co_await PhaseBegin(keep == SHADOW_LEG_TARGET ? &Volume::MayDropOrigin
                                                                    : &Volume::MayDropTarget);
  if (error) co_return error;
  shadow_superblock sb = sb_;
  sb.phase = SHADOW_STEADY;
  if (keep == SHADOW_LEG_TARGET)
    sb.legs[SHADOW_LEG_ORIGIN] = sb.legs[SHADOW_LEG_TARGET];
  else
    sb.nr_sectors = sb.old_sectors;
  sb.legs[SHADOW_LEG_TARGET] = {};
  sb.old_sectors = sb.nr_sectors;
  sb.tracked_sectors = sb.nr_sectors;
  error = co_await SetPhase(sb, keep);
  if (!error) tidy_due_ = true;
  PhaseEnd();
  co_return error;
}

// shadow_retire
Task<const char*> Volume::Retire(u32 first, u32 end) {
  if (phase() == SHADOW_STEADY) co_return "no modification is under way";
  co_await PhaseRead();
  unflushed_ |= SHADOW_MASK_TARGET;
  co_await m_.Maybe();
  for (u32 b = first; b < end; b++) co_await Apply(b, SHADOW_EV_RETIRE_START);
  phase_readers_--;
  const bool ok = co_await Commit();
  for (u32 b = first; b < end; b++)
    co_await Apply(b, ok ? SHADOW_EV_RETIRE_DONE : SHADOW_EV_RETIRE_FAILED);
  co_return ok ? nullptr : "the metadata cannot be written";
}

// shadow_set_policy
Task<> Volume::SetPolicy(u8 policy) {
  co_await m_.Lock(lock_commit_);
  shadow_ctx ctx = ctx_;
  ctx.policy = policy;
  SetCtx(ctx);
  lock_commit_ = false;
}

}  // namespace sim
