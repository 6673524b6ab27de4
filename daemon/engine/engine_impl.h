// SPDX-License-Identifier: Apache-2.0
// The real engine: volumes and modifications over device mapper, LVM, file systems and the store.
//
// One mutex (state_) guards the tables of volumes and runners; it is never held over a command or
// an ioctl. One operation at a time on a volume (VolumeLock); volumes do not wait for each other.
// With `threads` each running modification has a thread, and one more waits for dm events; without
// (tests) the owner calls Step(). Stop() leaves the kernel serving I/O and the movers paused.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "daemon/boot/superblock.h"
#include "daemon/dm/app_counters.h"
#include "daemon/engine/engine.h"
#include "daemon/modify/admission.h"
#include "daemon/modify/deps.h"
#include "daemon/modify/planner.h"
#include "daemon/modify/runner.h"
#include "daemon/modify/tables.h"
#include "daemon/tier/keeper.h"

namespace shadow {

struct EngineOptions {
  bool threads = true;
  bool measure_classes = true;  // read from each class once, to know its speed
  /// Called before each volume that is activated at start.
  std::function<void(const std::string& volume)> on_activate;
  /// How long a volume waits for a home leg before it is started without it; 0: for ever.
  std::int64_t leg_wait_ms = 90'000;
  /// Returns when a block device has come, changed or gone, after `ms` at the latest.
  std::function<void(std::int64_t ms)> wait_devices;
  KeeperOptions keeper;  // the model's worker, and where accesses come from
  /// Waits; tests let their world go on instead.
  std::function<void(std::int64_t ms)> sleep;
};

class EngineImpl final : public Engine {
 public:
  EngineImpl(Deps deps, EngineOptions options);
  ~EngineImpl() override;
  EngineImpl(const EngineImpl&) = delete;
  EngineImpl& operator=(const EngineImpl&) = delete;

  /// Reads the store, finishes what was interrupted, activates volumes, goes on with modifications.
  /// Fails only if the store cannot be read; a volume that cannot be activated is an event.
  Status Start();
  void Stop();
  /// Something of the daemon does not work, and the rest does: an event, and one for doctor.
  void TellDegraded(const Error& why);
  /// One line for systemctl status: "Serving.", or which volumes wait for what.
  std::string StatusText();
  /// Ticks every running modification once (without threads). Returns how many still run.
  std::size_t Step();

  Result<VolumeInfo> CreateVolume(const CreateRequest& request) override;
  Result<VolumeInfo> ImportVolume(const ImportRequest& request) override;
  Result<std::string> ExportVolume(const std::string& name) override;
  Result<DeleteReport> DeleteVolume(const DeleteRequest& request) override;
  Result<std::vector<VolumeInfo>> ListVolumes() override;
  Result<VolumeInfo> GetVolume(const std::string& name) override;
  Result<VolumeInfo> ActivateVolume(const std::string& name, bool unstable_names) override;
  Result<VolumeInfo> RecoverVolume(const RecoverRequest& request) override;
  Result<std::vector<ClassInfo>> ListClasses() override;
  Result<ClassInfo> MeasureClass(const std::string& name) override;

