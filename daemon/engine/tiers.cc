// SPDX-License-Identifier: Apache-2.0
// Tiers: added, removed, forgotten, set. What goes on in the background is in tier_jobs.cc, what is
// told of them in tier_views.cc.
//
// Every step is recorded before it is done and can be repeated: after a crash the record says what
// was going on, and each step looks first whether its effect is there.
#include "daemon/modify/tiers.h"

#include <algorithm>

#include "daemon/base/sizes.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/engine/volume_lock.h"
#include "daemon/modify/admission.h"
#include "daemon/modify/removal.h"
#include "daemon/modify/tables.h"
#include "daemon/store/codec.h"

namespace shadow {
namespace {

constexpr const char* kAdd = "tier-add";
constexpr const char* kAddUndone = "tier-add-undone";
constexpr const char* kRemove = "tier-remove";

Status CheckPolicy(const TierPolicy& p) {
  const auto wrong = [](std::string what, std::string hint) {
    return MakeError(Code::kInvalidArgument, std::move(what), std::move(hint));
  };
  if (p.policy != "pam" && p.policy != "ewma" && p.policy != "lru" && p.policy != "off") {
    return wrong("There is no policy '" + p.policy.substr(0, 40) + "'.",
                 "use pam, ewma, lru or off");
  }
  if (p.tier1_heat_permille > 1000 || p.tier2_heat_permille > p.tier1_heat_permille) {
    return wrong("The thresholds of heat do not fit.",
                 "both lie between 0 and 1, and tier2's is not above tier1's");
  }
  if (p.window_ms < 100 || p.window_ms > 3'600'000) {
    return wrong("A window of " + std::to_string(p.window_ms) + " ms is out of range.",
                 "use 0.1 s to 1 h; the default is 60 s");
  }
  if (p.impact > 2) return wrong("The impact is unknown.", "use low, balanced or full");
  return Ok();
}

}  // namespace

// A change of the tables must not come between the steps of one under way.
Status EngineImpl::CheckNoTierJob(const std::string& volume) {
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume));
  for (const TierLevel level : kTierLevels) {
    const TierPhase phase = tiers.tiers.at(IndexOf(level)).phase;
    if (phase == TierPhase::kNone || phase == TierPhase::kActive) continue;
    return MakeError(Code::kFailedPrecondition,
                     TierOf(volume, level) + " is being " +
                         (phase == TierPhase::kAdding ? "added." : "removed."),
                     "wait until that is done: shadowctl tier list " + volume);
  }
  return Ok();
}

// The live table is replaced by one with these tiers. During a modification no step may be under
// way: its tables carry the tiers, too.
Status EngineImpl::SwapTiers(const VolumeRecord& volume, const TiersRecord& tiers) {
  const auto swap = [&](const ModificationRecord* m) -> Status {
    for (const ShadowTable& bare : TablesToTry(volume, m)) {
      SHADOW_ASSIGN(const DmTarget live, deps_.dm->TableOf(volume.name));
      SHADOW_ASSIGN(const ShadowTable now, ParseTable(live.sectors, live.params));
      ShadowTable same = bare;
      same.tiers = now.tiers;
      SHADOW_ASSIGN(const bool is_live, IsLive(*deps_.dm, volume.name, same));
      if (!is_live) continue;
      const ShadowTable wanted = Located(*deps_.identities, WithTiers(bare, tiers));
      SHADOW_ASSIGN(const bool done, IsLive(*deps_.dm, volume.name, wanted));
      if (done) return Ok();
      SHADOW_TRY(SwapTable(*deps_.dm, *deps_.clock, volume.name, wanted, same));
      return Ok();
    }
    return MakeError(Code::kFailedPrecondition,
                     "The live table of " + volume.name + " is none that shadowd loaded.",
                     "look at it with dmsetup table");
  };
  if (const RunningPtr running = RunningOn(volume.name)) {
    return running->runner->WhileIdle([&](const ModificationRecord& m) { return swap(&m); });
  }
  return swap(nullptr);
}

