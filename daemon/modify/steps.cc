// SPDX-License-Identifier: Apache-2.0
// The steps of a modification: what each does in the world. Every one can be repeated, whether its
// effect happened before or not.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>

#include "daemon/base/sizes.h"
#include "daemon/modify/admission.h"
#include "daemon/modify/grace.h"
#include "daemon/modify/removal.h"
#include "daemon/modify/runner.h"
#include "daemon/modify/shrink_guard.h"
#include "daemon/modify/tables.h"
#include "daemon/modify/tiers.h"

namespace shadow {
namespace {

constexpr std::int64_t kCopyTickMs = 100;
constexpr std::uint64_t kTrimBytes = std::uint64_t{1} << 30;
constexpr std::int64_t kLowCopyTickMs = 200;  // looking takes CPU time from the application, too
constexpr std::int64_t kGraceTickMs = 1000;
constexpr std::int64_t kGraceStoreMs = 60'000;
constexpr std::int64_t kBaselineMs = 500;

StepOutcome Fail(const Error& error) { return {StepOutcome::Kind::kFailed, error, 0}; }
StepOutcome NotReady(const Error& error) { return {StepOutcome::Kind::kNotReady, error, 0}; }
StepOutcome FromStatus(const Status& status) {
  return status.ok() ? StepOutcome{} : Fail(status.error());
}

}  // namespace

StepOutcome ModificationRunner::Trim() {
  if (trimmed_bytes_ == 0) meter_.Start();
  const std::uint64_t end = record_.old_sectors * kSectorBytes;
  if (!record_.request.trim_first || trimmed_bytes_ >= end) return {};
  const auto info = deps_.fs->Inspect(DevicePath(volume_name_));
  if (!info.ok()) return Fail(info.error());
  if (info->mount_point.empty()) return {};
  const Status trimmed = deps_.fs->Trim(DevicePath(volume_name_), trimmed_bytes_, kTrimBytes);
  if (!trimmed.ok()) return Fail(trimmed.error());
  trimmed_bytes_ += kTrimBytes;
  // In between, requests (pause, abort) get their turn.
  return {OutcomeKind::kBusy, {}, 0};
}

StepOutcome ModificationRunner::Backup() {
  const auto synced = deps_.dm->Message(volume_name_, "sync");
  if (!synced.ok()) return Fail(synced.error());
  const std::string directory = deps_.state_dir + "/backup";
  std::error_code ignored;  // Backup says what is wrong if the directory cannot be used
  std::filesystem::create_directories(directory, ignored);
  const std::uint64_t blocks =
      (record_.old_sectors + volume_.block_sectors - 1) / volume_.block_sectors;
  const auto tiers = deps_.store->Tiers(volume_name_);
  if (!tiers.ok()) return Fail(tiers.error());
  // With tiers the slot area at the end belongs to it, too.
  const std::uint64_t bytes = std::max(MetadataBytes(blocks), tiers->metadata_end);
  return FromStatus(deps_.blocks->Backup(volume_.metadata.device, bytes,
                                         directory + "/" + volume_name_ + ".metadata"));
}

Status ModificationRunner::RoomInMetadata(std::uint64_t sectors) {
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume_name_));
  return GrowMetadata(deps_, volume_, tiers, sectors);
}

LegOrder ModificationRunner::TargetOrder() const {
  LegOrder order;
  order.storage_class = record_.plan.to;
  order.size_bytes = record_.new_sectors * kSectorBytes;
  order.volume = volume_name_;
  order.volume_uuid = volume_.uuid;
  order.modification = record_.id;
  order.role = "target";
  return order;
}

StepOutcome ModificationRunner::MakeTarget() {
  if (auto room = RoomInMetadata(record_.new_sectors); !room.ok()) return Fail(room.error());
  bool blank = false;
  if (record_.target.device.empty()) {
    auto made = deps_.legs->Make(TargetOrder());
    if (!made.ok()) return Fail(made.error());
    record_.target = *made;
    blank = true;
  }
  // Somebody may have taken it, or written there, since the plan was made.
  if (auto held = HoldTarget(); !held.ok()) return Fail(held.error());
  (void)SpeedOf(record_.target, blank);
  (void)SpeedOf(record_.origin, false);
  return {};
}

