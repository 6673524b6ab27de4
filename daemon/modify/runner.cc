// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "daemon/base/sizes.h"
#include "daemon/modify/shrink_guard.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

constexpr std::int64_t kStoreRetryMs = 2000;
constexpr std::int64_t kPausedTickMs = 500;
// Long enough for a command to end after SIGTERM; less than what clients wait.
constexpr std::chrono::seconds kStepEnds{15};
// Lets the one who interrupted a step have the lock.
constexpr std::int64_t kInterruptedMs = 50;
constexpr std::int64_t kFirstRetryUs = 500'000;
constexpr std::int64_t kLastRetryUs = 30'000'000;

std::string Place(const ModificationRecord& m) {
  return m.state.kind == Kind::kMove ? m.target.device : m.origin.device;
}

// What a change of phase is called in the history when the transition had nothing to say.
std::string PhaseNote(const ModificationRecord& m) {
  switch (PhaseOf(m.state)) {
    case Phase::kPreparing:
      if (m.state.kind != Kind::kMove) return "Making room on " + m.origin.device + ".";
      return "Making the target " +
             (m.target.device.empty() ? "in class " + m.plan.to : m.target.device) + ".";
    case Phase::kCopying:
      return "The target is attached; copying to " + m.target.device + ".";
    case Phase::kCatchingUp:
      return "All blocks are copied; catching up.";
    case Phase::kCuttingOver:
      return "Making the target the home of every block.";
    case Phase::kGrace:
      return "The target is the home of every block; it can still be rolled back.";
    case Phase::kDecommissioning:
      return "The volume stays where it is now; releasing " + m.origin.device + ".";
    case Phase::kCompleted:
      return "The volume is on " + Place(m) + " with " + FormatSize(m.new_sectors * kSectorBytes) +
             ".";
    case Phase::kAborted:
      return "The volume is whole on its origin.";
    case Phase::kFailed:
      return "Failed; the volume is whole on its origin.";
    default:
      return "";
  }
}

// Whether the user asked for what the step does; the others are services on the way.
bool WasAskedFor(Step step) {
  return step == Step::kGrowFs || step == Step::kGrowFsAtEnd || step == Step::kReleaseOrigin ||
         step == Step::kReduceOrigin;
}

ModEvent EventOf(StepOutcome::Kind kind) {
  switch (kind) {
    case StepOutcome::Kind::kFailed:
      return ModEvent::kFailed;
    case StepOutcome::Kind::kNotReady:
      return ModEvent::kNotReady;
    default:
      return ModEvent::kDone;
  }
}

}  // namespace

ModificationRunner::ModificationRunner(const Deps& deps, ModificationRecord record,
                                       VolumeRecord volume)
    : deps_(deps),
      volume_name_(record.volume),
      record_(std::move(record)),
      volume_(std::move(volume)),
      meter_(*deps.dm, volume_name_) {
  const auto history = deps_.store->History(record_.id);
  if (history.ok()) info_.history = *history;
  Publish();
}

void ModificationRunner::Emit(const char* severity, const char* what, const std::string& message) {
  Event e;
  e.at_ms = deps_.clock->WallMs();
  e.volume = volume_name_;
  e.modification_id = record_.id;
  e.severity = severity;
  e.what = what;
  e.message = message;
  deps_.emit(std::move(e));
}

// Makes the new state durable, then lets it be seen. If the store refuses, nothing has happened.
Status ModificationRunner::Enter(const Transition& t, const std::optional<Error>& why) {
  ModificationRecord next = record_;
  next.state = t.state;
  if (why) next.error = why->ToString();
  if (t.accepted && !why && t.state.step != record_.state.step) next.error.clear();
  if (next.state.ending == Ending::kFail && next.error.empty()) next.error = record_.error;
  const Phase before = PhaseOf(record_.state);
  const Phase after = PhaseOf(next.state);
  // A roll-back that was given up: what it took is not taken from the grace period.
  if (next.state.step == Step::kGrace && record_.state.ending != Ending::kNone) next.grace = {};
  if (t.left_out && why && WasAskedFor(record_.state.step))
    next.left_out.push_back(why->ToString());
  if (IsFinal(after)) next.finished_ms = deps_.clock->WallMs();

  std::optional<HistoryEntry> history;
  // Retries of one and the same step are told once.
  const bool first_retry = t.retry_later && record_.state.attempts == 0;
  if (after != before || (!t.note.empty() && (!t.retry_later || first_retry))) {
    std::string note = t.note.empty() ? PhaseNote(next) : t.note;
    if (why) note += " " + why->ToString();
    history = HistoryEntry{deps_.clock->WallMs(), after, note};
  }
  ModificationUpdate update;
  update.record = &next;
  update.history = history;
  update.volume = &volume_;
  SHADOW_TRY(deps_.store->PutModification(update));

  const bool step_changed = next.state.step != record_.state.step;
  record_ = std::move(next);
  if (step_changed) {
    copier_.reset();
    retry_at_us_ = 0;
    mover_told_ = false;
  }
  if (t.retry_later) {
    const std::int64_t wait = kFirstRetryUs << std::min<int>(record_.state.attempts, 8);
    retry_at_us_ = deps_.clock->MonotonicUs() + std::min(wait, kLastRetryUs);
  }
  if (history) {
    const std::lock_guard<std::mutex> lock(view_);
    info_.history.push_back(*history);
  }
  Publish();
  if (after != before) {
    // A step that was left out may have been the last of its phase.
    Emit(after == Phase::kFailed ? "error" : why ? "warning" : "info", "phase", history->note);
  } else if (why) {
    Emit("warning", "step", history ? history->note : why->ToString());
  }
  spdlog::info("{} {}: {} ({})", volume_name_, record_.id, StepName(record_.state.step),
               PhaseName(after));
  return Ok();
}

