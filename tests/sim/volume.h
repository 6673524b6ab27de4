// SPDX-License-Identifier: GPL-2.0-only
// The module's glue, told in coroutines: the same calls of the same core in the same order as
// kernel/dm-shadow-*.c, with a place for other CPUs (Maybe) wherever the kernel has one. Each
// member says which function it stands for; who changes one there changes the other here.
//
// What the module does not decide by itself is left out: rate limits, events, counters of the
// status line, memory. Legs are indexed by enum shadow_leg, so tiers have their places.
#ifndef TESTS_SIM_VOLUME_H
#define TESTS_SIM_VOLUME_H

#include "tests/sim/machine.h"
#include "tests/sim/truth.h"

namespace sim {

enum class Mode : u8 { kRw, kRo, kFail };
enum class Status : u8 { kOk, kError, kNoSpace };
enum class IoKind : u8 { kRead, kWrite, kZeroes, kFlush, kDiscard };
enum class Watch : u8 {
  kNone,
  kCounted,
  kRead,
  kMirrored,
  kTierRead,
  kTierWrite,
  kFlush
};  // enum shadow_io_kind

/// A bio with its struct shadow_io, and what the model needs to judge its answer.
struct Io {
  IoKind kind;
  bool used;
  u32 block;
  u32 count;       // discard: blocks
  CellMask cells;  // of the user's request
  u32 id;          // what it writes: ValueOf(id, cell)
  bool fua;
  bool preflush;  // a flush comes first, as bios of their own
  bool flushed;   // that flush was acknowledged
  u8 nr;          // flush: dm_bio_get_target_bio_nr
  // struct shadow_io
  Watch watch;
  u8 epoch, leg, tried, filling;
  u8 pending;  // parts of a mirrored write, legs of a race, legs of a flush
  u8 sent;     // several legs: mask of them
  bool bad[kLegs];
  u8 unsupported;        // mask of those of bad that reject zeroes
  bool counted, waited;  // in reading_ or writing_; a read: has waited for a copy
  bool won;              // race: somebody has answered
  Io* parent;            // flush: one bio per leg belongs to one request
  u32 batch;             // zero-fills of it that are out
  bool part_failed;      // flush: of the request
  CellMask punched;      // discard: became holes
  std::array<Value, kCellsPerBlock> got;
  ReadStart read;
  FlushStart flush;
};

struct IoList {
  static constexpr u32 kMax = 48;
  u32 n = 0;
  std::array<Io*, kMax> io{};
  bool empty() const { return !n; }
  void Add(Io* i) {
    if (n == kMax) std::abort();
    io[n++] = i;
  }
  void Take(IoList& from) {
    for (u32 i = 0; i < from.n; i++) Add(from.io[i]);
    from.n = 0;
  }
};

/// struct shadow_target: a loaded table.
struct Table {
  bool given[kLegs] = {};
  int dev[kLegs] = {-1, -1, -1, -1};  // index in Machine::data; -1: missing
  char id[kLegs][SHADOW_ID_MAX + 1] = {};
  u32 slots[SHADOW_NR_TIERS] = {};  // of its tiers' devices
  u8 policy = 0;
  u8 writeback = 0;  // mask of tiers
  bool fresh = false, shrink = false;
  u32 len = 0;  // cells
  bool attached = false;
};

enum class Decision : u8 { kRun, kFormat, kGrow, kShrink, kAttach, kRefuse };

/// shadow_decide(), shadow_check_sizes(). @sb null: blank.
Decision Decide(const shadow_superblock* sb, const Table& t, shadow_superblock* next,
                const char** error);

class Volume {
 public:
  struct Owner {  // hears how requests end
    void (*answer)(void* owner, Io* io, Status status);
    void* self;
    Io* (*clone)(void* owner);  // for the second bio of a flush
    void (*free)(void* owner, Io* io);
    void (*forgotten)(void* owner, u32 block);  // the newest data of a block was given up
    void (*data)(void* owner, Io* io);          // the flush before the data of a request is over
  };
  Volume(Machine& m, const Owner& owner);