namespace {

Result<Admission> ForTier(const Deps& deps, const VolumeRecord& volume, const TierRecord& tier,
                          TierLevel level) {
  SHADOW_ASSIGN(const BlockInfo origin, deps.blocks->Describe(volume.origin.device));
  Admission how;
  how.role = TierName(level);
  how.volume = volume.name;
  how.volume_uuid = volume.uuid;
  how.least_bytes = std::max(tier.size_bytes, std::uint64_t{volume.block_sectors} * kSectorBytes);
  how.most_sector = origin.logical_block;
  how.from_class = tier.to[0] != '/';
  how.allowed = {tier.overwrite, tier.unstable_names};
  return how;
}

}  // namespace

// The leg of a tier on a plain device is taken with the record that plans it; in a volume group it
// is made later.
Status EngineImpl::PlanTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level,
                            const RequestRecord& request) {
  TierRecord& tier = tiers->tiers.at(IndexOf(level));
  SHADOW_ASSIGN(const Admission how, ForTier(deps_, volume, tier, level));
  SHADOW_ASSIGN(const std::vector<ClassInfo> classes, deps_.legs->ListClasses());
  const bool of_devices = std::any_of(classes.begin(), classes.end(), [&](const ClassInfo& c) {
    return c.name == tier.to && c.volume_group.empty();
  });
  Status taken = Ok();
  for (int i = 0; i < kMostPicks; ++i) {
    if (tier.to[0] == '/') {
      SHADOW_ASSIGN(tier.leg, Admit(deps_, tier.to, how));
    } else if (of_devices) {
      SHADOW_ASSIGN(tier.leg, AdmitFromClass(deps_, tier.to, how));
    }
    taken = deps_.store->PutTiers(*tiers, &request);
    if (taken.ok() || taken.error().code != Code::kAborted) return taken;
  }
  return taken;
}

// From kAdding to kActive, wherever it stands.
Status EngineImpl::ContinueAdding(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level) {
  TierRecord& tier = tiers->tiers.at(IndexOf(level));
  if (tiers->metadata_end == 0) {
    SHADOW_TRY(GrowMetadata(deps_, volume, *tiers, volume.sectors, true));
    SHADOW_ASSIGN(const BlockInfo info, deps_.blocks->Describe(volume.metadata.device));
    tiers->metadata_end = info.size_bytes / kSlotAreaAlign * kSlotAreaAlign;
  }
  tier.leg = Located(*deps_.identities, tier.leg);
  if (tier.leg.device.empty()) {
    SHADOW_ASSIGN(tier.leg, deps_.legs->Make({tier.to, tier.size_bytes, volume.name, volume.uuid,
                                              "", TierName(level)}));
  }
  SHADOW_ASSIGN(const BlockInfo info, deps_.blocks->Describe(tier.leg.device));
  tier.leg.size_bytes = info.size_bytes;
  tier.size_bytes = std::max(tier.size_bytes, info.size_bytes);
  TiersRecord wanted = *tiers;
  wanted.tiers.at(IndexOf(level)).phase = TierPhase::kActive;
  std::unique_ptr<DeviceHold> hold;
  if (!tier.leg.made_here && !tier.touched) {
    SHADOW_ASSIGN(const Admission how, ForTier(deps_, volume, tier, level));
    SHADOW_ASSIGN(hold, HoldForWriting(deps_, tier.leg, how));
  }
  tier.touched = true;  // from here on what is on it is shadowd's
  wanted.tiers.at(IndexOf(level)).touched = true;
  SHADOW_TRY(deps_.store->PutTiers(*tiers, nullptr));
  (void)SpeedOf(tier.leg, true, nullptr);  // while its content is nobody's
  hold.reset();                            // the table takes it now
  SHADOW_TRY(SwapTiers(volume, wanted));
  SHADOW_TRY(deps_.store->PutTiers(wanted, nullptr));
  *tiers = wanted;
  return Ok();
}

