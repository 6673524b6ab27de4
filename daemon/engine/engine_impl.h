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

#include "daemon/engine/engine.h"
#include "daemon/modify/deps.h"
#include "daemon/modify/planner.h"
#include "daemon/modify/runner.h"

namespace shadow {

struct EngineOptions {
  bool threads = true;
  bool measure_classes = true;  // read from each class once, to know its speed
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
  /// Ticks every running modification once (without threads). Returns how many still run.
  std::size_t Step();

  Result<VolumeInfo> CreateVolume(const CreateRequest& request) override;
  Result<VolumeInfo> ImportVolume(const ImportRequest& request) override;
  Result<std::string> ExportVolume(const std::string& name) override;
  Status DeleteVolume(const std::string& name, bool destroy_data) override;
  Result<std::vector<VolumeInfo>> ListVolumes() override;
  Result<VolumeInfo> GetVolume(const std::string& name) override;
  Result<std::vector<ClassInfo>> ListClasses() override;

  Result<Plan> PlanModification(const ModifyRequest& request) override;
  Result<ModificationInfo> Modify(const ModifyRequest& request) override;
  Result<ModificationInfo> GetModification(const std::string& id) override;
  Result<std::vector<ModificationInfo>> ListModifications(const std::string& volume) override;
  Result<ModificationInfo> Pause(const std::string& id) override;
  Result<ModificationInfo> Resume(const std::string& id) override;
  Result<ModificationInfo> Abort(const std::string& id) override;
  Result<ModificationInfo> RollBack(const std::string& id) override;
  Result<ModificationInfo> Commit(const std::string& id) override;
  Result<ModificationInfo> SetRate(const std::string& id, std::uint64_t rate,
                                   Impact impact) override;
  Result<ModificationInfo> WaitModification(const std::string& id, std::int64_t seen_updated_ms,
                                            std::int64_t timeout_ms) override;
  Result<std::vector<Event>> WaitEvents(std::uint64_t after_seq, std::size_t limit,
                                        std::int64_t timeout_ms) override;
  Result<std::vector<Check>> Doctor() override;

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

  // engine_impl.cc
  void StartRunner(const ModificationRecord& record, const VolumeRecord& volume);
  void RunnerLoop(const RunningPtr& running);
  void AfterTick(const RunningPtr& running, bool finished);
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
  Result<Planned> PlanFor(const VolumeRecord& volume, const ModifyRequest& request);

  // volumes.cc
  Status Activate(const VolumeRecord& volume, const ModificationRecord* running);
  Status FinishRemoval(const VolumeRecord& volume);
  Status CheckNewName(const std::string& name);
  Status RemoveLegsOf(const VolumeRecord& volume);
  void CleanLeftovers(const std::vector<ModificationRecord>& modifications);
  Result<VolumeInfo> Finish(VolumeRecord record, const std::string& metadata_place,
                            const std::string& own_class);
  Result<VolumeInfo> Establish(VolumeRecord record, const std::string& metadata_place,
                               const std::string& own_class);
  Result<Leg> MakeMetadata(const VolumeRecord& record, const std::string& place,
                           const std::string& own_class);
  Result<Leg> FreeDevice(const std::string& path);
  void MeasureClasses();
  Result<std::string> MetadataClass(const std::string& own_class);
  VolumeInfo InfoOf(const VolumeRecord& record);
  Status CheckIdle(const VolumeRecord& record);

  // doctor.cc
  std::vector<Check> LeftoverChecks();

  Deps deps_;
  EngineOptions options_;
  std::mutex state_;
  std::condition_variable changed_;  // volumes, runners, events, progress
  std::map<std::string, VolumeRecord> volumes_;
  std::map<std::string, RunningPtr> runners_;  // by modification id; kept after they finished
  std::set<std::string> busy_;                 // volumes with an operation under way
  std::map<std::string, LastSeen> seen_;
  std::uint64_t wakes_ = 0;  // dm events so far
  std::atomic<bool> stopping_{false};
  std::thread event_thread_;
};

/// A modification as people see it, from its record alone.
[[nodiscard]] ModificationInfo InfoFromRecord(const ModificationRecord& record,
                                              std::vector<HistoryEntry> history);

}  // namespace shadow