// From here to the table nobody else gets the target. After a crash in between it is looked at
// again.
Status ModificationRunner::HoldTarget() {
  if (record_.target.made_here || target_hold_ != nullptr) return Ok();
  SHADOW_ASSIGN(const BlockInfo origin, deps_.blocks->Describe(record_.origin.device));
  Admission how;
  how.role = "target";
  how.volume = volume_name_;
  how.volume_uuid = volume_.uuid;
  how.least_bytes = record_.new_sectors * kSectorBytes;
  how.most_sector = origin.logical_block;
  how.from_class = record_.request.to.empty() || record_.request.to[0] != '/';
  how.allowed = {record_.request.overwrite, record_.request.unstable_names};
  SHADOW_ASSIGN(target_hold_, HoldForWriting(deps_, record_.target, how));
  return Ok();
}

// Measured once for a class, or for a device outside every class, and remembered.
Result<DeviceSpeed> ModificationRunner::SpeedOf(const Leg& leg, bool may_write) {
  const std::string key =
      leg.storage_class.empty() ? "leg:" + leg.id : "class:" + leg.storage_class;
  SHADOW_ASSIGN(std::optional<DeviceSpeed> known, deps_.store->FindSpeed(key));
  if (known && (known->write_bandwidth != 0 || !may_write)) return *known;
  SHADOW_ASSIGN(DeviceSpeed speed,
                deps_.blocks->Probe(Located(*deps_.identities, leg).device, may_write));
  if (known && speed.write_bandwidth == 0) speed.write_bandwidth = known->write_bandwidth;
  const Status kept = deps_.store->PutSpeed(key, speed);
  if (!kept.ok()) spdlog::warn("{}", kept.error().ToString());
  spdlog::info("{}: reads {}/s in {} us, writes {}/s", key, FormatSize(speed.read_bandwidth),
               speed.read_latency_us, FormatSize(speed.write_bandwidth));
  return speed;
}

Result<CopyPath> ModificationRunner::MeasurePath() {
  CopyPath path;
  path.block_bytes = volume_.block_sectors * kSectorBytes;
  const auto source = SpeedOf(record_.origin, false);
  const auto target = SpeedOf(record_.target, false);
  if (source.ok()) {
    path.source_bandwidth = source->read_bandwidth;
    path.source_latency_us = source->read_latency_us;
  }
  if (target.ok()) path.target_bandwidth = target->write_bandwidth;
  return path;
}

StepOutcome ModificationRunner::ExtendOrigin() {
  if (auto room = RoomInMetadata(record_.new_sectors); !room.ok()) return Fail(room.error());
  const std::uint64_t bytes = record_.new_sectors * kSectorBytes;
  const auto info = deps_.blocks->Describe(record_.origin.device);
  if (!info.ok()) return Fail(info.error());
  if (info->size_bytes >= bytes) return {};
  return FromStatus(deps_.legs->Extend(record_.origin, bytes));
}

StepOutcome ModificationRunner::PutTable(const ShadowTable& table,
                                         const std::optional<ShadowTable>& fallback) {
  const auto wanted = Tiered(table);
  if (!wanted.ok()) return Fail(wanted.error());
  std::optional<ShadowTable> back;
  if (fallback) {
    const auto tiered = Tiered(*fallback);
    if (!tiered.ok()) return Fail(tiered.error());
    back = *tiered;
  }
  const auto live = IsLive(*deps_.dm, volume_name_, *wanted);
  if (!live.ok()) return Fail(live.error());
  // A table that was loaded before a crash, and is not wanted any more, would hold its legs open.
  if (*live) {
    const auto info = deps_.dm->Info(volume_name_);
    if (info.ok() && info->inactive_table) {
      if (auto cleared = deps_.dm->ClearInactive(volume_name_); !cleared.ok())
        return Fail(cleared.error());
    }
  }
  if (!*live) {
    if (const Status fits = LastLook(*wanted); !fits.ok()) return Fail(fits.error());
    const auto pause = SwapTable(*deps_.dm, *deps_.clock, volume_name_, *wanted, back);
    if (!pause.ok()) return Fail(pause.error());
    record_.cutover_pause_us = std::max(record_.cutover_pause_us, *pause);
    return {};
  }
  // A crash between load and resume left another table beside it, which holds that one's legs open.
  const auto info = deps_.dm->Info(volume_name_);
  if (info.ok() && info->inactive_table) {
    const Status cleared = deps_.dm->ClearInactive(volume_name_);
    if (!cleared.ok()) return Fail(cleared.error());
  }
  return {};
}