// Waits for the step that is under way, after telling it not to wait any longer itself.
Result<std::unique_lock<std::timed_mutex>> ModificationRunner::BetweenSteps() {
  interrupt_.Set();
  std::unique_lock<std::timed_mutex> lock(work_, kStepEnds);
  interrupt_.Clear();
  if (lock.owns_lock()) return lock;
  return MakeError(Code::kUnavailable,
                   "What the modification does now (" + std::string(PhaseName(Info().phase)) +
                       ") waits for a device that does not answer.",
                   "look for a disk or path that does not answer, then try again");
}

std::int64_t ModificationRunner::Tick() {
  const std::lock_guard<std::timed_mutex> lock(work_);
  if (record_.state.step == Step::kEnd) return kFinished;
  const std::int64_t now = deps_.clock->MonotonicUs();
  if (now < retry_at_us_) return std::max<std::int64_t>(1, (retry_at_us_ - now) / 1000);

  StepOutcome outcome;
  {
    const InterruptScope scope(&interrupt_);
    outcome = RunStep();
    // It did not fail by itself. What interrupted it comes first, then it is done again.
    if (outcome.kind == OutcomeKind::kFailed && Interrupted()) {
      outcome = {OutcomeKind::kBusy, {}, kInterruptedMs};
    }
  }
  if (outcome.kind == OutcomeKind::kBusy) {
    Publish();
    return outcome.wait_ms;
  }
  const Transition t = Apply(record_.state, EventOf(outcome.kind));
  const Status entered = Enter(t, outcome.error);
  if (!entered.ok()) {
    // The step was done but cannot be recorded: it is done again when the store can write.
    spdlog::error("{}: {}", volume_name_, entered.error().ToString());
    record_.error = entered.error().ToString();
    retry_at_us_ = deps_.clock->MonotonicUs() + kStoreRetryMs * 1000;
    Publish();
    return kStoreRetryMs;
  }
  if (t.pause_mover) (void)deps_.dm->Message(volume_name_, "pause");
  if (record_.state.step == Step::kEnd) {
    meter_.Stop();
    // The next plan's estimate of the pause.
    if (record_.cutover_pause_us != 0)
      (void)deps_.store->PutSpeed("pause", {0, 0, record_.cutover_pause_us});
    return kFinished;
  }
  return retry_at_us_ > 0 ? std::max<std::int64_t>(1, (retry_at_us_ - now) / 1000) : 0;
}

// What a step needs that is not there: the volume, or a home leg. "": it can be done. A disk that
// is away comes back; until then nothing is tried, and no attempt is used up.
std::string ModificationRunner::WaitsForLeg() {
  const Step step = record_.state.step;
  const bool back = step >= Step::kStopCopy && step <= Step::kReleaseTarget;
  const bool forth = step >= Step::kTrim && step <= Step::kCommit && step != Step::kMakeTarget;
  // What removes a copy, or ends in the file system, waits for the volume on the one that stays.
  const bool after = step >= Step::kGrowFsAtEnd && step <= Step::kReduceOrigin;
  if (!back && !forth && !after) return "";
  const auto info = deps_.dm->Info(volume_name_);
  if (!info.ok() && info.error().code != Code::kNotFound) return "";  // the step says why
  if (!info.ok() || !info->live_table) return "Waiting for the volume: it is not up.";
  const auto line = deps_.dm->TableOf(volume_name_);
  const auto table =
      line.ok() ? ParseTable(line->sectors, line->params) : Result<ShadowTable>(line.error());
  if (!table.ok()) return "";
  // Turning back needs the origin, going on needs the target. From the cut-over on only the way
  // back needs the origin.
  if (table->origin.device == "-" && (back || after || step < Step::kGrace))
    return "Waiting for the origin " + volume_.origin.device + ".";
  if (forth && table->target && table->target->device == "-")
    return "Waiting for the target " + record_.target.device + "; an abort does not need it.";
  return "";
}