  // --- dm-shadow-io.c
  Task<> Submit(Io* io);  // dm core, then shadow_map
  Task<> Map(Io* io);     // shadow_map, map_slow

  // --- dm-shadow-message.c, dm-shadow-phase.c: messages; the caller holds admin
  Task<const char*> Retire(u32 first, u32 end);    // shadow_retire; null: done
  Task<const char*> Cutover();                     // shadow_cutover
  Task<const char*> Rollback();                    // shadow_rollback
  Task<const char*> FinishOn(u8 keep);             // shadow_finish
  Task<> SetPolicy(u8 policy);                     // shadow_set_policy
  const char* Queue(u8 type, u32 first, u32 end);  // shadow_mover_queue
  Task<> StopCopies();                             // shadow_mover_stop_copies
  Task<bool> Commit();                             // shadow_commit
  void SetPaused(bool paused) { paused_ = paused; }
  const char* QueueTier(u8 type, u8 tier, u32 first, u32 end);  // queue_tier_message
  Task<> TierStop();                                            // shadow_tier_mover_stop
  Task<const char*> SetTierMode(u8 leg, bool writeback);        // set_tier_mode
  Task<> SetFetch(u8 leg);                                      // shadow_fetch_set
  Task<const char*> Forget(u8 leg, bool lost);                  // shadow_tier_forget
  void LimitInflight(u32 blocks) { inflight_limit_ = blocks; }
  void HarvestAccess(u32 block) { map[block] &= static_cast<u8>(~(SHADOW_READ | SHADOW_WROTE)); }

  // --- suspend and resume
  Task<> MoverSuspend();  // presuspend: shadow_mover_suspend
  Task<> TierSuspend();   // shadow_tier_mover_suspend
  void MoverResume() {    // resume: shadow_mover_resume, shadow_tier_mover_resume
    suspended_ = tier_suspended_ = false;
    live_ = true;
    if (untidy_ && !tidy_running_)  // shadow_tidy_start
      m_.Spawn("tidy", [this] { return TidyWork(); });
  }
  Task<> Quiesce();                               // postsuspend: shadow_volume_quiesce
  Task<const char*> Configure(const Table& t);    // preresume: configure; null: done
  Task<> StopInOrder();                           // the last table goes: stop_in_order
  bool Peek(shadow_superblock* sb, bool* blank);  // shadow_metadata_peek; false: none is valid
  void TimerCommit();                             // delayed works fire
  void TimerSweep();

  // --- what the model looks at
  shadow_ctx Ctx(u32 block) const;
  u8 phase() const { return ctx_.phase; }
  u32 FlushDevices() const;  // mask of devices that each flush has to reach
  int dev(u8 leg) const { return legs_[leg]; }
  u32 len() const { return len_; }
  u32 nr_blocks() const { return nr_blocks_; }
  Mode mode() const { return mode_; }
  const shadow_superblock& sb() const { return sb_; }
  bool loaded() const { return loaded_; }
  bool IntentsLeft() const { return intent_disk_; }
  u64 copied = 0, commits = 0, fills = 0;
  bool tiered() const { return tiered_; }
  u32 TierUsed(u8 leg) const { return slots_[leg - SHADOW_LEG_TIER1].used; }
  u32 TierDirty(u8 leg) const { return static_cast<u32>(tier_dirty_[leg - SHADOW_LEG_TIER1]); }
  shadow_tier_ctx tier_ctx() const { return tier_ctx_; }
  std::array<u8, kBlocks> map{};
  std::array<u32, kBlocks> words{};
  u64 promoted = 0, demoted = 0, written_back = 0, fetched = 0;
  u32 touched = 0;  // blocks whose state changed since it was last cleared
  bool lock_admin = false;

 private:
  struct Request {
    u8 type;
    u32 next, end;
  };
  struct Job {
    bool used, listed_again, single, failed, read_failed, done, waited_for, running;
    u64 seq;
    u32 first, count;
    u32 mine;  // bit per block of the run
    u8 from, tries;
  };
  struct Epoch {
    u32 entered[2], left[2];
    u32 begun;
    u8 index;
    bool lock;
  };
  static constexpr u32 kJobs = 24, kRequests = 32;
  static constexpr u8 kSlow = 0xff;  // SHADOW_LUT_SLOW
  static constexpr u32 kMaxTries = 3;