// Before a shorter table: the file system may have grown since the plan was made. On the way back
// it is asked before the kernel gives the tail up (AbortTarget).
Status ModificationRunner::LastLook(const ShadowTable& wanted) {
  if (record_.state.ending != Ending::kNone) return Ok();
  SHADOW_ASSIGN(const DmTarget now, deps_.dm->TableOf(volume_name_));
  if (wanted.sectors >= now.sectors) return Ok();
  return GuardShrink(deps_, volume_name_, wanted.sectors * kSectorBytes,
                     record_.request.force_shrink);
}

// Every table carries the volume's tiers, as they are now; a device that is gone is missing.
Result<ShadowTable> ModificationRunner::Tiered(const ShadowTable& table) {
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume_name_));
  return Located(*deps_.identities, WithTiers(table, tiers));
}

// The kernel refuses a shorter table while blocks beyond its end have shadows: sends them home.
StepOutcome ModificationRunner::DrainBeyond(std::uint64_t sectors) {
  const auto status = ReadStatus(*deps_.dm, volume_name_);
  if (!status.ok()) return Fail(status.error());
  if (!status->kernel.tiers[0] && !status->kernel.tiers[1]) return {};
  const std::uint64_t keep = (sectors + volume_.block_sectors - 1) / volume_.block_sectors;
  if (keep >= status->kernel.blocks) return {};
  const auto left =
      ReadTiers(*deps_.dm, volume_name_, BlockRange{keep, status->kernel.blocks - keep});
  if (!left.ok()) return Fail(left.error());
  if (left->empty()) return {};
  if (const Status able = CheckDrain(*status, *left, volume_name_); !able.ok()) {
    return Fail(able.error());
  }
  if (!TiersIdle(*status)) return {OutcomeKind::kBusy, {}, kCopyTickMs};
  // Nothing is queued, and still there: it was tried and could not be written home.
  if (drain_failures_ && *drain_failures_ != status->kernel.tier_failures) {
    drain_failures_.reset();
    return Fail(MakeError(Code::kIoError, "Shadows beyond the new end cannot be written home.",
                          "look at the kernel's log; shadowctl tier show names the tier"));
  }
  drain_failures_ = status->kernel.tier_failures;
  std::vector<BlockRange> ranges;
  for (const TierRun& run : *left) ranges.push_back(run.range);
  for (const std::string& message : RangeMessages("demote", ranges)) {
    const auto sent = deps_.dm->Message(volume_name_, message);
    if (!sent.ok() && sent.error().code != Code::kOutOfSpace) return Fail(sent.error());
  }
  return {OutcomeKind::kBusy, {}, kCopyTickMs};
}

Status ModificationRunner::WhileIdle(const std::function<Status(const ModificationRecord&)>& work) {
  SHADOW_ASSIGN(const std::unique_lock<std::timed_mutex> lock, BetweenSteps());
  return work(record_);
}

StepOutcome ModificationRunner::Attach() {
  if (record_.new_sectors < record_.old_sectors) {
    StepOutcome drained = DrainBeyond(record_.new_sectors);
    if (drained.kind != OutcomeKind::kDone) return drained;
  }
  const LatencyWindow before = meter_.Take();
  if (before.ios > 0) {
    record_.baseline_p50_us = before.p50_us;
    record_.baseline_p99_us = before.p99_us;
    // Making the target disturbed the application. Modes that promise something about its latency
    // take a window in which nothing else went on.
    const bool promise =
        record_.state.kind == Kind::kMove && record_.request.impact != Impact::kFull;
    if (promise && !baseline_taken_) {
      baseline_taken_ = true;
      return {OutcomeKind::kBusy, {}, kBaselineMs};
    }
  }
  const bool move = record_.state.kind == Kind::kMove;
  ShadowTable table = move ? TwoLegTable(volume_, record_)
                           : OneLegTable(volume_, record_.origin, record_.new_sectors);
  table.shrink = record_.new_sectors < record_.old_sectors;
  if (move) {
    const auto wanted = Tiered(table);
    const auto live =
        wanted.ok() ? IsLive(*deps_.dm, volume_name_, *wanted) : Result<bool>(wanted.error());
    if (!live.ok()) return Fail(live.error());
    if (!*live && !record_.target_touched) {
      if (auto held = HoldTarget(); !held.ok()) return Fail(held.error());
    }
    record_.target_touched = true;
  }
  target_hold_.reset();  // the table takes it now
  StepOutcome put = PutTable(table, OneLegTable(volume_, record_.origin, record_.old_sectors));
  if (put.kind == OutcomeKind::kFailed && TookTable(table)) put = {};
  if (put.kind == OutcomeKind::kDone) volume_.sectors = record_.new_sectors;
  if (put.kind == OutcomeKind::kFailed) {
    // If the table before is in place the target is what it was, and is looked at again.
    const auto before = Tiered(OneLegTable(volume_, record_.origin, record_.old_sectors));
    const auto live =
        before.ok() ? IsLive(*deps_.dm, volume_name_, *before) : Result<bool>(before.error());
    if (live.ok() && *live) record_.target_touched = false;
  }
  return put;
}