StepOutcome ModificationRunner::RunStep() {
  const std::string waits = WaitsForLeg();
  if (waits != waits_) {
    if (!waits.empty()) Emit("warning", "step", waits);
    if (waits.empty())
      Emit("info", "step", "What was waited for is back; the modification goes on.");
    waits_ = waits;
    record_.error = waits;
    copier_.reset();
  }
  if (!waits.empty()) return {OutcomeKind::kBusy, {}, kPausedTickMs};
  return DoStep();
}

StepOutcome ModificationRunner::DoStep() {
  const bool copying = record_.state.step == Step::kCopy || record_.state.step == Step::kCatchUp;
  if (record_.state.paused && copying) {
    if (!mover_told_) {
      const auto paused = deps_.dm->Message(volume_name_, "pause");
      mover_told_ = paused.ok();
      copier_.reset();  // told to resume, it starts the mover again
    }
    return {OutcomeKind::kBusy, {}, kPausedTickMs};
  }
  // Names may have changed since the last step (not what is asked ten times a second).
  if (!copying && record_.state.step != Step::kRemirror && record_.state.step != Step::kGrace) {
    record_.origin = Located(*deps_.identities, std::move(record_.origin));
    record_.target = Located(*deps_.identities, std::move(record_.target));
    volume_ = Located(*deps_.identities, std::move(volume_));
  }
  switch (record_.state.step) {
    case Step::kStart:
      return {};
    case Step::kTrim:
      return Trim();
    case Step::kBackup:
      return Backup();
    case Step::kMakeTarget:
      return MakeTarget();
    case Step::kExtendOrigin:
      return ExtendOrigin();
    case Step::kAttach:
      return Attach();
    case Step::kGrowFs:
      return GrowFs(false);
    case Step::kGrowFsAtEnd:
      return GrowFs(true);
    case Step::kCopy:
      return Copy(Direction::kToTarget);
    case Step::kCatchUp:
      return CatchUp();
    case Step::kCutover:
      return Cutover();
    case Step::kGrace:
      return Grace();
    case Step::kCommit:
      return Commit();
    case Step::kDetach:
      return Detach();
    case Step::kReleaseOrigin:
      return ReleaseOrigin();
    case Step::kReduceOrigin:
      return ReduceOrigin();
    case Step::kStopCopy:
      return StopCopy();
    case Step::kRemirror:
      return Copy(Direction::kToOrigin);
    case Step::kRollBack:
      return RollBackTarget();
    case Step::kAbortTarget:
      return AbortTarget();
    case Step::kRestoreTable:
      return RestoreTable();
    case Step::kReleaseTarget:
      return ReleaseTarget();
    case Step::kShrinkBack:
      return ShrinkBack();
    case Step::kEnd:
      break;
  }
  return {};
}

// Turning back after a grow would lose what was written beyond the old end: say so before starting.
Status ModificationRunner::CheckReversible(ModEvent event) {
  if (event != ModEvent::kAbort && event != ModEvent::kRollBack) return Ok();
  if (record_.state.kind != Kind::kMove || record_.state.step <= Step::kMakeTarget) return Ok();
  return CheckTail();
}

// Whether anything lies beyond the old end of a volume that was grown: data, or the promise of a
// file system that it ends there (btrfs grows without writing to what it gained).
Status ModificationRunner::CheckTail() {
  if (record_.new_sectors <= record_.old_sectors) return Ok();
  const auto status = ReadStatus(*deps_.dm, volume_name_);
  if (!status.ok() || status->kernel.phase == "steady") return Ok();
  if (status->kernel.tail != 0) {
    return MakeError(
        Code::kFailedPrecondition,
        "The volume was grown, and " +
            FormatSize(status->kernel.tail * status->kernel.block_bytes) +
            " of data lie beyond its old end.",
        "shrink the file system and discard what is beyond the old end (fstrim), or commit");
  }
  const ShrinkVerdict verdict = LookBeyond(deps_, volume_name_, record_.old_sectors * kSectorBytes);
  if (verdict.fits || !verdict.known) return Ok();
  return MakeError(Code::kFailedPrecondition, verdict.why,
                   "shrink the file system to what it was, or commit");
}

Result<ModificationInfo> ModificationRunner::Request(ModEvent event) {
  {
    SHADOW_ASSIGN(const std::unique_lock<std::timed_mutex> lock, BetweenSteps());
    const Transition t = Apply(record_.state, event);
    if (!t.accepted) {
      return MakeError(Code::kFailedPrecondition, t.note,
                       std::string("its phase is ") + PhaseName(PhaseOf(record_.state)));
    }
    SHADOW_TRY(CheckReversible(event));
    SHADOW_TRY(Enter(t, std::nullopt));
    // If the kernel cannot be told now, the next tick does it.
    if (t.pause_mover) mover_told_ = deps_.dm->Message(volume_name_, "pause").ok();
    if (t.resume_mover) (void)deps_.dm->Message(volume_name_, "resume");
    retry_at_us_ = 0;
    copier_.reset();
  }
  return Info();
}

