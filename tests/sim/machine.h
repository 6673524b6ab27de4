// SPDX-License-Identifier: GPL-2.0-only
// The machine under the volume: threads, device requests, and a scheduler that picks the next step
// among all that are enabled.
//
// A run is a list of steps. A step is self-contained: what it lets go on (a thread or a request, by
// an id that does not depend on other steps, or something new), and the seed of all that is
// decided while it runs. So a failing run can be cut down by leaving steps out: what they would
// have started is missing, everything else stays what it was.
#ifndef TESTS_SIM_MACHINE_H
#define TESTS_SIM_MACHINE_H

#include <coroutine>
#include <string>
#include <vector>

#include "tests/sim/device.h"
#include "tests/sim/task.h"

namespace sim {

struct Thread {
  Task<> root;
  std::coroutine_handle<> at;
  bool (*ready)(const void*) = nullptr;  // null: at any time
  const void* arg = nullptr;
  const char* name = "";
  u32 id = 0;
  bool lazy = false;  // is slow to get a processor
  bool used = false;
};

/// Devices: those of home legs, those of tiers, the metadata's.
constexpr u8 kDevices = kLegs, kMetaDev = kDevices;
const char* DeviceName(u32 dev);

enum class OpKind : u8 { kRead, kWrite, kFlush, kDiscard, kMetaWrite };

/// A request to a device. Ends in end(), if there is one, or is waited for.
struct DeviceOp {
  OpKind kind;
  u8 dev;
  u8 leg;  // role the device had
  bool used, begun, over, ok, fua, preflush, lazy;
  bool zeroes, unsupported;  // is a write-zeroes; was rejected as such
  u32 id;
  CellMask cells, todo;
  std::array<Value, kCells> value;
  u64 upto;   // flush: the device's sequence when it began
  u64 nr;     // flush: of those of its device
  u32 write;  // metadata
  void (*end)(void* who, DeviceOp& op);
  void* who;
  void* what;
};

struct Step {
  u32 index;  // in the run it was recorded in
  u32 id;     // thread or request; kNewAction
  u64 seed;
  bool plain;  // no faults, no other CPU in between: for shrinking
};
constexpr u32 kNewAction = ~0u, kNoStep = ~0u - 1;

class Machine {
 public:
  Machine();
  Machine(const Machine&) = delete;

  // --- the run
  Random random;  // of the step
  bool failed = false;
  std::string what;       // went wrong
  bool calm = false;      // no faults from now on
  u32 preempt = 4;        // one in so many places where another CPU may come in between does
  u32 fault = 0;          // one in so many requests fails; 0: none
  u8 fault_kinds = 0xff;  // bit per OpKind: which of them may
  u32 lazy = 0;           // one in so many requests and threads is slow
  u32 patience = 16;      // how slow: is let go once in so many times
  u64 faults = 0;         // that were injected
  u64 steps = 0;

  void Reset();
  void Fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
  /// Only while a failing run is told in words.
  void Note(const char* format, ...) __attribute__((format(printf, 2, 3)));
  std::vector<std::string>* told = nullptr;

  // --- threads
  /// @f() makes the coroutine. Fixed ids (below 32) are for those there is one of.
  template <class F>
  void Spawn(const char* name, F f, u32 fixed_id = 0) {
    Thread& t = NewThread(name, fixed_id);
    Thread* const outer = std::exchange(current_, &t);
    t.root = f();
    Reap(t);
    current_ = outer;
  }
  void KillThreads();
  void Kill(u32 id);

  struct Wait {
    Machine& m;
    bool (*ready)(const void*);
    const void* arg;
    bool go_on;
    bool await_ready() const { return go_on; }
    void await_suspend(std::coroutine_handle<> h) {
      m.current_->at = h;
      m.current_->ready = ready;
      m.current_->arg = arg;
    }
    void await_resume() const {}
  };
  /// Anything else may happen now.
  Wait Yield() { return {*this, nullptr, nullptr, false}; }
  /// Another CPU may come in between.
  Wait Maybe() { return {*this, nullptr, nullptr, !Preempts()}; }
  /// Until @ready(@arg). @ready captures nothing.
  template <class T, class F>
  Wait Until(const T& arg, F ready) {
    return {*this, [](const void* p) { return F{}(*static_cast<const T*>(p)); }, &arg,
            ready(arg) && !Preempts()};
  }
  Wait UntilSet(const bool& flag) {
    return Until(flag, [](const bool& f) { return f; });
  }
  struct LockWait : Wait {
    bool* lock;
    void await_resume() const { *lock = true; }
  };
  /// A mutex is a bool; set it false to unlock.
  LockWait Lock(bool& lock) {
    return {Until(lock, [](const bool& held) { return !held; }), &lock};
  }

  // --- devices
  std::array<DataDevice, kDevices> data;
  MetaDevice meta;
  /// A new request; the caller fills in what its kind needs and calls Begin().
  DeviceOp& NewOp(OpKind kind, u8 dev);
  void Begin(DeviceOp& op);
  /// Waits for a request without end(). True: it succeeded.
  Task<bool> Finish(DeviceOp& op);
  void PowerCut(Cut how);
  /// Of each leg: how many flushes were begun, and the latest of those that have ended.
  std::array<u64, kDevices> flushes_begun{}, flush_over{};
  /// Cells stored since it was last cleared.
  CellMask stored = 0;
  std::array<CellMask, SHADOW_NR_TIERS> stored_tier{};
  /// Some request to these cells is under way.
  bool Busy(u8 dev, CellMask cells) const;

  // --- scheduler
  void BeginStep(const Step& s);
  /// Picks a thread or request that can go on; kNoStep: none can.
  u32 PickReady(Random& choice);
  /// False: there is no such thread or request, or it waits.
  bool Go(u32 id);
  u32 busy() const { return nr_threads_ + nr_ops_; }
  std::string Waiting() const;

 private:
  bool Preempts() { return random.OneIn(preempt) && !plain_; }
  static constexpr u32 kThreads = 64, kOps = 64;
  Thread& NewThread(const char* name, u32 fixed_id);
  void Remove(Thread& t);
  void Reap(Thread& t);
  void Resume(Thread& t);
  void StepOp(DeviceOp& op);
  void Tell(const DeviceOp& op);
  void DoCells(DeviceOp& op, CellMask cells);
  bool OpFails(const DeviceOp& op);
  void EndOp(DeviceOp& op);
  static bool CanRun(const Thread& t) { return t.at && (!t.ready || t.ready(t.arg)); }

  std::array<Thread, kThreads> threads_;
  std::array<DeviceOp, kOps> ops_;
  std::array<u8, kThreads> thread_order_;  // used ones first
  std::array<u8, kOps> op_order_;
  u32 nr_threads_ = 0, nr_ops_ = 0;
  Thread* current_ = nullptr;
  u32 step_index_ = 0, ids_in_step_ = 0;
  bool plain_ = false;
};

}  // namespace sim

#endif  // TESTS_SIM_MACHINE_H