// Nothing of the tier stays, and its request id may be used for another try.
void EngineImpl::UndoAdding(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level,
                            const RequestRecord& request) {
  TierRecord& tier = tiers->tiers.at(IndexOf(level));
  // The table is without it, unless the kernel took it and only the record failed.
  Status undone = SwapTiers(volume, *tiers);
  const std::string why = TierOf(volume.name, level) + " could not be added";
  if (undone.ok() && tier.leg.made_here) undone = RemoveLeg(deps_, tier.leg, volume.name, "", why);
  if (undone.ok() && tier.leg.device.empty()) {
    undone = RemoveOrdered(deps_, {"", 0, volume.name, volume.uuid, "", TierName(level)}, why);
  }
  if (!undone.ok()) {
    Say("warning", "leftover", volume.name, undone.error().ToString());
    return;  // kAdding stays recorded: the next start goes on
  }
  if (!tier.leg.made_here && tier.touched) {
    const Status kept =
        RememberReleased(deps_, tier.leg, tier.leg.given, "a tier of " + volume.name);
    if (!kept.ok()) Say("warning", "leftover", volume.name, kept.error().ToString());
  }
  tier = TierRecord{};
  if (!tiers->Any()) tiers->metadata_end = 0;
  const RequestRecord free_again{request.id, kAddUndone, request.body, volume.name};
  const Status kept = deps_.store->PutTiers(*tiers, &free_again);
  if (!kept.ok()) Say("warning", "leftover", volume.name, kept.error().ToString());
}

Result<TierInfo> EngineImpl::AddTier(const AddTierRequest& request) {
  const RequestRecord request_record{request.request_id, kAdd, RequestBody(request),
                                     request.volume};
  const VolumeLock lock(this, request.volume);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(const auto known,
                request.request_id.empty()
                    ? Result<std::optional<RequestRecord>>(std::optional<RequestRecord>())
                    : deps_.store->FindRequest(request.request_id));
  const bool again = known && known->kind == kAddUndone && known->body == request_record.body;
  if (!again) {
    SHADOW_ASSIGN(const auto replayed, Replayed(request.request_id, kAdd, request_record.body));
    if (replayed) return TierNow(request.volume, request.level);
  }
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(request.volume));
  SHADOW_TRY(CheckReady());
  SHADOW_TRY(CheckWhole(volume));
  if (const RunningPtr running = RunningOn(volume.name)) {
    return MakeError(
        Code::kFailedPrecondition,
        "The volume " + volume.name + " is being modified (" + running->runner->Info().id + ").",
        "wait for it, or abort it; then add the tier");
  }
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, volume.name));
  if (status.kernel.mode != "rw" || status.kernel.phase != "steady") {
    return MakeError(Code::kFailedPrecondition,
                     "The volume " + volume.name + " is " + status.kernel.mode + " and " +
                         status.kernel.phase + ".",
                     "a tier can be added to a volume that is rw and steady");
  }
  SHADOW_ASSIGN(TiersRecord tiers, deps_.store->Tiers(volume.name));
  TierRecord& tier = tiers.tiers.at(IndexOf(request.level));
  if (tier.phase != TierPhase::kNone) {
    return MakeError(Code::kAlreadyExists,
                     "The volume " + volume.name + " has a " + TierName(request.level) + ".",
                     "remove it first to replace it");
  }
  if (request.to.empty()) {
    return MakeError(Code::kInvalidArgument, "It is not said where the tier shall be.",
                     "name a storage class, or the full path of a device");
  }
  const std::uint64_t block = volume.block_sectors * kSectorBytes;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 60;
  if (request.size_bytes > kMost || (request.size_bytes == 0 && request.to[0] != '/')) {
    return MakeError(Code::kInvalidArgument, "A tier can have 1 block to 1 EiB.", "give its size");
  }
  tier.phase = TierPhase::kAdding;
  tier.to = request.to;
  tier.size_bytes = RoundUp(request.size_bytes, block);
  tier.write_back = request.write_back;
  tier.request_id = request.request_id;
  tier.overwrite = request.overwrite;
  tier.unstable_names = request.unstable_names;
  SHADOW_TRY(PlanTier(volume, &tiers, request.level, request_record));
  (void)SpeedOf(volume.origin, false, nullptr);
  const Status added = ContinueAdding(volume, &tiers, request.level);
  if (!added.ok()) {
    UndoAdding(volume, &tiers, request.level, request_record);
    return added.error();
  }
  Say("info", "tier", volume.name,
      std::string("Added ") + TierName(request.level) + " on " + tier.leg.device + " (" +
          (tier.write_back ? "write-back" : "write-through") + ").");
  WakeTiers();
  return TierNow(volume.name, request.level);
}

