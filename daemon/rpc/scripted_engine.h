// SPDX-License-Identifier: Apache-2.0
// An engine that plays a script, for tests of the services and of shadowctl.
//
// Keeps volumes and modifications in memory. Every WaitModification plays the next frame of the
// modification's script, so nothing depends on time: a modification that is watched runs to its
// end, one that is not stands still. Any method can be told to fail. Thread safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/engine/engine.h"

namespace shadow::rpc {

class ScriptedEngine final : public Engine {
 public:
  /// Starts with the classes `hdd` and `nvme`, and the volumes `db0` (10 GiB on hdd), `logs`, and
  /// `broken`, whose modifications fail in the middle and whose tiers fail. No volume has tiers
  /// yet.
  explicit ScriptedEngine(ManualClock& clock);

  /// From now on the method `name` ("CreateVolume", ...) fails with `error`.
  void FailWith(const std::string& name, Error error);
  /// While true, WaitModification blocks instead of playing; Release() ends all waits.
  void Hold(bool hold);
  /// Names of the methods called, with their first argument, oldest first.
  [[nodiscard]] std::vector<std::string> Calls();
  /// The last request given to Modify or PlanModification.
  [[nodiscard]] ModifyRequest LastModify();
  void AddEvent(Event event);
  /// Runs and cells that the maps of every volume with tiers have from now on.
  void SetMaps(std::vector<TierRun> runs, std::vector<HeatCell> cells);

  Result<VolumeInfo> CreateVolume(const CreateRequest& request) override;
  Result<VolumeInfo> ImportVolume(const ImportRequest& request) override;
  Result<std::string> ExportVolume(const std::string& name) override;
  Result<DeleteReport> DeleteVolume(const DeleteRequest& request) override;
  Result<std::vector<VolumeInfo>> ListVolumes() override;
  Result<VolumeInfo> GetVolume(const std::string& name) override;
  Result<VolumeInfo> ActivateVolume(const std::string& name, bool /*unstable_names*/) override;
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
  /// Without `forget`: every ListTiers of the volume plays a step of the way home.
  Result<TierInfo> RemoveTier(const RemoveTierRequest& request) override;
  Result<TierInfo> SetTierMode(const std::string& volume, TierLevel level,
                               bool write_back) override;
  Result<PlacementInfo> SetTierPolicy(const std::string& volume, const TierPolicy& policy) override;
  Result<TiersInfo> ListTiers(const std::string& volume) override;
  Result<std::vector<HeatCell>> GetHeatMap(const std::string& volume,
                                           std::uint32_t ranges) override;
  Result<std::vector<TierRun>> GetTierMap(const std::string& volume) override;
  Result<BlockExplanation> ExplainBlock(const std::string& volume, std::uint64_t block) override;
  /// Nothing at the first look, a second of I/O at every other.
  Result<std::vector<VolumeTop>> Top(const std::string& volume) override;
  /// A thousand reads more at every look; nothing of a volume that is not there.
  Result<AppTotals> ReadCounters(const std::string& volume) override;
  /// The first half of the volume's blocks on the origin, the rest holes.
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
  struct Frame {
    Phase phase;
    int percent;
  };
  struct Running {
    ModificationInfo info;
    std::deque<Frame> script;
  };
  struct Remembered {
    std::string content;
    std::string name;
  };

  // All below: mutex_ is held.
  [[nodiscard]] Status Enter(const std::string& method, const std::string& argument);
  [[nodiscard]] Result<Plan> MakePlan(const ModifyRequest& request);
  [[nodiscard]] Result<Running*> Find(const std::string& id);
  [[nodiscard]] Result<TierInfo*> FindTier(const std::string& volume, TierLevel level);
  [[nodiscard]] std::vector<TierRun> RunsOf(const std::string& volume) const;
  void ShowTiers(const std::string& volume);
  void Play(Running& running);
  void Show(Running& running, Frame frame);
  [[nodiscard]] Result<VolumeInfo> AddVolume(const std::string& request_id,
                                             const std::string& content, VolumeInfo info);
  [[nodiscard]] Result<ModificationInfo> Turn(const std::string& method, const std::string& id,
                                              const std::vector<Phase>& allowed,
                                              const std::string& refusal, Phase now,
                                              std::deque<Frame> script);

  ManualClock& clock_;   // runs while waits wait
  std::int64_t now_ms_;  // time in the records: a second for each frame, nothing else
  std::mutex mutex_;
  std::condition_variable changed_;
  bool hold_ = false;
  std::map<std::string, VolumeInfo> volumes_;
  std::map<std::string, Running> running_;
  std::map<std::string, Remembered> requests_;
  std::map<std::string, Error> failures_;
  std::vector<std::string> calls_;
  std::vector<Event> events_;
  ModifyRequest last_modify_;
  std::map<std::string, TiersInfo> tiers_;  // of volumes that have some
  std::optional<std::vector<TierRun>> runs_;
  std::optional<std::vector<HeatCell>> cells_;
  std::uint64_t looks_ = 0;                       // at Top
  std::map<std::string, std::uint64_t> counted_;  // looks at the counters
};

}  // namespace shadow::rpc