  Result<Plan> PlanModification(const ModifyRequest& request) override;
  Result<ModificationInfo> Modify(const ModifyRequest& request) override;
  Result<ModificationInfo> GetModification(const std::string& id) override;
  Result<std::vector<ModificationInfo>> ListModifications(const std::string& volume,
                                                          std::size_t limit) override;
  Result<ModificationInfo> Pause(const std::string& id) override;
  Result<ModificationInfo> Resume(const std::string& id) override;
  Result<ModificationInfo> Abort(const std::string& id) override;
  Result<ModificationInfo> RollBack(const std::string& id) override;
  Result<ModificationInfo> Commit(const std::string& id) override;
  Result<std::string> RestoreOrigin(const std::string& id) override;
  Result<ModificationInfo> SetRate(const std::string& id, std::uint64_t rate,
                                   Impact impact) override;
  Result<TierInfo> AddTier(const AddTierRequest& request) override;
  Result<TierInfo> RemoveTier(const RemoveTierRequest& request) override;
  Result<TierInfo> SetTierMode(const std::string& volume, TierLevel level,
                               bool write_back) override;
  Result<PlacementInfo> SetTierPolicy(const std::string& volume, const TierPolicy& policy) override;
  Result<TiersInfo> ListTiers(const std::string& volume) override;
  Result<std::vector<HeatCell>> GetHeatMap(const std::string& volume,
                                           std::uint32_t ranges) override;
  Result<std::vector<TierRun>> GetTierMap(const std::string& volume) override;
  Result<BlockExplanation> ExplainBlock(const std::string& volume, std::uint64_t block) override;
  Result<std::vector<VolumeTop>> Top(const std::string& volume) override;
  Result<AppTotals> ReadCounters(const std::string& volume) override;
  Result<std::vector<MapCell>> GetBlockMap(const std::string& volume, BlockRange range,
                                           std::uint32_t cells) override;
  Result<ModificationInfo> WaitModification(const std::string& id, std::int64_t seen_updated_ms,
                                            std::int64_t timeout_ms) override;
  Result<std::vector<Event>> WaitEvents(std::uint64_t after_seq, std::size_t limit,
                                        std::int64_t timeout_ms) override;
  Result<std::vector<Check>> Doctor() override;
  Result<std::string> ExportState() override;
  Result<std::vector<std::string>> ImportState(const std::string& text) override;

 private:
  struct Running {
    std::unique_ptr<ModificationRunner> runner;
    std::thread thread;
    std::atomic<bool> finished{false};
  };
  using RunningPtr = std::shared_ptr<Running>;
  class VolumeLock;
  struct LastSeen {
    std::string mode;
    std::uint64_t failovers = 0, stale = 0;
    bool needs_check = false;
  };
  /// A tier's way out, as far as it was seen.
  struct Removal {
    std::optional<std::uint64_t> failures;  // of tiers, when the demotes were sent
    bool told = false;
  };
  struct TierSeen {
    std::array<std::string, kTiers> health;
    std::array<Removal, kTiers> removals;
    std::int64_t watched_us = 0, retry_us = 0;
    std::map<std::string, LegSpeed> speeds;  // by leg
    std::int64_t until_us = 0;               // the keeper wants to be called then
  };
  /// What a volume waits for.
  struct Waiting {
    std::int64_t since_us = 0;
    std::string why, key, hint;
  };
  struct TopSeen {
    std::unique_ptr<LatencyMeter> meter;
    std::int64_t at_us = 0;
    KernelStatus kernel;
  };

  // engine_impl.cc
  Status TellDamage();
  void StartRunner(const ModificationRecord& record, const VolumeRecord& volume);
  void RunnerLoop(const RunningPtr& running);
  void AfterTick(const RunningPtr& running, bool finished);
  void ForgetFinished();
  void Prune();
  void EventLoop();
  void WatchVolumes();
  void Emit(Event event);
  void Say(const char* severity, const char* what, const std::string& volume,
           const std::string& text);
  Result<RunningPtr> FindRunning(const std::string& id);
  [[nodiscard]] RunningPtr RunningOn(const std::string& volume);
  Result<ModificationInfo> Ask(const std::string& id, ModEvent event);
  Result<VolumeRecord> FindVolume(const std::string& name);
  void RememberVolume(const VolumeRecord& record);
  Result<std::optional<std::string>> Replayed(const std::string& request_id, const char* kind,
                                              const std::string& body);
  Status CheckReady();
  static Status CheckWhole(const VolumeRecord& volume);
  Result<ModificationRecord> TakePlanned(const VolumeRecord& volume, const ModifyRequest& request,
                                         const std::string& body);
  Result<Planned> PlanFor(const VolumeRecord& volume, const ModifyRequest& request);

  // recover.cc
  Result<Leg> RecoveredLeg(const shadow_superblock& sb, int index);
  Result<ModificationRecord> RecoveredMove(const shadow_superblock& sb, const VolumeRecord& volume);
  /// Takes in what is up and not in the store: its state was lost, or a row is damaged.
  void RecoverWhatIsUp();

  // state_file.cc
  Result<std::string> TakeIn(const VolumeRecord& volume, const TiersRecord& tiers,
                             const std::vector<ModificationRecord>& modifications);