Result<ModificationInfo> ModificationRunner::SetRate(std::uint64_t rate, Impact impact) {
  {
    SHADOW_ASSIGN(const std::unique_lock<std::timed_mutex> lock, BetweenSteps());
    if (record_.state.step == Step::kEnd) {
      return MakeError(Code::kFailedPrecondition, "The modification is over.");
    }
    ModificationRecord next = record_;
    next.request.rate = rate;
    next.request.impact = impact;
    ModificationUpdate update;
    update.record = &next;
    SHADOW_TRY(deps_.store->PutModification(update));
    record_ = std::move(next);
    Publish();
  }
  return Info();
}

void ModificationRunner::Observe(const CopyProgress& p) {
  const KernelStatus& k = p.status.kernel;
  record_.bytes_total = (k.blocks - k.hole) * k.block_bytes;
  // The kernel counts from its own start: add what came since the last look.
  if (counters_known_) {
    const auto since = [](std::uint64_t now, std::uint64_t before) {
      return now >= before ? now - before : now;
    };
    record_.bytes_copied += since(k.copied, last_copied_) * k.block_bytes;
    record_.mirrored_writes += since(k.mirrored_writes, last_mirrored_);
  }
  counters_known_ = true;
  last_copied_ = k.copied;
  last_mirrored_ = k.mirrored_writes;
  smooth_rate_ = smooth_rate_ == 0 ? static_cast<double>(p.rate)
                                   : 0.8 * smooth_rate_ + 0.2 * static_cast<double>(p.rate);
  const std::lock_guard<std::mutex> lock(view_);
  const bool back = record_.state.ending != Ending::kNone;
  const std::uint64_t there = back ? k.origin + k.mirrored : k.mirrored + k.retiring + k.target;
  info_.bytes_done = std::min(record_.bytes_total, there * k.block_bytes);
  info_.rate = static_cast<std::uint64_t>(smooth_rate_);
  info_.limited_by_latency = p.limited_by_latency;
  const std::uint64_t left = record_.bytes_total - info_.bytes_done;
  info_.eta_ms = smooth_rate_ < 1
                     ? -1
                     : static_cast<std::int64_t>(static_cast<double>(left) * 1000 / smooth_rate_);
  if (p.app.ios > 0) {
    info_.app_p50_us = p.app.p50_us;
    info_.app_p99_us = p.app.p99_us;
  }
}

void CopyRecord(const ModificationRecord& record, ModificationInfo& info) {
  info.id = record.id;
  info.volume = record.volume;
  info.request_id = record.request.request_id;
  info.request = record.request;
  info.plan = record.plan;
  info.phase = PhaseOf(record.state);
  info.error = record.error;
  info.left_out = record.left_out;
  info.bytes_total = record.bytes_total;
  info.bytes_copied = record.bytes_copied;
  info.mirrored_writes = record.mirrored_writes;
  info.app_baseline_p50_us = record.baseline_p50_us;
  info.app_baseline_p99_us = record.baseline_p99_us;
  info.cutover_pause_us = record.cutover_pause_us;
  info.started_ms = record.started_ms;
  info.finished_ms = record.finished_ms;
  info.grace_ends_ms = info.phase == Phase::kGrace ? record.grace_ends_ms : 0;
}

void ModificationRunner::Publish() {
  const std::lock_guard<std::mutex> lock(view_);
  CopyRecord(record_, info_);
  if (info_.phase != Phase::kCopying && info_.phase != Phase::kAborting &&
      info_.phase != Phase::kRollingBack) {
    info_.rate = 0;
    info_.eta_ms = -1;
    info_.limited_by_latency = false;
  }
  if (info_.phase == Phase::kGrace || info_.phase == Phase::kCompleted) {
    info_.bytes_done = info_.bytes_total;
  }
  // Strictly growing, so that nobody who waits for a change misses one.
  info_.updated_ms = std::max(info_.updated_ms + 1, deps_.clock->WallMs());
  volume_view_ = volume_;
  target_view_ = record_.target.device;
}

ModificationInfo ModificationRunner::Info() const {
  const std::lock_guard<std::mutex> lock(view_);
  return info_;
}

std::string ModificationRunner::TargetDevice() const {
  const std::lock_guard<std::mutex> lock(view_);
  return target_view_;
}

VolumeRecord ModificationRunner::Volume() const {
  const std::lock_guard<std::mutex> lock(view_);
  return volume_view_;
}

}  // namespace shadow
