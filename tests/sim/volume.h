// SPDX-License-Identifier: GPL-2.0-only
// One volume of the simulated machine: its devices, its users, its daemon, its administrator, and
// the truth that everything its users see is held against.
//
// The volume is met as the machine meets it: tables and messages are strings, requests go through
// device mapper, what is known of it comes from status, answers and the metadata device. No state
// of the module is looked at.
#ifndef TESTS_SIM_VOLUME_H
#define TESTS_SIM_VOLUME_H

#include <array>
#include <cstdio>
#include <string>

#include "kernel/core/shadow_format.h"
#include "kernel/user/sim.h"
#include "tests/sim/geometry.h"
#include "tests/sim/truth.h"

namespace sim {

class World;

/// What may be begun, in one step each.
enum Action : u8 {
  // users
  kRead,
  kWrite,
  kWriteBlock,
  kZeroes,
  kFua,
  kJournal,  // a preflush with data and FUA
  kFlush,
  kDiscard,
  kDiscardPart,
  // the daemon
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
  kMap,
  kPromote,
  kDemote,
  kWriteback,
  kMode,
  kFetch,
  kForget,
  kClearTiers,
  kTierMap,
  kStatus,
  // the administrator
  kSuspend,
  kReload,
  kRestart,
  kLoadOnly,
  // accidents
  kCrash,
  kLegDies,
  kTierDies,
  kMetadataDies,
  kHangs,
  kBlip,
  // the judge
  kCompare,
  // users, all at one block
  kBurst,
  kActions
};

/// What a device holds where nobody wrote: of which kind, for the library to ask.
struct Device {
  enum Content : u8 { kImported, kGarbage, kZeroed };
  sim_disk* disk = nullptr;
  const Geometry* geometry = nullptr;
  bool home = false;
  Content content = kGarbage;
  u32 identity = 0;  // its leg_id is "D<identity>"; 0: it is nobody's
  static u32 ContentOf(void* device, u32 cell);
  void Refill(Content with);
};

/// A request of a user.
struct Request {
  sim_io io;
  bool used, homeless;
  Action what;
  u32 block, id;
  CellMask cells, punched, short_end;  // short_end: of punched, those of a last block that is short
  u32 resizes;
  u64 faults;  // of the machine, when it began
  ReadStart read;
  FlushStart flush;
  std::array<u32, kCells> data;
  class Volume* volume;
};

struct Plan {
  u32 len = 0;  // cells
  bool given[SHADOW_NR_LEGS] = {};
  int dev[SHADOW_NR_LEGS] = {-1, -1, -1, -1};  // -1: missing
  u32 id[SHADOW_NR_LEGS] = {};
  u32 turns = 0;  // of the phase, before it was chosen
  bool fresh = false, shrink = false, attach = false, fancy = false;
  u8 policy = 0, writeback = 0;
};

class Volume {
 public:
  Volume(World& world, u32 index) : world_(world), index_(index) {}
  Volume(const Volume&) = delete;

  /// Devices and users of a fresh run; the seed's decisions come from @r.
  void Begin(Random& r);
  /// Starts something; false: it makes no sense now.
  bool Act(Action what);
  /// The machine has stopped; what its users know is on @how.
  void PowerCut();
  void Boot();
  bool Quiet() const { return !in_flight_ && !messages_ && !busy_; }
  bool up() const { return up_; }
  u32 in_flight() const { return in_flight_; }
  u32 messages() const { return messages_; }
  bool admin() const { return busy_; }
  /// In a fiber, with nothing else going on: every block by every policy.
  void ReadAll();
  /// In a fiber: nothing may be left asleep with work to do.
  void CheckMover();
  /// In a fiber: the volume is removed.
  void Remove();
  bool tiers() const { return tiers_; }
  void set_hung(bool hung);
  bool hung() const { return hung_; }
  /// In a fiber: a device that is away is noticed.
  void TellBlip();
  /// It comes back if it may. False: it stays away.
  bool EndBlip();
  bool away() const { return away_ != kNone; }

 private:
  static constexpr u32 kRequests = 24, kHomes = 2, kMeta = SHADOW_NR_LEGS;
  static constexpr u32 kRoom = 4096, kNone = ~0u;