  // dm-shadow-state.c
  /// shadow_apply; @lost: legs that count as missing
  Task<bool> Apply(u32 block, shadow_event event, shadow_step* step = nullptr, u8 lost = 0);
  Task<> ApplyOwn(u32 block, shadow_event event);  // shadow_apply_own
  Task<> SetMode(Mode mode);                       // shadow_set_mode
  Task<> DropLeg(u8 leg);                          // shadow_drop_leg
  Task<> PhaseRead();                              // down_read(&v->phase_lock)
  Task<> PhaseWrite();                             // down_write
  bool OnlyOn(u8 leg) const;
  bool HasMirrored() const {  // shadow_has_mirrored
    return homes_[SHADOW_MIRRORED] || homes_[SHADOW_RETIRING];
  }
  Task<bool> Counts(u8 leg);     // shadow_counts
  u8 Avoided(u32 block) const {  // shadow_avoided
    const bool choice = block < tail_ && (home_failed_ | ctx_.missing) != SHADOW_MASK_BOTH;
    return choice ? home_failed_ : 0;
  }
  u32 TailData() const;  // shadow_tail_data
  void CountHomes();
  enum shadow_home Counted(enum shadow_home home) const;
  void SetCtx(const shadow_ctx& ctx);  // shadow_set_ctx

  // dm-shadow-volume.c
  void TakePhase(const shadow_superblock& sb, const Table& t);  // take_phase
  void AfterAModification();
  bool TidyBlock(u32 b);
  Task<> TidyWork();
  void TidyNow();
  Task<bool> ZeroShadow(u32 word, CellMask cells);
  Task<bool> ZeroShortEnd(u32 old_len, u32 len);
  bool Resize(u32 cells);
  Task<bool> Extend(u32 cells);
  Task<bool> CarryOut(const Table& t, Decision d, const shadow_superblock& next);

  // dm-shadow-io.c
  void BuildLut();
  Task<> MapRead(Io* io);
  Task<> MapWrite(Io* io);
  Task<> MapOne(Io* io);
  Task<bool> MapShadowed(Io* io);
  void MapSeveral(Io* io, u8 legs, u32 word);
  Task<> MapFlush(Io* io);
  void MapTierFlush(Io* io, u8 leg);
  void MapRace(Io* io);
  Task<> MapDiscard(Io* io);
  void Send(Io* io, u8 leg, u32 word = 0);
  using EndFn = void (*)(void* who, DeviceOp& op);
  void SendPart(Io* io, u8 leg, u32 word = 0, EndFn end = EndIo);
  static void EndIo(void* who, DeviceOp& op);  // shadow_end_io, mirrored_clone_end
  static void RaceEnd(void* who, DeviceOp& op);
  void MirroredWriteOver(Io* io);
  void FinishIo(Io* io, Status status);  // shadow_finish_bio
  bool Park(Io* io, u32 block);

  // dm-shadow-epoch.h
  Task<u8> Enter(Epoch& e);
  void Leave(Epoch& e, u8 index) { e.left[index]++; }
  Task<> DrainEpoch(Epoch& e);
  Task<> Drain();

  // dm-shadow-slow.c
  void Defer(IoList& list, Io* io);
  void ReleaseParked();
  Task<> GateClose();
  void GateOpen(u32 times);
  Task<> SlowWork();
  bool OutOfReach(u32 block) const;
  Task<> DoDiscards(IoList& ios);
  Task<> DiscardRelease(Io* io, bool durable);
  Task<> DiscardRun(u32 first, u32 count);
  Task<> DoFailed(IoList& ios);
  Task<> DoFailedWrites(IoList& ios);
  Task<> ReadElsewhere(Io* io);
  Task<bool> DiscardShadows(u32 first, u32 end);
  bool Punched(u32 b) const { return (map[b] & SHADOW_BUSY) && shadow_home(map[b]) == SHADOW_HOLE; }
  Task<bool> DropHome(u32 block, u8 leg);
  Task<> WriteZeroesAgain(Io* io);
  Task<bool> WriteSurvives(Io* io);
  Task<bool> FlushSurvives(Io* io);
  Task<> IntentWork();
  Task<> IntentSweep(bool all);
  Task<> RouteAgain(Io* io);  // shadow_route_again