  // reconcile.cc
  /// Compares what every volume should have with what the kernel has, and loads the better table.
  void Reconcile();
  void ReconcileVolume(const VolumeRecord& volume);
  void ReconcileLoop();
  bool IsWhole(const VolumeRecord& volume);
  void NothingIsMissing(const std::string& name);
  Status TakeLegsBack(const VolumeRecord& volume, const ModificationRecord* running);
  Result<std::vector<ShadowTable>> PlaceLegs(const VolumeRecord& volume,
                                             const std::vector<ShadowTable>& tables,
                                             bool give_up_tiers);
  Result<bool> PlaceHome(const VolumeRecord& volume, ShadowTable* table, bool give_up_tiers);
  Status StartWithoutTiers(const VolumeRecord& volume);
  Status MayStartWithout(const VolumeRecord& volume, const char* role, const TableLeg& leg);
  Status NothingOnlyOnTier(const VolumeRecord& volume, std::size_t index, const TableLeg& leg);
  Result<std::string> PathOfLeg(const TableLeg& leg);
  Status NamesAreEnough(const VolumeRecord& volume, const std::vector<Leg>& legs);
  Status NameIsEnough(const VolumeRecord& volume, const Leg& leg);
  void NoteWaiting(const std::string& name, const Error& why, bool say);
  /// Why it is not up or not whole, and what to do; no message: it is.
  [[nodiscard]] Error WaitsFor(const std::string& name);

  // volumes.cc
  Result<std::vector<Leg>> LegsOf(const VolumeRecord& volume, const ModificationRecord* running);
  void WakeLegs(const std::vector<VolumeRecord>& volumes,
                const std::vector<ModificationRecord>& modifications);
  Status Activate(const VolumeRecord& volume, const ModificationRecord* running,
                  bool give_up_tiers = false);
  Status FinishRemoval(const VolumeRecord& volume);
  Result<bool> ForgetMetadata(const VolumeRecord& volume);
  Result<std::optional<DmInfo>> LiveDevice(const VolumeRecord& volume);
  Status MakePlain(const VolumeRecord& volume);
  bool WasMade(const VolumeRecord& volume, bool there);
  void KeepMade(const VolumeRecord& volume);
  Result<VolumeInfo> MadeBefore(const std::string& name);
  Status CheckNewName(const std::string& name);
  Status RemoveLegsOf(const VolumeRecord& volume, bool metadata_wiped);
  Status TakeDown(const VolumeRecord& volume);
  Status Remove(const VolumeRecord& volume, bool again);
  Status RemoveOrigin(const VolumeRecord& volume);
  Result<std::string> FinishExport(const VolumeRecord& volume);
  Result<Leg> PlainOrigin(const VolumeRecord& volume);
  Result<DeleteReport> WhatGoes(const VolumeRecord& volume, bool there);
  static bool OursToDelete(const VolumeRecord& volume);
  void FinishInterrupted(const std::vector<VolumeRecord>& volumes, bool all_up);
  Result<VolumeInfo> Finish(VolumeRecord record, const std::string& metadata_place,
                            const std::string& own_class, const Allowed& allowed);
  Result<VolumeInfo> Establish(VolumeRecord record, const std::string& metadata_place,
                               const std::string& own_class, const Allowed& allowed);
  void Undo(const VolumeRecord& record);
  Result<Leg> MakeMetadata(const VolumeRecord& record, const std::string& place,
                           const std::string& own_class, const Allowed& allowed);
  Status PickOrigin(VolumeRecord* record, const CreateRequest& request,
                    const RequestRecord& request_record);
  Status ForgetOrigin(const VolumeRecord& volume);
  void WarnOfReferences(const VolumeInfo& volume, const std::vector<Reference>& references);
  void MeasureClasses();
  Status MeasureOne(const std::string& storage_class);
  Result<std::string> MetadataClass(const std::string& own_class);
  VolumeInfo InfoOf(const VolumeRecord& record);
  Status CheckIdle(const VolumeRecord& record);