  // volume.cc: users
  Request* NewRequest(Action what, sim_io_op op);
  void Send(Request* r);
  bool UserIo(Action what);
  bool UserWrite(Action what, u32 block);
  bool Burst();
  void Chase(u32 block);
  bool Start(Action what, u32 block);
  bool Stick(u32 block);
  void Answer(Request* r);
  bool MayBeRefused(const Request& r) const;
  void AskWhatBecameOf(CellMask cells, u32 id);
  u32 PickBlock();
  u32 Blocks() const { return (len_ + kCellsPerBlock - 1) / kCellsPerBlock; }
  const char* Name(u32 dev) const { return names_[dev].data(); }

  // volume_accidents.cc
  bool Accidents(Action what);
  u32 Expendable(const char* info) const;
  void StartBlip();

  // volume_daemon.cc: messages, status
  bool Message(Action what);
  bool Range(char* text, size_t room, bool whole);
  int Say(const char* text, char* answer);
  void Told(Action what, const char* text, int r, const char* answer);
  void AskStatus();
  void CheckInfo(const char* info);
  static bool Field(const char* info, const char* name, u64* value);

  // volume_compare.cc: what copies that are called current hold
  bool StartCompare();
  void Compare(u32 block);
  std::string CalledCurrent(u32 block);
  u32 SlotOf(u32 block, u8 leg) const;

  // volume_admin.cc: tables
  bool Administer(Action what);
  bool Superblock(shadow_superblock* sb, bool* blank) const;
  int DeviceNamed(const char* id) const;
  Plan Choose(bool fancy, bool may_leave_tiers, bool may_shrink);
  void ChooseTiers(Plan& p, const shadow_superblock& sb, bool fancy, bool may_leave);
  void Text(const Plan& p, char* text, size_t room) const;
  void Prepare(const Plan& p);
  void Live(const Plan& p);
  int Load(const Plan& p);
  void BringUp(bool fancy);
  void SuspendAndResume();
  void Reload(bool load_first);
  void LoadOnly();
  void Restart();
  void WaitMessages();
  void WaitRequests();
  bool Rot();
  void Repair();
  void ReadTurned(void* page) const;
  u32 LengthLeft(const shadow_superblock& sb) const;

  World& world_;
  u32 index_;
  Geometry geometry_;
  Truth truth_;
  std::array<Device, SHADOW_NR_LEGS> devices_;  // A, B, tier1, tier2
  sim_disk* meta_ = nullptr;
  std::array<std::array<char, 8>, SHADOW_NR_LEGS + 1> names_{};
  std::array<Request, kRequests> requests_{};
  mapped_device* md_ = nullptr;
  u32 in_flight_ = 0, max_in_flight_ = 4, flushes_ = 0, messages_ = 0, statuses_ = 0;
  bool focus_ = false;  // nearly all goes to one block
  u32 only_ = kNone;    // all does, now
  u32 chases_ = 0;      // under way
  u64 answers_ = 0;     // requests and messages that are over
  u32 hot_ = 2, last_read_ = 0, next_identity_ = 2;
  std::array<int, 2> homes_{-1, -1};  // devices of the live table's origin and target; -1: none
  u32 lives_ = 0;                     // tables that went live
  u32 compares_ = 0;
  u32 len_ = 0, first_len_ = kCells;
  u8 fetch_ = 0;
  u32 turned_ = 0;  // 1 + the bit of the metadata that has turned; 0: none
  std::array<u8, SHADOW_PAGE_SIZE> turned_page_{};  // as it was then
  bool up_ = false;                                 // the table takes messages and requests
  bool accept_ = false;                             // users send requests
  bool busy_ = false;                               // the administrator
  bool steady_ = true;                              // the phase may be
  bool forgetting_ = false;
  u32 resizes_ = 0;         // tables of another length, loaded or live
  bool formatted_ = false;  // was up once
  u32 away_ = kNone;        // the device that has lost its cache and is not back yet
  bool blipping_ = false;
  bool import_ = false, tiers_ = false, hung_ = false;
  // A modification that grew the volume may have been given up: what lies beyond has no place.
  bool tail_lost_ = false;
  u32 aborts_ = 0;  // under way
  // Messages that may end a phase: under way, and begun or ended ever. A table that was chosen
  // before one of them may be wrong after it.
  u32 turning_ = 0, turns_ = 0;
  u32 sure_len_ = kCells;  // cells that stay whatever becomes of the modification
};

}  // namespace sim

#endif  // TESTS_SIM_VOLUME_H
