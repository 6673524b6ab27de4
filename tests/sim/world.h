// SPDX-License-Identifier: GPL-2.0-only
// Everybody who deals with the volume: users, the daemon with its messages, the administrator with
// tables, suspends and restarts, time, and accidents. And who checks what they see.
//
// World::Run() is one run: from a seed, or from a recorded list of steps.
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <optional>
#include <string>
#include <vector>

#include "kernel/core/shadow_args.h"
#include "tests/sim/machine.h"
#include "tests/sim/truth.h"
#include "tests/sim/volume.h"

namespace sim {

struct Figures {
  u64 operations = 0;  // requests, block copies, fills, commits, messages, table changes, restarts
  u64 crashes = 0;
  u64 steps = 0;
  u64 runs = 0;
};

class World {
 public:
  World();
  /// A fresh run of @steps steps. False: something is wrong; see error(). @record: gets the steps.
  bool Run(u64 seed, u32 steps, std::vector<Step>* record = nullptr);
  /// The run of @seed again, with these of its steps. @told: in words.
  bool Replay(u64 seed, const std::vector<Step>& steps, std::vector<std::string>* told = nullptr);
  /// Whether runs from now on have no tiers: what homes alone do is met more often then.
  void WithoutTiers(bool without) { without_tiers_ = without; }
  const std::string& error() const { return m_.what; }
  const Figures& figures() const { return figures_; }

 private:
  enum Action : u8 {
    kRead,
    kWrite,
    kWriteBlock,
    kZeroes,
    kFua,
    kFlush,
    kDiscard,
    kDiscardPart,
    kCopy,
    kRemirror,
    kFill,
    kRetire,
    kClear,
    kPause,
    kResume,
    kLimit,
    kPolicy,
    kCutover,
    kRollback,
    kFinish,
    kAbort,
    kSync,
    kAccess,
    kDaemonRestart,
    kPromote,
    kDemote,
    kWriteback,
    kMode,
    kForget,
    kClearTiers,
    kCommitTimer,
    kSweepTimer,
    kSuspend,
    kReload,
    kRestart,
    kCrash,
    kLegDies,
    kMetadataDies,
    kTierDies,
    kActions
  };
  static const u8 kUsual[kActions];

  void Begin(u64 seed);
  void Execute(const Step& step);
  void Settle(u64 seed);
  void Act();
  void Check();
  void CheckBlock(u32 block);
  static std::string Words(Value v);
  bool Quiet() const { return !in_flight_ && !admin_busy_ && !messages_; }

  // users
  Io* NewIo(IoKind kind);
  u32 PickBlock();
  bool UserIo(Action what);
  bool Steady() const { return !v_ || v_->phase() == SHADOW_STEADY; }
  static void Answer(void* self, Io* io, Status status);
  static Io* CloneIo(void* self);
  static void DataAfterFlush(void* self, Io* io);
  void StartFlush(FlushStart& f);
  void KeepFlushDevices();
  void EndFlush(const Io& io);
  static void FreeIo(void* self, Io* io);
  void OftenChangePhase(Random& r);
  static void Forgotten(void* self, u32 block);
  void ChooseTiers(Table& t, const shadow_superblock& sb);
  void CheckSlots();

  // the daemon
  bool Message(Action what);
  using Text = std::array<char, 24>;
  Task<> Send(Text name, Text argument, Text more);
  Task<const char*> Do(const shadow_message& message, const Text& range);

  // the administrator
  bool Administer(Action what);
  Table ChooseTable();
  void ChooseLength(Table& t, u32 len);
  Task<> Boot();
  Task<> Suspend();
  Task<> Fetch();
  void Resume();
  Task<> Attach(Table t, bool chosen);
  Task<> SuspendAndResume();
  Task<> Reload(bool load_first);
  Task<> Restart();
  Task<> Rot();
  bool SuperblocksAgree() const;
  void DropVolume();
  void Prepare(const Table& t);
  void TableLive(const Table& t);
  int DeviceNamed(const char* id) const;
  void Crash();
  bool Accident(Action what);

  Machine m_;
  Truth truth_;
  std::optional<Volume> v_;
  Figures figures_;
  std::array<Io, 48> ios_;
  std::array<u8, kActions> weight_;
  u32 total_weight_ = 0;
  Table table_;  // the live one
  u32 in_flight_ = 0, max_in_flight_ = 4, flushes_ = 0;
  u32 messages_ = 0;
  u32 preflushes_out_ = 0;   // flushes under way with data behind them
  bool preflushes_ = false;  // writes may come with a flush
  u32 hot_ = 2;              // blocks that get half of the requests
  u8 fetch_ = 0;             // tier that reads may fetch to; then they come together
  u32 last_read_ = 0;
  u32 action_odds_ = 4;
  u32 next_identity_ = 1;
  bool accept_ = false;     // requests are not held back
  bool up_ = false;         // the device exists and its table takes messages
  bool suspended_ = false;  // dm_suspended
  bool admin_busy_ = false;
  bool trouble_ = false;  // errors are to be expected
  bool import_ = false;
  bool without_tiers_ = false;
  bool tiers_ = false;                             // the run has some
  std::array<u32, SHADOW_NR_TIERS> tier_slots_{};  // slots of their devices
  u32 first_len_ = kCells;
};

}  // namespace sim

#endif  // TESTS_SIM_WORLD_H