  // dm-shadow-fill.c
  Task<> DoFills(IoList& ios);
  void FillStart(Io* io, u32* out);
  Task<> FillAgain(const IoList& claimed);
  Task<bool> FillToHome(Io* io);
  Task<bool> FillRun(u32 first, u32 count);
  DeviceOp& ZeroRun(u8 leg, u32 first, u32 count, bool written);
  Task<bool> ZeroLeg(u8 leg, u32 first, u32 count);

  // dm-shadow-mover.c
  Task<> MoverThread();
  Task<> StartSome();
  Task<Job*> Claim(bool* more);
  Task<bool> DoFillRequest();
  Task<> CopyAgain(Job* old);
  Task<> CopyHeld(u32 block, u8 from, u8 tries);
  Task<> CopyDone(Job* job);
  Task<bool> Settle(Job* job);
  Job* NewJob(u8 from, u32 first);
  static bool IsMine(const Job& job, u32 block) { return job.mine >> (block - job.first) & 1; }
  static void AddBlock(Job* job) { job->mine |= 1u << job->count++; }
  static void PutOff(const std::array<Job*, kBlocks>& jobs, u32 n);
  void StartJob(Job* job);
  void StartJobs(const std::array<Job*, kBlocks>& jobs, u32 n);
  static void CopyRead(void* who, DeviceOp& op);
  static void CopyWritten(void* who, DeviceOp& op);
  Task<> WaitRunning();
  bool MayClaim() const { return !paused_ && !suspended_ && !stopping_ && nr_requests_; }
  bool HasRoom() const { return !inflight_ || inflight_ + 1 <= inflight_limit_; }
  Job* NextAgain() const;
  bool Idle() const;
  CellMask RunCells(u32 first, u32 count) const;

  // dm-shadow-tier.c
  struct Blocks {
    std::array<u32, kBlocks> at;
    u32 n = 0;
  };
  Blocks AllBlocks() const;
  u32 WordOf(u32 block, u8 state) const { return state & SHADOW_SHADOW ? words[block] : 0; }
  CellMask SlotCells(u32 word, CellMask cells) const;
  Task<bool> TierApply(u32 block, shadow_tier_event event, shadow_tier_step* step = nullptr);
  void SetShadow(u32 block, bool set);
  void FreeSlot(u32 word);
  Task<bool> FinishDrops(const Blocks& blocks);
  Task<> FinishAllDrops();
  Task<> FinishSomeDrops();
  void EndDrops();
  void EndDrop(u32 block);
  Task<> DoDirties(IoList& ios);
  Task<> TierReadFailed(u32 block, u8 leg);
  Task<> TierLose(u8 leg, shadow_tier_event event);
  Task<> TierFlushFailed(u8 leg);
  Task<> OneHome(u32 block);