  // tiers.cc
  Status ContinueAdding(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level);
  void UndoAdding(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level,
                  const RequestRecord& request);
  Status PlanTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level,
                  const RequestRecord& request);
  Status ForgetTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level);
  Status ReleaseTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level);
  Status SwapTiers(const VolumeRecord& volume, const TiersRecord& tiers);
  static TierInfo TierInfoOf(const TierRecord& record, TierLevel level, const KernelStatus* kernel);
  Result<TierInfo> TierNow(const std::string& volume, TierLevel level);
  Status CheckNoTierJob(const std::string& volume);
  // tier_jobs.cc
  void ResumeTierJobs(const VolumeRecord& volume);
  Status DrainTiers(const VolumeRecord& volume);
  /// 0: it is gone. Else milliseconds until the next look.
  Result<std::int64_t> TickRemoval(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level,
                                   Removal* removal);
  std::int64_t TickTiers();
  std::int64_t TickVolumeTiers(const VolumeRecord& volume, TierSeen* seen);
  void TickTierJobs(const VolumeRecord& volume, TiersRecord* tiers, TierSeen* seen);
  void WatchTiers(const VolumeRecord& volume, const TiersRecord& tiers, TierSeen* seen);
  LegSpeed SpeedOf(const Leg& leg, bool may_write, TierSeen* seen);
  std::int64_t TickKeeper(const VolumeRecord& volume, const TiersRecord& tiers, TierSeen* seen);
  void TierLoop();
  void WakeTiers();
  void DropKeeper(const std::string& volume);
  std::shared_ptr<TierKeeper> KeeperOf(const std::string& volume);

  // doctor.cc
  void TierChecks(const std::string& volume, const KernelStatus& kernel,
                  std::vector<Check>* checks);
  void LegChecks(const std::string& volume, std::vector<Check>* checks);
  std::vector<Check> LeftoverChecks();

  Deps deps_;
  EngineOptions options_;
  std::mutex state_;
  std::condition_variable changed_;  // volumes, runners, events, progress
  std::map<std::string, VolumeRecord> volumes_;
  std::vector<Error> degraded_;                // guarded by state_
  std::set<std::string> damaged_;              // names of volumes whose record cannot be read
  std::map<std::string, RunningPtr> runners_;  // by modification id; finished ones for a while
  std::set<std::string> busy_;                 // volumes with an operation under way
  std::map<std::string, LastSeen> seen_;
  std::uint64_t wakes_ = 0;     // dm events so far
  std::int64_t pruned_us_ = 0;  // only the event loop's thread, and Start()
  std::atomic<bool> stopping_{false};
  std::thread event_thread_, tier_thread_, reconcile_thread_;
  std::map<std::string, Waiting> waiting_;  // by volume; guarded by state_
  std::set<std::string> looked_at_;  // volumes whose legs' names the user vouched for; state_
  std::map<std::string, std::shared_ptr<TierKeeper>> keepers_;  // by volume; guarded by state_
  std::map<std::string, TierSeen> tier_seen_;                   // only TickTiers' thread
  std::uint64_t tier_wakes_ = 0;                                // guarded by state_
  /// What counts the I/O of a volume's device; another one when the volume has another UUID.
  struct Counted {
    std::mutex mutex;
    std::string uuid;
    std::optional<AppCounters> counters;
  };
  std::mutex counted_mutex_;                                 // guards the map only
  std::map<std::string, std::shared_ptr<Counted>> counted_;  // by volume
  std::mutex top_mutex_;
  std::map<std::string, TopSeen> top_;  // guarded by top_mutex_
};

/// How often another device is looked for when another request was faster.
inline constexpr int kMostPicks = 16;

/// "tier1 of db0"
[[nodiscard]] inline std::string TierOf(const std::string& volume, TierLevel level) {
  return std::string(TierName(level)) + " of " + volume;
}

[[nodiscard]] inline Error NoSuchTier(const std::string& volume, TierLevel level) {
  return MakeError(Code::kNotFound, "The volume " + volume + " has no " + TierName(level) + ".",
                   "list its tiers with shadowctl tier list " + volume);
}

/// The modification of the volume that is not over yet, null if there is none.
[[nodiscard]] const ModificationRecord* RunningOf(
    const std::string& volume, const std::vector<ModificationRecord>& modifications);

/// A modification as people see it, from its record alone.
[[nodiscard]] ModificationInfo InfoFromRecord(const ModificationRecord& record,
                                              std::vector<HistoryEntry> history);

}  // namespace shadow