// A call that was given up may have had its effect all the same.
bool ModificationRunner::TookTable(const ShadowTable& table) {
  const auto wanted = Tiered(table);
  const auto info = deps_.dm->Info(volume_name_);
  if (!wanted.ok() || !info.ok() || info->suspended) return false;
  const auto live = IsLive(*deps_.dm, volume_name_, *wanted);
  return live.ok() && *live;
}

StepOutcome ModificationRunner::GrowFs(bool at_end) {
  if (!record_.request.grow_filesystem || record_.new_sectors <= record_.old_sectors) return {};
  // In place there is no way back that could be closed.
  const bool now = record_.request.grow_now || record_.state.kind != Kind::kMove;
  if (now == at_end) return {};
  return FromStatus(deps_.fs->Grow(DevicePath(volume_name_)));
}

StepOutcome ModificationRunner::Copy(Direction direction) {
  if (direction == Direction::kToOrigin) {
    const auto status = ReadStatus(*deps_.dm, volume_name_);
    if (!status.ok()) return Fail(status.error());
    if (status->kernel.phase == "steady") return {};
  }
  if (!copier_) {
    meter_.Start();  // again: the volume may have grown, or the daemon is new
    const auto path = MeasurePath();
    copier_ = std::make_unique<Copier>(deps_, volume_name_, path.ok() ? *path : CopyPath{},
                                       direction, record_.request.retire, &meter_);
  }
  const auto progress =
      copier_->Tick(record_.request.impact, record_.request.rate, record_.baseline_p99_us);
  if (!progress.ok()) {
    copier_.reset();
    return Fail(progress.error());
  }
  Observe(*progress);
  if (progress->failure) return Fail(*progress->failure);
  if (progress->done) return {};
  const bool low = record_.request.impact == Impact::kLow && record_.request.rate == 0;
  return {OutcomeKind::kBusy, {}, low ? kLowCopyTickMs : kCopyTickMs};
}

// Holes that the application filled meanwhile are copied first: a turn of normal work, no error.
StepOutcome ModificationRunner::CatchUp() {
  const auto status = ReadStatus(*deps_.dm, volume_name_);
  if (!status.ok()) return Fail(status.error());
  if (status->NotOnTarget() == 0) return {};
  return {OutcomeKind::kNotReady, {}, 0};
}

// Sends a message that changes the kernel's phase, unless it is in one of `done_in` already.
StepOutcome ModificationRunner::PhaseMessage(const char* message,
                                             const std::vector<std::string>& done_in) {
  const auto status = ReadStatus(*deps_.dm, volume_name_);
  if (!status.ok()) return Fail(status.error());
  if (std::count(done_in.begin(), done_in.end(), status->kernel.phase) > 0) return {};
  const auto sent = deps_.dm->Message(volume_name_, message);
  if (sent.ok()) return {};
  if (sent.error().code == Code::kFailedPrecondition) return NotReady(sent.error());
  return Fail(sent.error());
}

// A phase that needs every block on the target. Refused for want of one, it is no error either.
StepOutcome ModificationRunner::ForthMessage(const char* message, const char* done_in) {
  StepOutcome outcome = PhaseMessage(message, {done_in});
  if (outcome.kind != OutcomeKind::kNotReady) return outcome;
  StepOutcome turned_up = CatchUp();
  return turned_up.kind == OutcomeKind::kNotReady ? turned_up : outcome;
}

StepOutcome ModificationRunner::Cutover() {
  StepOutcome outcome = ForthMessage("cutover", "grace");
  if (outcome.kind == OutcomeKind::kDone) {
    record_.grace = BeginGrace(*deps_.clock, record_.request.grace_ms);
    record_.grace_ends_ms = deps_.clock->WallMs() + record_.grace.left_ms;
  }
  return outcome;
}

StepOutcome ModificationRunner::Grace() {
  const std::int64_t left = GraceLeft(*deps_.clock, record_.request.grace_ms, &record_.grace);
  record_.grace_ends_ms = deps_.clock->WallMs() + left;
  if (left <= 0) return {};
  if (record_.grace.left_ms - left >= kGraceStoreMs || !grace_stored_) StoreGrace(left);
  return {OutcomeKind::kBusy, {}, std::min(left, kGraceTickMs)};
}

