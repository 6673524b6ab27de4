// SPDX-License-Identifier: GPL-2.0-only
// kernel/dm-shadow-mover.c: copies blocks from leg to leg, in the order user space asked for.
#include "kernel/core/shadow_args.h"
#include "tests/sim/volume.h"

namespace sim {

// --------------------------------------------------------- the end of a copy

// settle
Task<bool> Volume::Settle(Job* job) {
  bool again = false;
  co_await PhaseRead();
  const bool failed = home_failed_ >> (job->from ^ 1) & 1;
  unflushed_ |= SHADOW_MASK_BOTH;
  co_await m_.Maybe();
  for (u32 b = job->first; b < job->first + job->count; b++) {
    shadow_step step;
    if (!IsMine(*job, b)) continue;
    const bool legal =
        co_await Apply(b, failed ? SHADOW_EV_COPY_FAILED : SHADOW_EV_COPY_DONE, &step);
    if (legal && !failed && (step.actions & SHADOW_ACT_COPY_AGAIN)) {
      again = true;
      continue;
    }
    job->mine &= ~(1u << (b - job->first));  // or it became a hole meanwhile
    copied += legal;
  }
  phase_readers_--;
  CommitSoon();
  co_return again;
}

// copy_done
Task<> Volume::CopyDone(Job* job) {
  bool again = false;
  if (!job->failed) {
    again = co_await Settle(job);
  } else if (job->count > 1) {
    job->single = again = true;
  } else {
    co_await Apply(job->first, SHADOW_EV_COPY_FAILED);  // give_up
  }
  inflight_ -= job->count;
  job->running = false;
  if (job->waited_for) {
    job->done = true;
  } else if (again) {
    job->listed_again = true;
  } else {
    job->used = false;
  }
}

// dm_kcopyd: reads, then writes, then calls back in a thread of its own
void Volume::CopyRead(void* who, DeviceOp& op) {
  Volume& v = *static_cast<Volume*>(who);
  Job* const job = static_cast<Job*>(op.what);
  job->failed = !op.ok;
  if (!op.ok) return v.m_.Spawn("end of a copy", [&v, job] { return v.CopyDone(job); });
  const u8 to = job->from == SHADOW_LEG_ORIGIN ? SHADOW_LEG_TARGET : SHADOW_LEG_ORIGIN;
  DeviceOp& write = v.m_.NewOp(OpKind::kWrite, static_cast<u8>(v.legs_[to]));
  write.cells = op.cells;
  for (CellMask m = op.cells; m; m &= m - 1) {
    const u32 c = static_cast<u32>(__builtin_ctz(m));
    write.value[c] = op.value[c];
  }
  write.end = CopyWritten;
  write.who = who;
  write.what = job;
  v.m_.Begin(write);
}

void Volume::CopyWritten(void* who, DeviceOp& op) {
  Volume& v = *static_cast<Volume*>(who);
  Job* const job = static_cast<Job*>(op.what);
  job->failed = !op.ok;
  v.m_.Spawn("end of a copy", [&v, job] { return v.CopyDone(job); });
}

// ------------------------------------------------------------ starting copies

// new_job: listed from before its first block is claimed
Volume::Job* Volume::NewJob(u8 from, u32 first) {
  for (auto& j : jobs_) {
    if (j.used) continue;
    j = {};
    j.used = j.running = true;
    j.from = from;
    j.first = first;
    j.seq = next_seq_++;
    return &j;
  }
  std::abort();
}

// start_job
void Volume::StartJob(Job* job) {
  if (legs_[0] < 0 || legs_[1] < 0) return m_.Fail("a copy with a missing leg");
  DeviceOp& op = m_.NewOp(OpKind::kRead, static_cast<u8>(legs_[job->from]));
  op.cells = RunCells(job->first, job->count);
  op.end = CopyRead;
  op.who = this;
  op.what = job;
  inflight_ += job->count;
  m_.Begin(op);
}

// put_off
void Volume::PutOff(const std::array<Job*, kBlocks>& jobs, u32 n) {
  for (u32 i = 0; i < n; i++) {
    jobs[i]->running = false;
    jobs[i]->listed_again = true;
  }
}

// start_jobs
void Volume::StartJobs(const std::array<Job*, kBlocks>& jobs, u32 n) {
  if (failing_) return PutOff(jobs, n);
  for (u32 i = 0; i < n; i++) StartJob(jobs[i]);
}

// copy_held
Task<> Volume::CopyHeld(u32 block, u8 from, u8 tries) {
  Job* const job = NewJob(from, block);
  job->tries = tries;
  const bool held = co_await Apply(block, SHADOW_EV_HOLD);
  if (!held) {  // drop_job
    job->used = job->running = false;
    co_return;
  }
  AddBlock(job);
  co_await Apply(block, SHADOW_EV_COPY_RETRY);
  co_await Drain();
  co_await m_.Maybe();
  if (failing_) {
    co_await Apply(block, SHADOW_EV_UNHOLD);
    PutOff({job}, 1);
  } else {
    job->waited_for = true;
    StartJob(job);
    if (m_.failed) co_return;
    co_await m_.UntilSet(job->done);
    job->used = false;
  }
  ReleaseParked();
}

// copy_again
Task<> Volume::CopyAgain(Job* old) {
  std::array<Job*, kBlocks> runs{};
  u32 n = 0;
  const bool held = old->tries + 1u >= kMaxTries;
  for (u32 b = old->first; b < old->first + old->count; b++) {
    const auto home = shadow_home(map[b]);
    if (!IsMine(*old, b)) continue;
    if (home != SHADOW_COPYING && home != SHADOW_REMIRRORING) continue;
    co_await m_.Maybe();
    if (held) {
      co_await CopyHeld(b, old->from, static_cast<u8>(old->tries + 1));
      continue;
    }
    Job* job = n ? runs[n - 1] : nullptr;
    if (!job || old->single || job->first + job->count != b) {
      job = runs[n++] = NewJob(old->from, b);
      job->tries = static_cast<u8>(old->tries + 1);
    }
    const bool legal = co_await Apply(b, SHADOW_EV_COPY_RETRY);
    if (legal) {
      AddBlock(job);
    } else if (!job->count) {  // drop_job
      job->used = job->running = false;
      n--;
    }
  }
  if (n) co_await Drain();
  co_await m_.Maybe();
  StartJobs(runs, n);
  old->used = false;
}

// claim
Task<Volume::Job*> Volume::Claim(bool* more) {
  *more = false;
  if (!nr_requests_ || requests_[0].type == SHADOW_MSG_FILL) co_return nullptr;
  const Request q = requests_[0];
  const u8 from = q.type == SHADOW_MSG_COPY ? SHADOW_LEG_ORIGIN : SHADOW_LEG_TARGET;
  const shadow_event event =
      from == SHADOW_LEG_ORIGIN ? SHADOW_EV_COPY_START : SHADOW_EV_REMIRROR_START;
  const u32 end = q.end < nr_blocks_ ? q.end : nr_blocks_;
  u32 b = q.next;
  Job* job = NewJob(from, b);
  for (; b < end; b++) {
    if (job->count && (job->count >= inflight_limit_ || !Adjoins(b - 1))) break;
    const u8 failed = home_failed_ & static_cast<u8>(1u << (from ^ 1));
    const bool legal = co_await Apply(b, event, nullptr, failed);
    if (legal) {
      if (!job->count) job->first = b;
      AddBlock(job);
    } else if (job->count) {
      break;
    }
  }
  if (!job->count) {  // drop_job
    job->used = job->running = false;
    job = nullptr;
  }
  // shadow_queue_advance
  requests_[0].next = b;
  if (b >= end)
    for (u32 i = 1; i < nr_requests_; i++) requests_[i - 1] = requests_[i];
  nr_requests_ -= b >= end;
  *more = nr_requests_;
  co_return job;
}

// start_some
Task<> Volume::StartSome() {
  std::array<Job*, kBlocks> runs{};
  u32 n = 0, taken = 0;
  bool more = true;
  while (more && n < kBlocks && MayClaim() && (!taken || taken < inflight_limit_)) {
    Job* const job = co_await Claim(&more);
    if (!job) continue;
    runs[n++] = job;
    taken += job->count;
  }
  if (!n) co_return;
  co_await Drain();
  co_await m_.Maybe();
  StartJobs(runs, n);
}

// do_fill_request
Task<bool> Volume::DoFillRequest() {
  if (!nr_requests_ || requests_[0].type != SHADOW_MSG_FILL) co_return false;
  const Request q = requests_[0];
  const u32 end = q.end < nr_blocks_ ? q.end : nr_blocks_;
  bool failed = false;
  u32 b = q.next;
  while (b < end && shadow_home(map[b]) != SHADOW_HOLE) b++;
  const u32 first = b;
  const u32 run_end = first < tail_ && tail_ < end ? tail_ : end;
  while (b < run_end && (b == first || Adjoins(b - 1))) {
    const bool mine = co_await Apply(b, SHADOW_EV_FILL_START);
    if (!mine) break;
    b++;
  }
  if (b > first) {
    const bool ok = co_await FillRun(first, b - first);
    failed = !ok;
  } else if (b < run_end) {
    b++;  // busy: somebody else is at it
  }
  const bool over = b >= end || failed;
  requests_[0].next = b;
  if (over)
    for (u32 i = 1; i < nr_requests_; i++) requests_[i - 1] = requests_[i];
  nr_requests_ -= over;
  co_return true;
}

// ----------------------------------------------------------------- the thread

// next_again
Volume::Job* Volume::NextAgain() const {
  const Job* first = nullptr;
  for (const auto& j : jobs_)
    if (j.used && j.listed_again && (!first || j.seq < first->seq)) first = &j;
  return const_cast<Job*>(first);
}

// idle
bool Volume::Idle() const {
  for (const auto& j : jobs_)
    if (j.used && (j.running || j.listed_again)) return false;
  return true;
}

// mover_thread
Task<> Volume::MoverThread() {
  for (;;) {
    parked_thread_ = true;
    co_await m_.Until(*this, [](const Volume& v) {
      return !v.failing_ && (v.NextAgain() || (v.MayClaim() && v.HasRoom()));  // has_work
    });
    co_await m_.Maybe();
    parked_thread_ = false;
    co_await m_.Maybe();
    Job* const again = failing_ ? nullptr : NextAgain();
    if (again) {
      again->listed_again = false;
      co_await CopyAgain(again);
      continue;
    }
    if (failing_ || !MayClaim() || !HasRoom()) continue;
    const bool filled = co_await DoFillRequest();
    if (!filled) co_await StartSome();
  }
}

// ------------------------------------------------------------- for the others

// shadow_mover_suspend, wait_parked
Task<> Volume::MoverSuspend() {
  suspended_ = true;
  co_await m_.Until(*this, [](const Volume& v) { return v.parked_thread_ && v.Idle(); });
}

// shadow_mover_stop_copies
Task<> Volume::StopCopies() {
  stopping_ = true;  // not the suspend's flag: that may come and go meanwhile
  co_await m_.Until(*this, [](const Volume& v) { return v.parked_thread_ && v.Idle(); });
  nr_requests_ = 0;
  stopping_ = false;
}

// shadow_mover_wait_running
Task<> Volume::WaitRunning() {
  const u64 before = next_seq_;
  for (auto& j : jobs_) {
    if (!j.used || !j.running || j.seq >= before) continue;
    const u64 seq = j.seq;
    while (j.used && j.running && j.seq == seq)
      co_await m_.Until(j, [](const Job& job) { return !job.used || !job.running; });
  }
  for (auto& j : jobs_) {
    if (!j.used || !j.listed_again) continue;
    for (u32 b = j.first; b < j.first + j.count; b++)  // forget_holes
      if (shadow_home(map[b]) == SHADOW_HOLE) j.mine &= ~(1u << (b - j.first));
  }
}

// shadow_mover_queue
const char* Volume::Queue(u8 type, u32 first, u32 end) {
  if (mode_ != Mode::kRw) return "the volume is not in rw mode";
  if (type != SHADOW_MSG_FILL && phase() == SHADOW_STEADY) return "no modification is under way";
  if (type != SHADOW_MSG_FILL && (legs_[0] < 0 || legs_[1] < 0)) return "a leg is missing";
  if (nr_requests_ == kRequests) return "the queue is full: wait, or clear it";
  requests_[nr_requests_++] = {type, first, end};
  return nullptr;
}

}  // namespace sim