  // dm-shadow-tier-mover.c, dm-shadow-tier-round.c
  enum class CopyState : u8 { kClaimed, kStarted, kOver, kFailed };
  struct TierRequest {
    u8 type, tier;
    u32 next, end;
  };
  struct TierRound;
  struct TierCopy {
    TierRound* round;
    u32 block;
    bool live;  // asked for: its word is the round's
    u8 type, legs;
    CopyState state;
    bool read_err;
    u8 write_err;  // bit per leg written
    u8 out;        // writes
    u32 word;
  };
  struct TierRound {
    TierCopy* copies;
    u32 n, out;
  };
  struct Fetch {
    bool live;
    u8 leg;
    IoList waiting;
    TierRound round;
    TierCopy copy;
  };
  Task<> TierThread();
  Task<> ClaimSome();
  bool EnterRound(TierCopy& c, const TierRound& round);
  Task<bool> Claim(u8 leg, TierCopy& c, const TierRound& round);
  Task<bool> ClaimPromote(u8 leg, u32 block, bool* full);
  Task<> DoRound(TierRound& round);
  Task<bool> CopyRound(TierRound& round, bool* blocked);
  Task<bool> StartPromote(TierCopy& c, u32 word);
  Task<bool> StartWriteback(TierCopy& c, u32 word);
  static void TierCopyRead(void* who, DeviceOp& op);
  static void TierCopyWritten(void* who, DeviceOp& op);
  Task<> FlushSources(TierRound& round);
  u8 OnlyHome(u32 block) const;  // only_home
  Task<bool> TierSettle(TierCopy& c);
  Task<> GiveUp(TierCopy& c);
  Task<> PrepareAgain(TierRound& round, bool last);
  Task<> DropSome(TierRound& round);
  Task<> TierFetch(Fetch& f);
  Task<> WaitParked();
  bool TierMayClaim() const { return !tier_suspended_ && !tier_stopping_ && nr_tier_requests_; }
  bool TierMayGoOn() const { return mode_ == Mode::kRw && !tier_stopping_ && !tier_suspended_; }

  // dm-shadow-fetch.c
  u32& ReadsOf(u32 block) { return reading_[block / 2]; }  // some share a counter
  u32& WritesOf(u32 block) { return writing_[block / 2]; }
  void FetchWriteOver(Io* io);
  void LeaveWrite(Io* io);
  bool MayAsk(const Io* io, u8 leg) const;
  bool WaitForCopy(Io* io, u8 leg);
  Task<bool> FetchWait(Io* io);
  Fetch* FetchOf(u32 block);
  Task<> FetchWork(Fetch& f);

  // dm-shadow-tier-table.c
  void SetTierWord(const Table& t);
  Task<const char*> TierConfigure(const Table& t, const shadow_superblock& next, bool load);
  const char* TakeWord(u32 block, u32 word);
  Task<bool> TierSettleTable(const Table& t);
  void TierExit();

  // dm-shadow-metadata.c
  struct PageSet {
    u32 dirty = 0, newest = 0;  // bit per page
    bool slots;
  };
  u32 SlotOf(const PageSet& set, u32 page, u32 copy) const {
    return set.slots ? PageSlot(kPages + page, copy) : PageSlot(page, copy);
  }
  Task<int> CommitPages(PageSet& set);
  void SlotPagePicture(u32 page, void* buf);
  Task<bool> FormatSlotPages(u32 first, u32 end);
  const char* LoadSlotPages();
  const char* PagePick(PageSet& set, u32 page, MetaDevice::Page* copies, shadow_page_header* header,
                       u32* pick);
  void MarkPageDirty(u32 block) { states_.dirty |= 1u << kPageOf[block]; }
  void MarkSlotPageDirty(u32 block) { slot_pages_.dirty |= 1u << kSlotPageOf[block]; }
  void CommitSoon() { commit_armed_ = true; }
  void PagePicture(u32 page, void* buf);
  Task<bool> FlushLeg(u8 leg);
  /// kDropped: a leg could not and lost its copies, take a new picture; kFailed: some were the only
  enum class Flushed : u8 { kAll, kDropped, kFailed };
  Task<Flushed> FlushLegs();
  Task<int> CommitBatch(PageSet& set, u32* from);
  Task<bool> MarkUnclean();
  Task<bool> CommitLocked();  // __shadow_commit
  Task<bool> WriteSb(const shadow_superblock& sb);
  Task<bool> FlushMeta();
  DeviceOp& WritePage(u32 slot, const void* buf, bool fua, bool preflush);
  const char* Load();
  const char* PageLoad(u32 page);
  void PageApply(u32 page, const void* buf, const shadow_page_header& header);
  Task<bool> FormatPages(u32 first, u32 end);

