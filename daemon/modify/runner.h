// SPDX-License-Identifier: Apache-2.0
// Carries one modification through: makes each state durable, does its step, records the outcome.
//
// The engine gives each runner a thread that calls Tick() until it is finished; tests call it by
// hand. Tick, Request and SetRate exclude each other; Info may be called any time and never waits
// for a step. After a crash a new runner over the stored records goes on with the step that was
// interrupted.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "daemon/base/interrupt.h"
#include "daemon/dm/table.h"
#include "daemon/modify/copier.h"
#include "daemon/modify/deps.h"
#include "daemon/modify/machine.h"
#include "daemon/store/records.h"

namespace shadow {

/// How a step ended, or that it did not yet.
struct StepOutcome {
  enum class Kind : std::uint8_t { kDone, kFailed, kNotReady, kBusy };
  Kind kind = Kind::kDone;
  std::optional<Error> error;  // none with kNotReady: nothing is wrong, it is just too early
  std::int64_t wait_ms = 0;    // for kBusy
};

class ModificationRunner {
 public:
  static constexpr std::int64_t kFinished = -1;

  ModificationRunner(const Deps& deps, ModificationRecord record, VolumeRecord volume);

  /// Does what is due. Returns in how many milliseconds it wants to be called again, or kFinished.
  std::int64_t Tick();

  /// Pause, resume, abort, roll back or commit. kFailedPrecondition when it is wrong now. A step
  /// that waits for a device or a command is interrupted for it; kUnavailable if it goes on all the
  /// same.
  Result<ModificationInfo> Request(ModEvent event);
  /// Bytes/s, or 0: by `impact`.
  Result<ModificationInfo> SetRate(std::uint64_t rate, Impact impact);

  /// The daemon ends in good order: what is left of a grace period is stored.
  void OnStop();

  /// Does `work` while no step is under way, and none begins.
  Status WhileIdle(const std::function<Status(const ModificationRecord&)>& work);

  [[nodiscard]] ModificationInfo Info() const;
  /// The volume as the modification left it so far.
  [[nodiscard]] VolumeRecord Volume() const;
  /// The target leg's device, "" when it is not known yet.
  [[nodiscard]] std::string TargetDevice() const;
  [[nodiscard]] const std::string& volume_name() const { return volume_name_; }

 private:
  using OutcomeKind = StepOutcome::Kind;

  StepOutcome RunStep();
  StepOutcome DoStep();
  [[nodiscard]] std::string WaitsForLeg();
  StepOutcome Trim();
  StepOutcome Backup();
  [[nodiscard]] LegOrder TargetOrder() const;
  Status HoldTarget();
  Status WipeOrigin();
  Status WipeTarget();
  StepOutcome MakeTarget();
  StepOutcome ExtendOrigin();
  StepOutcome Attach();
  StepOutcome GrowFs(bool at_end);
  StepOutcome Copy(Direction direction);
  StepOutcome CatchUp();
  StepOutcome Cutover();
  StepOutcome Grace();
  void StoreGrace(std::int64_t left);
  StepOutcome Commit();
  StepOutcome Detach();
  StepOutcome ReleaseOrigin();
  StepOutcome ReduceOrigin();
  StepOutcome StopCopy();
  StepOutcome RollBackTarget();
  StepOutcome AbortTarget();
  StepOutcome RestoreTable();
  StepOutcome ReleaseTarget();
  StepOutcome ShrinkBack();
  bool TookTable(const ShadowTable& table);
  Result<std::uint64_t> LengthNow();

  Status LastLook(const ShadowTable& wanted);
  Status CheckTail();
  StepOutcome PutTable(const ShadowTable& table, const std::optional<ShadowTable>& fallback);
  Result<ShadowTable> Tiered(const ShadowTable& table);
  StepOutcome DrainBeyond(std::uint64_t sectors);
  StepOutcome PhaseMessage(const char* message, const std::vector<std::string>& done_in);
  StepOutcome ForthMessage(const char* message, const char* done_in);
  Result<CopyPath> MeasurePath();
  Result<DeviceSpeed> SpeedOf(const Leg& leg, bool may_write);
  Status RoomInMetadata(std::uint64_t sectors);
  Status CheckReversible(ModEvent event);
  Status Enter(const Transition& transition, const std::optional<Error>& why);
  void Observe(const CopyProgress& progress);
  Result<std::unique_lock<std::timed_mutex>> BetweenSteps();
  void Publish();
  void Emit(const char* severity, const char* what, const std::string& message);

  Deps deps_;
  const std::string volume_name_;
  Interrupt interrupt_;            // of the step that is under way
  mutable std::timed_mutex work_;  // held during a step; guards what follows
  ModificationRecord record_;
  VolumeRecord volume_;
  LatencyMeter meter_;
  bool baseline_taken_ = false;
  std::unique_ptr<DeviceHold> target_hold_;  // from the check to the table
  std::unique_ptr<Copier> copier_;
  std::optional<CopyPath> path_;
  std::int64_t retry_at_us_ = 0;
  std::string waits_;          // for a leg: what was said of it
  bool mover_told_ = false;    // that it is paused
  bool grace_stored_ = false;  // since this runner began
  std::uint64_t last_copied_ = 0, last_mirrored_ = 0;
  bool counters_known_ = false;
  std::uint64_t trimmed_bytes_ = 0;  // of the step trim
  double smooth_rate_ = 0;
  std::optional<std::uint64_t> drain_failures_;  // of tiers, when the demotes were sent

  mutable std::mutex view_;  // guards what Info shows
  ModificationInfo info_;
  VolumeRecord volume_view_;
  std::string target_view_;
};

/// What the record alone says goes into `info`; progress, times of change and history stay.
void CopyRecord(const ModificationRecord& record, ModificationInfo& info);

}  // namespace shadow