Result<TierInfo> EngineImpl::RemoveTier(const RemoveTierRequest& request) {
  const RequestRecord request_record{request.request_id, kRemove, RequestBody(request),
                                     request.volume};
  const VolumeLock lock(this, request.volume);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(const auto replayed, Replayed(request.request_id, kRemove, request_record.body));
  TierInfo gone;
  gone.level = request.level;
  gone.state = "removed";
  if (replayed) {
    auto now = TierNow(request.volume, request.level);
    return now.ok() || now.error().code != Code::kNotFound ? now : Result<TierInfo>(gone);
  }
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(request.volume));
  SHADOW_ASSIGN(TiersRecord tiers, deps_.store->Tiers(volume.name));
  TierRecord& tier = tiers.tiers.at(IndexOf(request.level));
  if (tier.phase == TierPhase::kNone) return NoSuchTier(volume.name, request.level);
  SHADOW_TRY(CheckReady());
  if (request.lost && !request.forget) {
    return MakeError(Code::kInvalidArgument, "Data can be given up only together with --forget.",
                     "leave --lost out, or forget the tier");
  }
  if (!deps_.dm->Info(volume.name).ok()) {
    // It waits for a tier that has the newest data of some blocks, perhaps for ever.
    if (!request.lost) {
      return MakeError(Code::kFailedPrecondition,
                       "The volume " + volume.name + " is not up. " + WaitsFor(volume.name).message,
                       "connect what is missing; or give up what only the tier has with --forget "
                       "--lost");
    }
    SHADOW_TRY(StartWithoutTiers(volume));
  }
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, volume.name));
  const auto& kernel = status.kernel.tiers.at(IndexOf(request.level));
  const std::uint64_t dirty = kernel ? kernel->dirty : 0;
  const std::string name = TierName(request.level);
  if (!request.forget) {
    if (const RunningPtr running = RunningOn(volume.name)) {
      return MakeError(
          Code::kFailedPrecondition,
          "The volume " + volume.name + " is being modified (" + running->runner->Info().id + ").",
          "wait for it, or abort it; a dead device can be taken away with --forget");
    }
    if (kernel && kernel->health == "missing" && dirty > 0) {
      SHADOW_TRY(CheckDrain(status, {{{0, 1}, request.level, ShadowState::kDirty}}, volume.name));
    }
    if (tier.phase == TierPhase::kActive) {
      tier.phase = TierPhase::kRemoving;
      SHADOW_TRY(deps_.store->PutTiers(tiers, &request_record));
      Say("info", "tier", volume.name,
          "Removing " + name + ": its shadows go home, " + std::to_string(dirty) +
              " blocks have to be written.");
    }
    (void)deps_.dm->Message(volume.name, "clear tiers");  // promotes that wait
    WakeTiers();
    return TierNow(volume.name, request.level);
  }
  if (dirty > 0 && !request.lost) {
    return MakeError(Code::kFailedPrecondition,
                     "The newest data of " + std::to_string(dirty) + " blocks (" +
                         FormatSize(dirty * status.kernel.block_bytes) + ") are only on " + name +
                         ".",
                     "remove it without --forget to write them home, or give them up with --lost");
  }
  tier.phase = TierPhase::kForgetting;
  tier.lost = request.lost;
  // It was away: what is on it now may be somebody else's.
  if (kernel && kernel->health == "missing") tier.touched = false;
  SHADOW_TRY(deps_.store->PutTiers(tiers, &request_record));
  SHADOW_TRY(ForgetTier(volume, &tiers, request.level));
  return gone;
}

