// SPDX-License-Identifier: GPL-2.0-only
#include "tests/sim/machine.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace sim {

namespace {
constexpr u32 kFixedIds = 32, kIdsPerStep = 64;

std::string Format(const char* format, va_list args) {
  char text[300];
  std::vsnprintf(text, sizeof(text), format, args);
  return text;
}
}  // namespace

const char* DeviceName(u32 dev) {
  static constexpr const char* kNames[] = {"A", "B", "T1", "T2", "metadata"};
  return kNames[dev];
}

Machine::Machine() { Reset(); }

bool Machine::Busy(u8 dev, CellMask cells) const {
  for (u32 i = 0; i < nr_ops_; i++) {
    const DeviceOp& op = ops_[op_order_[i]];
    if (op.dev == dev && !op.over && (op.cells & cells)) return true;
  }
  return false;
}

void Machine::Reset() {
  KillThreads();
  for (auto& op : ops_) op.used = false;
  for (u32 i = 0; i < kThreads; i++) thread_order_[i] = static_cast<u8>(i);
  for (u32 i = 0; i < kOps; i++) op_order_[i] = static_cast<u8>(i);
  nr_ops_ = nr_threads_ = 0;
  failed = calm = false;
  faults = 0;
}

void Machine::Fail(const char* format, ...) {
  if (failed) return;
  va_list args;
  va_start(args, format);
  what = Format(format, args);
  va_end(args);
  failed = true;
}

void Machine::Note(const char* format, ...) {
  if (!told) return;
  va_list args;
  va_start(args, format);
  told->push_back(Format(format, args));
  va_end(args);
}

// -------------------------------------------------------------------- threads

Thread& Machine::NewThread(const char* name, u32 fixed_id) {
  if (nr_threads_ == kThreads) std::abort();
  Thread& t = threads_[thread_order_[nr_threads_++]];
  t.used = true;
  t.name = name;
  t.at = nullptr;
  t.ready = nullptr;
  t.lazy = !fixed_id && random.OneIn(lazy);
  t.id = fixed_id ? fixed_id : kFixedIds + step_index_ * kIdsPerStep + ids_in_step_++;
  return t;
}

/// Frees a thread that has come to its end.
void Machine::Reap(Thread& t) {
  if (t.root.done()) Remove(t);
}

void Machine::Kill(u32 id) {
  for (u32 i = 0; i < nr_threads_; i++)
    if (threads_[thread_order_[i]].id == id) return Remove(threads_[thread_order_[i]]);
}

void Machine::Remove(Thread& t) {
  t.root = Task<>();
  t.used = false;
  t.at = nullptr;
  for (u32 i = 0; i < nr_threads_; i++)
    if (&threads_[thread_order_[i]] == &t) {
      std::swap(thread_order_[i], thread_order_[--nr_threads_]);
      return;
    }
}

void Machine::KillThreads() {
  for (u32 i = 0; i < nr_threads_; i++) {
    Thread& t = threads_[thread_order_[i]];
    t.root = Task<>();
    t.used = false;
    t.at = nullptr;
  }
  nr_threads_ = 0;
}

void Machine::Resume(Thread& t) {
  current_ = &t;
  std::exchange(t.at, nullptr).resume();
  current_ = nullptr;
  Reap(t);
}

// -------------------------------------------------------------------- devices

DeviceOp& Machine::NewOp(OpKind kind, u8 dev) {
  if (nr_ops_ == kOps) std::abort();
  DeviceOp& op = ops_[op_order_[nr_ops_++]];
  op.kind = kind;
  op.dev = dev;
  op.leg = dev;
  op.used = true;
  op.begun = op.over = op.ok = op.fua = op.preflush = op.zeroes = op.unsupported = false;
  op.lazy = random.OneIn(lazy);
  op.id = kFixedIds + step_index_ * kIdsPerStep + ids_in_step_++;
  op.cells = 0;
  op.end = nullptr;
  op.who = op.what = nullptr;
  return op;
}

void Machine::Begin(DeviceOp& op) {
  op.todo = op.cells;
  if (op.kind == OpKind::kFlush && op.dev != kMetaDev) op.nr = ++flushes_begun[op.dev];
  op.upto = op.dev == kMetaDev ? meta.sequence() : data[op.dev].sequence();
}

bool Machine::OpFails(const DeviceOp& op) {
  if (op.dev == kMetaDev ? meta.dead : data[op.dev].dead) return true;
  if (!random.OneIn(fault) || calm || plain_) return false;
  if (!(fault_kinds >> static_cast<int>(op.kind) & 1)) return false;
  faults++;
  return true;
}

void Machine::DoCells(DeviceOp& op, CellMask cells) {
  DataDevice& d = data[op.dev];
  for (CellMask m = cells; m; m &= m - 1) {
    const u32 c = static_cast<u32>(__builtin_ctz(m));
    if (op.kind == OpKind::kRead)
      op.value[c] = d.Read(c);
    else
      d.Store(c, op.value[c]);
  }
  if (op.kind != OpKind::kRead) {
    if (op.dev < kHomeLegs)
      stored |= cells;
    else
      stored_tier[op.dev - kHomeLegs] |= cells;
  }
  op.todo &= ~cells;
}