// After a reboot the rest of the grace period is what was stored last. If the store cannot take it
// the period gets longer, not shorter.
void ModificationRunner::StoreGrace(std::int64_t left) {
  ModificationRecord next = record_;
  next.grace.left_ms = left;
  ModificationUpdate update;
  update.record = &next;
  const Status stored = deps_.store->PutModification(update);
  if (!stored.ok()) {
    spdlog::warn("{}: {}", volume_name_, stored.error().ToString());
    return;
  }
  record_.grace.left_ms = left;
  grace_stored_ = true;
}

void ModificationRunner::OnStop() {
  const auto lock = BetweenSteps();
  if (!lock.ok()) return;  // what was stored last counts; it is a minute old at most
  if (record_.state.step != Step::kGrace || record_.grace.boot_id.empty()) return;
  StoreGrace(GraceLeft(*deps_.clock, record_.request.grace_ms, &record_.grace));
}

StepOutcome ModificationRunner::Commit() {
  StepOutcome outcome = ForthMessage("commit", "steady");
  // From here on the volume's home is the target: recorded together with the end of this step.
  // What was imported stays the user's data wherever it lies.
  if (outcome.kind == OutcomeKind::kDone) volume_.origin = record_.target;
  return outcome;
}

StepOutcome ModificationRunner::Detach() {
  volume_.fresh = false;
  return PutTable(OneLegTable(volume_, record_.target, record_.new_sectors), std::nullopt);
}

StepOutcome ModificationRunner::ReleaseOrigin() {
  const Leg& origin = record_.origin;
  const std::string note = "an old copy of the volume " + volume_name_;
  // Whatever of the rest fails: it is known that the volume's data are there.
  if (!origin.made_here) {
    if (auto kept = RememberReleased(deps_, origin, origin.given, note); !kept.ok())
      return Fail(kept.error());
  }
  if (record_.request.discard_origin) {
    const Status discarded = deps_.blocks->Discard(origin.device);
    const bool harmless = discarded.ok() || discarded.error().code == Code::kUnimplemented ||
                          discarded.error().code == Code::kNotFound;
    if (!harmless) return Fail(discarded.error());
  }
  if (origin.made_here) {
    return FromStatus(RemoveLeg(deps_, origin, volume_name_, record_.id,
                                "the volume has moved from it to " + record_.target.device));
  }
  if (!record_.request.keep_signature) {
    if (const Status wiped = WipeOrigin(); !wiped.ok()) return Fail(wiped.error());
  }
  if (auto kept = RememberReleased(deps_, origin, origin.given, note); !kept.ok())
    return Fail(kept.error());
  Emit("info", "origin_free",
       "The old origin " + origin.device +
           " is no part of the volume any more; it holds an old copy." +
           (record_.wiped.empty() ? ""
                                  : " Nobody takes it for the volume: its signatures are wiped. "
                                    "shadowctl op restore-origin " +
                                        record_.id + " brings them back."));
  return {};
}

// The old copy has the file system's UUID, too: nobody may mount it by that. What is wiped is
// recorded before, so a crash in between loses nothing; done again it finds what is left.
Status ModificationRunner::WipeOrigin() {
  constexpr int kMostRounds = 16;  // a copy of a table that shows when the first is gone, ...
  const Leg origin = Located(*deps_.identities, record_.origin);
  for (int i = 0; i < kMostRounds; ++i) {
    SHADOW_ASSIGN(const std::vector<DeviceBytes> found, deps_.guard->SignatureBytes(origin.device));
    if (found.empty()) return Ok();
    ModificationRecord next = record_;
    std::vector<DeviceBytes> zeroes;
    for (const DeviceBytes& one : found) {
      const std::string text = FormatBytes(one);
      if (std::count(next.wiped.begin(), next.wiped.end(), text) == 0) next.wiped.push_back(text);
      zeroes.push_back({one.offset, std::string(one.bytes.size(), '\0')});
    }
    ModificationUpdate update;
    update.record = &next;
    SHADOW_TRY(deps_.store->PutModification(update));
    record_ = std::move(next);
    SHADOW_TRY(deps_.guard->WriteBytes(origin.device, zeroes));
  }
  return MakeError(Code::kIoError, "The signatures on " + origin.device + " cannot be wiped.",
                   "wipe them by hand (wipefs), or mount nothing by UUID");
}