// From kForgetting to kNone, wherever it stands.
Status EngineImpl::ForgetTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level) {
  TierRecord& tier = tiers->tiers.at(IndexOf(level));
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, volume.name));
  const auto& kernel = status.kernel.tiers.at(IndexOf(level));
  if (kernel) {
    if (kernel->dirty > 0) {
      Say("error", "tier_lost", volume.name,
          "The newest data of " + std::to_string(kernel->dirty) + " blocks went with " +
              TierName(level) + ", as was asked.");
    }
    SHADOW_TRY(deps_.dm->Message(
        volume.name, std::string("forget ") + TierName(level) + (tier.lost ? " lost" : "")));
  }
  SHADOW_TRY(SwapTiers(volume, *tiers));
  tier.phase = TierPhase::kReleasing;
  SHADOW_TRY(deps_.store->PutTiers(*tiers, nullptr));
  return ReleaseTier(volume, tiers, level);
}

// From kReleasing to kNone: the leg goes, if it was made here.
Status EngineImpl::ReleaseTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level) {
  TierRecord& tier = tiers->tiers.at(IndexOf(level));
  const std::string device = tier.leg.device;
  if (tier.leg.made_here) {
    // A dead device may not let go of its logical volume: that must not keep the volume waiting.
    const Status removed =
        RemoveLeg(deps_, tier.leg, volume.name, "", TierOf(volume.name, level) + " was removed");
    if (!removed.ok()) {
      Say("warning", "leftover", volume.name,
          "The leg " + device + " could not be removed: " + removed.error().ToString());
    }
  }
  if (!tier.leg.made_here && !tier.leg.id.empty()) {
    SHADOW_TRY(RememberReleased(deps_, tier.leg, tier.leg.given && tier.touched,
                                "a tier of " + volume.name));
  }
  tier = TierRecord{};
  // The kernel notes the place of the slot area when a first tier comes.
  if (!tiers->Any()) tiers->metadata_end = 0;
  SHADOW_TRY(deps_.store->PutTiers(*tiers, nullptr));
  Say("info", "tier", volume.name,
      std::string("Removed ") + TierName(level) + " (" + device + ").");
  WakeTiers();
  return Ok();
}

Result<TierInfo> EngineImpl::SetTierMode(const std::string& name, TierLevel level,
                                         bool write_back) {
  const VolumeLock lock(this, name);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(name));
  SHADOW_ASSIGN(TiersRecord tiers, deps_.store->Tiers(name));
  TierRecord& tier = tiers.tiers.at(IndexOf(level));
  if (tier.phase != TierPhase::kActive) {
    if (tier.phase == TierPhase::kNone) return NoSuchTier(name, level);
    return MakeError(Code::kFailedPrecondition,
                     std::string(TierName(level)) + " of " + name + " is being changed.",
                     "wait until that is done");
  }
  tier.write_back = write_back;
  SHADOW_TRY(deps_.store->PutTiers(tiers, nullptr));
  SHADOW_TRY(deps_.dm->Message(name, std::string("mode ") + TierName(level) +
                                         (write_back ? " writeback" : " writethrough")));
  return TierNow(name, level);
}

Result<PlacementInfo> EngineImpl::SetTierPolicy(const std::string& name, const TierPolicy& policy) {
  SHADOW_TRY(CheckPolicy(policy));
  {
    const VolumeLock lock(this, name);
    SHADOW_TRY(lock.Check());
    SHADOW_TRY(FindVolume(name));
    SHADOW_ASSIGN(TiersRecord tiers, deps_.store->Tiers(name));
    if (tiers.policy != policy) {
      tiers.policy = policy;
      SHADOW_TRY(deps_.store->PutTiers(tiers, nullptr));
      Say("info", "tier_policy", name, "What lies on tiers is decided by " + policy.policy + ".");
    }
  }
  WakeTiers();
  SHADOW_ASSIGN(const TiersInfo info, ListTiers(name));
  return info.placement;
}

}  // namespace shadow