  // dm-shadow-phase.c
  Task<const char*> PhaseBegin(const char* (Volume::*may)() const);
  void PhaseEnd();
  Task<const char*> SetPhase(const shadow_superblock& sb, u8 steady_leg);
  const char* MayDropOrigin() const;
  bool TailHasShadows() const;
  const char* MayDropTarget() const;

  Machine& m_;
  Owner owner_;

  // struct shadow_volume
  u8 lut_[2][256];
  std::array<int, SHADOW_NR_LEGS> legs_;
  shadow_ctx ctx_{};
  Mode mode_ = Mode::kRw;
  u32 tail_ = kBlocks;  // first block without a place on the origin
  u32 intent_ = 0, intent_disk_ = 0, intent_recent_ = 0;  // bit per region
  u32 len_ = 0, nr_blocks_ = 0, nr_tracked_ = 0, nr_pages_ = 0;
  bool loaded_ = false, live_ = false;
  shadow_superblock sb_{};
  IoList parked_, reroute_, fills_, discards_, failed_, intents_, dirties_;
  bool slow_queued_ = false, intent_queued_ = false, slow_running_ = false, intent_running_ = false;
  bool commit_armed_ = false, commit_due_ = false, commit_running_ = false;
  bool sweep_due_ = false, sweep_running_ = false;
  bool tidy_due_ = false, untidy_ = false, tidy_running_ = false;
  u32 tidy_next_ = 0;
  Epoch epoch_{}, tier_epoch_{};
  u32 gate_ = 0, failing_ = 0, given_up_ = 0;
  u32 strays_ = 0;
  bool lock_intent_ = false, lock_commit_ = false;
  u32 phase_readers_ = 0;
  bool phase_writer_ = false;
  u32 unflushed_ = 0;  // legs that a commit has to flush first
  u32 sole_ = 0;       // legs on which a copy became the only one since they were flushed
  std::array<int, SHADOW_NR_HOMES> homes_{};
  u32 toggle_ = 0;
  u32 num_flush_ = 1;
  // tiers
  bool tiered_ = false;  // v->words
  shadow_tier_ctx tier_ctx_{};
  std::array<shadow_slots, SHADOW_NR_TIERS> slots_{};
  std::array<u64, SHADOW_NR_TIERS> slot_bits_{};
  std::array<int, SHADOW_NR_TIERS> tier_dirty_{};
  bool lock_drop_ = false, drop_all_ = false;
  std::array<u32, 2> dropping_{};  // few, so that the list is too short now and then
  u32 nr_dropping_ = 0;
  u8 tier_failed_ = 0, home_failed_ = 0, no_flush_ = 0, no_zeroes_ = 0;
  u32 drops_ = 0;
  std::array<TierRequest, 32> tier_requests_{};
  u32 nr_tier_requests_ = 0;
  std::array<TierCopy, kBlocks> copies_{};
  TierRound asked_{copies_.data(), 0, 0};  // what user space asked for
  bool tier_suspended_ = true, tier_stopping_ = false, tier_parked_ = false;
  u8 fetch_leg_ = 0;
  enum class Counting : u8 { kNone, kBegun, kAll };  // enum shadow_counting
  Counting counting_ = Counting::kNone;
  std::array<u32, kBlocks> reading_{}, writing_{};
  std::array<Fetch, 3> fetches_{};
  u32 nr_fetches_ = 0;
  // struct shadow_metadata
  u64 page_generation_ = 0;
  PageSet states_{0, 0, false}, slot_pages_{0, 0, true};
  u32 dropped_ = 0, nr_slot_pages_ = 0;
  std::array<MetaDevice::Page, kSlotPages> pages_;  // buffers
  // struct shadow_mover
  std::array<Job, kJobs> jobs_{};
  std::array<Request, kRequests> requests_{};
  u32 nr_requests_ = 0, inflight_ = 0, inflight_limit_ = 4;
  u64 next_seq_ = 0;
  bool paused_ = false, suspended_ = true, stopping_ = false, parked_thread_ = false;
};

}  // namespace sim

#endif  // TESTS_SIM_VOLUME_H