// A target that is given back holds a part of the volume, perhaps its superblock. What was there
// before the copy, and what is somebody else's, stays.
Status ModificationRunner::WipeTarget() {
  SHADOW_ASSIGN(const auto ours, deps_.guard->Signatures(DevicePath(volume_name_)));
  const Leg target = Located(*deps_.identities, record_.target);
  SHADOW_ASSIGN(const auto there, deps_.guard->Signatures(target.device));
  const bool same = std::any_of(there.begin(), there.end(), [&](const Signature& s) {
    return !s.uuid.empty() && std::count(ours.begin(), ours.end(), s) > 0;
  });
  if (!same) return Ok();
  SHADOW_ASSIGN(const std::vector<DeviceBytes> found, deps_.guard->SignatureBytes(target.device));
  std::vector<DeviceBytes> zeroes;
  for (const DeviceBytes& one : found) {
    zeroes.push_back({one.offset, std::string(one.bytes.size(), '\0')});
  }
  return deps_.guard->WriteBytes(target.device, zeroes);
}

StepOutcome ModificationRunner::ReduceOrigin() {
  if (!record_.origin.logical_volume) return {};
  return FromStatus(deps_.legs->Reduce(record_.origin, record_.new_sectors * kSectorBytes));
}

StepOutcome ModificationRunner::StopCopy() {
  for (const char* message : {"clear", "resume"}) {
    const auto sent = deps_.dm->Message(volume_name_, message);
    if (!sent.ok()) return Fail(sent.error());
  }
  return {};
}

StepOutcome ModificationRunner::RollBackTarget() {
  return PhaseMessage("rollback", {"migrating", "steady"});
}

StepOutcome ModificationRunner::AbortTarget() {
  if (record_.new_sectors > record_.old_sectors) {
    if (const Status fits = CheckTail(); !fits.ok()) return Fail(fits.error());
    StepOutcome drained = DrainBeyond(record_.old_sectors);
    if (drained.kind != OutcomeKind::kDone) return drained;
  }
  return PhaseMessage("abort", {"steady"});
}

StepOutcome ModificationRunner::RestoreTable() {
  StepOutcome put =
      PutTable(OneLegTable(volume_, record_.origin, record_.old_sectors), std::nullopt);
  if (put.kind == OutcomeKind::kDone) volume_.sectors = record_.old_sectors;
  return put;
}

StepOutcome ModificationRunner::ReleaseTarget() {
  const std::string why = "the modification turned back, and the volume is whole on its origin";
  if (record_.target.made_here) {
    return FromStatus(RemoveLeg(deps_, record_.target, volume_name_, record_.id, why));
  }
  target_hold_.reset();
  if (!record_.target.device.empty()) {
    if (!record_.target_touched) return {};
    if (const Status wiped = WipeTarget(); !wiped.ok()) return Fail(wiped.error());
    return FromStatus(RememberReleased(deps_, record_.target, record_.target.given,
                                       "a copy of the volume " + volume_name_));
  }
  return FromStatus(RemoveOrdered(deps_, TargetOrder(), why));
}

// The length that the volume has, as the kernel says or, if it is down, its metadata.
Result<std::uint64_t> ModificationRunner::LengthNow() {
  const auto line = deps_.dm->TableOf(volume_name_);
  if (line.ok()) return line->sectors;
  if (line.error().code != Code::kNotFound || !deps_.superblock) return line.error();
  SHADOW_ASSIGN(const auto sb, deps_.superblock(volume_.metadata.device));
  return sb ? std::uint64_t{sb->nr_sectors} : record_.old_sectors;
}

StepOutcome ModificationRunner::ShrinkBack() {
  // The longer table may have got in late: never is a leg shorter than the volume.
  const std::string unanswered = deps_.dm->Unanswered(volume_name_);
  if (!unanswered.empty()) return {OutcomeKind::kBusy, {}, kPausedTickMs};
  const auto length = LengthNow();
  if (!length.ok()) return Fail(length.error());
  if (*length > record_.old_sectors) {
    volume_.sectors = record_.new_sectors;
    Emit("warning", "step", "The kernel took the longer table after all: the volume has grown.");
    return {};
  }
  if (!record_.origin.logical_volume) return {};
  const auto info = deps_.blocks->Describe(record_.origin.device);
  if (!info.ok()) return Fail(info.error());
  if (info->size_bytes <= record_.origin.size_bytes) return {};
  return FromStatus(deps_.legs->Reduce(record_.origin, record_.origin.size_bytes));
}

}  // namespace shadow
