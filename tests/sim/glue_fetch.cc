// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-fetch.c: reads that wait for a copy of their block.
#include <algorithm>

#include "kernel/core/shadow_args.h"
#include "tests/sim/volume.h"

namespace sim {

// fetch_of
Volume::Fetch* Volume::FetchOf(u32 block) {
  for (Fetch& f : fetches_)
    if (f.live && f.copy.block == block) return &f;
  return nullptr;
}

// may_ask
bool Volume::MayAsk(const Io* io, u8 leg) const {
  const shadow_slots& slots = slots_[leg - SHADOW_LEG_TIER1];
  return !io->waited && nr_fetches_ < fetches_.size() && slots.used + nr_fetches_ < slots.nr &&
         !words[io->block] && !(tier_failed_ >> leg & 1);
}

// wait_for_copy, ask: all of it under v->lock
bool Volume::WaitForCopy(Io* io, u8 leg) {
  if (tier_suspended_ || tier_stopping_ || mode_ != Mode::kRw) return false;
  Fetch* f = FetchOf(io->block);
  const bool asks = !f && MayAsk(io, leg);
  if (asks) {
    f = std::find_if(fetches_.begin(), fetches_.end(),
                     [](const Fetch& free) { return !free.live; });
    *f = {};
    f->live = true;
    f->leg = leg;
    f->round = {&f->copy, 1, 0};
    f->copy.round = &f->round;
    f->copy.block = io->block;
    f->copy.type = SHADOW_MSG_PROMOTE;
    nr_fetches_++;
  }
  if (!f) return false;
  io->waited = true;
  ReadsOf(io->block)--;
  f->waiting.Add(io);
  if (asks) m_.Spawn("fetch", [this, f] { return FetchWork(*f); });
  return true;
}

// shadow_fetch_wait
Task<bool> Volume::FetchWait(Io* io) {
  const u8 leg = fetch_leg_;
  if (!leg) co_return false;
  co_await m_.Maybe();
  const bool company = ++ReadsOf(io->block) > 1;
  co_await m_.Maybe();
  if ((company || words[io->block]) && WaitForCopy(io, leg)) co_return true;
  io->counted = true;
  co_return false;
}

// shadow_fetch_write_over
void Volume::FetchWriteOver(Io* io) {
  if (io->counted) WritesOf(io->block)--;
  io->counted = false;
}

// leave_write
void Volume::LeaveWrite(Io* io) {
  FetchWriteOver(io);
  Leave(epoch_, io->epoch);
}

// fetch_work
Task<> Volume::FetchWork(Fetch& f) {
  co_await m_.Yield();
  co_await TierFetch(f);
  co_await m_.Maybe();
  IoList ios;
  ios.Take(f.waiting);
  f.live = false;
  nr_fetches_--;
  for (u32 i = 0; i < ios.n; i++) {
    co_await m_.Maybe();
    co_await RouteAgain(ios.io[i]);
  }
}

// shadow_fetch_set
Task<> Volume::SetFetch(u8 leg) {
  if (!leg) {
    counting_ = Counting::kNone;
  } else if (counting_ == Counting::kNone) {
    counting_ = Counting::kBegun;
    co_await DrainEpoch(epoch_);
    counting_ = Counting::kAll;
  }
  co_await m_.Lock(lock_commit_);
  fetch_leg_ = leg;
  BuildLut();
  lock_commit_ = false;
}

}  // namespace sim