void Machine::Tell(const DeviceOp& op) {
  static constexpr const char* kKinds[] = {"read", "write", "flush", "discard", "metadata write"};
  const char* const dev = DeviceName(op.dev);
  const u32 block = op.cells ? BlockOfCell(static_cast<u32>(__builtin_ctz(op.cells))) : 0;
  if (op.kind == OpKind::kFlush || op.kind == OpKind::kMetaWrite)
    Note("  . %s: %s", dev, kKinds[static_cast<int>(op.kind)]);
  else
    Note("  . %s: %s of block %u (cells %x)", dev, kKinds[static_cast<int>(op.kind)],
         kNumber[block], op.cells >> (block * kCellsPerBlock));
}

/// A request goes through two steps, or one: a part of it, then the rest and its end.
void Machine::StepOp(DeviceOp& op) {
  const bool dead = op.dev == kMetaDev ? meta.dead : data[op.dev].dead;
  if (op.zeroes && data[op.dev].no_zeroes && !dead) {
    op.begun = op.over = op.unsupported = true;
    if (op.end) EndOp(op);
    return;
  }
  if (!op.begun) {
    op.begun = true;
    if (op.todo && !dead) DoCells(op, op.todo & static_cast<CellMask>(random.Next()));
    if (random.OneIn(2)) return;
  }
  op.ok = !OpFails(op);
  switch (op.kind) {
    case OpKind::kRead:
    case OpKind::kDiscard:
      if (op.ok) DoCells(op, op.todo);
      break;
    case OpKind::kWrite:
      if (op.ok) {
        DoCells(op, op.todo);
        if (op.fua) data[op.dev].Settle(op.cells);
      } else if (!dead) {
        DoCells(op, op.todo & static_cast<CellMask>(random.Next()));
      }
      break;
    case OpKind::kFlush:
      if (op.dev != kMetaDev) flush_over[op.dev] = std::max(flush_over[op.dev], op.nr);
      if (!op.ok) break;
      if (op.dev == kMetaDev)
        meta.Flushed(op.upto);
      else
        data[op.dev].Flushed(op.upto);
      break;
    case OpKind::kMetaWrite:
      if (op.ok) {
        if (op.preflush) meta.Flushed(op.upto);
        meta.Landed(op.write);
        if (op.fua) meta.Settle(op.write);
      } else {
        meta.Failed(op.write,
                    dead ? 0 : static_cast<u8>(random.OneIn(2) ? 0xff : random.Below(256)));
      }
      break;
  }
  if (!op.ok)
    Note("    %s of device %s fails",
         op.kind == OpKind::kRead    ? "a read"
         : op.kind == OpKind::kFlush ? "a flush"
                                     : "a write",
         DeviceName(op.dev));
  op.over = true;
  if (op.end) EndOp(op);
}

void Machine::EndOp(DeviceOp& op) {
  op.end(op.who, op);
  op.used = false;
  for (u32 i = 0; i < nr_ops_; i++)
    if (&ops_[op_order_[i]] == &op) {
      std::swap(op_order_[i], op_order_[--nr_ops_]);
      return;
    }
}

Task<bool> Machine::Finish(DeviceOp& op) {
  co_await UntilSet(op.over);
  const bool ok = op.ok;
  op.end = [](void*, DeviceOp&) {};
  EndOp(op);
  co_return ok;
}

void Machine::PowerCut(Cut how) {
  KillThreads();
  for (auto& op : ops_) op.used = false;
  nr_ops_ = 0;
  for (auto& d : data) d.PowerCut(how, random);
  meta.PowerCut(how, random);
}

// ------------------------------------------------------------------ scheduler

void Machine::BeginStep(const Step& s) {
  random = Random(s.seed);
  step_index_ = s.index;
  ids_in_step_ = 0;
  plain_ = s.plain;
  steps++;
}

u32 Machine::PickReady(Random& choice) {
  const u32 n = nr_threads_ + nr_ops_;
  u32 slow = kNoStep;
  if (!n) return kNoStep;
  const u32 start = choice.Below(n);
  for (u32 k = 0; k < n; k++) {
    u32 i = start + k;
    if (i >= n) i -= n;
    u32 id;
    bool lazy_one;
    if (i < nr_threads_) {
      const Thread& t = threads_[thread_order_[i]];
      if (!CanRun(t)) continue;
      id = t.id;
      lazy_one = t.lazy;
    } else {
      const DeviceOp& op = ops_[op_order_[i - nr_threads_]];
      if (op.over) continue;
      id = op.id;
      lazy_one = op.lazy;
    }
    if (!lazy_one || choice.OneIn(patience)) return id;
    slow = id;
  }
  return slow;
}

bool Machine::Go(u32 id) {
  for (u32 i = 0; i < nr_threads_; i++) {
    Thread& t = threads_[thread_order_[i]];
    if (t.id != id) continue;
    if (!CanRun(t)) return false;
    Note("  . %s goes on", t.name);
    Resume(t);
    return true;
  }
  for (u32 i = 0; i < nr_ops_; i++) {
    DeviceOp& op = ops_[op_order_[i]];
    if (op.id != id) continue;
    if (op.over) return false;
    if (told) Tell(op);
    StepOp(op);
    return true;
  }
  return false;
}

std::string Machine::Waiting() const {
  std::string s;
  for (u32 i = 0; i < nr_threads_; i++)
    s += std::string(s.empty() ? "" : ", ") + threads_[thread_order_[i]].name;
  return s;
}

}  // namespace sim
