// SPDX-License-Identifier: Apache-2.0
// Tiers: added, removed, forgotten, set. What goes on in the background is in tier_jobs.cc.
//
// Every step is recorded before it is done and can be repeated: after a crash the record says what
// was going on, and each step looks first whether its effect is there.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "daemon/base/sizes.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/engine/volume_lock.h"
#include "daemon/modify/tables.h"
#include "daemon/modify/tiers.h"
#include "daemon/store/codec.h"

namespace shadow {
namespace {

constexpr const char* kAdd = "tier-add";
constexpr const char* kAddUndone = "tier-add-undone";
constexpr const char* kRemove = "tier-remove";

std::size_t At(TierLevel level) { return static_cast<std::size_t>(level); }

Error NoTier(const std::string& volume, TierLevel level) {
  return MakeError(Code::kNotFound, "The volume " + volume + " has no " + TierName(level) + ".",
                   "list its tiers with shadowctl tier list " + volume);
}

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

TierInfo EngineImpl::TierInfoOf(const TierRecord& record, TierLevel level,
                                const KernelStatus* kernel) {
  TierInfo info;
  info.level = level;
  info.state = record.phase == TierPhase::kAdding   ? "adding"
               : record.phase == TierPhase::kActive ? "active"
                                                    : "removing";
  info.device = record.leg.device;
  info.storage_class = record.leg.storage_class;
  info.size_bytes = record.size_bytes;
  info.write_back = record.write_back;
  if (kernel == nullptr || !kernel->tiers.at(At(level))) return info;
  const KernelTier& k = *kernel->tiers.at(At(level));
  info.health = k.health;
  if (k.slots != 0) info.size_bytes = k.slots * kernel->block_bytes;
  info.used_bytes = k.used * kernel->block_bytes;
  info.dirty_bytes = k.dirty * kernel->block_bytes;
  info.write_back = k.write_back;
  info.reads = kernel->tier_reads.at(At(level));
  info.writes = kernel->tier_writes.at(At(level));
  return info;
}

Result<TierInfo> EngineImpl::TierNow(const std::string& volume, TierLevel level) {
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume));
  const TierRecord& record = tiers.tiers.at(At(level));
  if (record.phase == TierPhase::kNone) return NoTier(volume, level);
  const auto status = ReadStatus(*deps_.dm, volume);
  return TierInfoOf(record, level, status.ok() ? &status->kernel : nullptr);
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
      const ShadowTable wanted = MarkMissing(*deps_.blocks, WithTiers(bare, tiers));
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

Status EngineImpl::CheckTierDevice(const VolumeRecord& volume, const AddTierRequest& request) {
  SHADOW_ASSIGN(const Leg leg, FreeDevice(request.to));
  SHADOW_ASSIGN(const BlockInfo info, deps_.blocks->Describe(request.to));
  SHADOW_ASSIGN(const BlockInfo origin, deps_.blocks->Describe(volume.origin.device));
  SHADOW_ASSIGN(const BlockInfo metadata, deps_.blocks->Describe(volume.metadata.device));
  if (info.SameAs(origin) || info.SameAs(metadata)) {
    return MakeError(Code::kInvalidArgument, request.to + " is a part of the volume already.",
                     "name another device");
  }
  if (info.logical_block > origin.logical_block) {
    return MakeError(Code::kInvalidArgument,
                     "The sectors of " + request.to + " are larger than the origin's.",
                     "name a device with the same sector size");
  }
  const std::uint64_t least =
      std::max(request.size_bytes, std::uint64_t{volume.block_sectors} * kSectorBytes);
  if (leg.size_bytes < least) {
    return MakeError(Code::kOutOfSpace,
                     request.to + " is too small: it has " + FormatSize(leg.size_bytes) + ", " +
                         FormatSize(least) + " are needed.",
                     "name a larger device");
  }
  SHADOW_ASSIGN(const FsInfo fs, deps_.fs->Inspect(request.to));
  if (fs.type.empty()) return Ok();
  return MakeError(Code::kFailedPrecondition, request.to + " holds data (" + fs.type + ").",
                   "wipe it (wipefs -a) if it is not needed, or name another device");
}

Result<Leg> EngineImpl::MakeTierLeg(const VolumeRecord& volume, const TierRecord& tier,
                                    TierLevel level) {
  if (tier.to[0] == '/') {
    SHADOW_ASSIGN(Leg leg, deps_.legs->Describe(tier.to));
    return leg;
  }
  auto leg = deps_.legs->Make(
      {tier.to, tier.size_bytes, volume.name, volume.uuid, "", TierName(level)});
  if (leg.ok() || leg.error().code != Code::kUnimplemented) return leg;
  return deps_.legs->PickDevice(tier.to, tier.size_bytes,
                                {volume.origin.device, volume.metadata.device});
}

// From kAdding to kActive, wherever it stands.
Status EngineImpl::ContinueAdding(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level) {
  TierRecord& tier = tiers->tiers.at(At(level));
  if (tiers->metadata_end == 0) {
    SHADOW_TRY(GrowMetadata(deps_, volume, *tiers, volume.sectors, true));
    SHADOW_ASSIGN(const BlockInfo info, deps_.blocks->Describe(volume.metadata.device));
    tiers->metadata_end = info.size_bytes / kSlotAreaAlign * kSlotAreaAlign;
  }
  if (tier.leg.device.empty()) {
    SHADOW_ASSIGN(tier.leg, MakeTierLeg(volume, tier, level));
    SHADOW_ASSIGN(const BlockInfo info, deps_.blocks->Describe(tier.leg.device));
    tier.leg.size_bytes = info.size_bytes;
    tier.size_bytes = std::max(tier.size_bytes, info.size_bytes);
    SHADOW_TRY(deps_.store->PutTiers(*tiers, nullptr));
  }
  TiersRecord wanted = *tiers;
  wanted.tiers.at(At(level)).phase = TierPhase::kActive;
  SHADOW_TRY(SwapTiers(volume, wanted));
  SHADOW_TRY(deps_.store->PutTiers(wanted, nullptr));
  *tiers = wanted;
  return Ok();
}

// Nothing of the tier stays, and its request id may be used for another try.
void EngineImpl::UndoAdding(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level,
                            const RequestRecord& request) {
  TierRecord& tier = tiers->tiers.at(At(level));
  // The table is without it, unless the kernel took it and only the record failed.
  Status undone = SwapTiers(volume, *tiers);
  if (undone.ok()) {
    const auto made = deps_.legs->ListMade();
    if (!made.ok()) undone = made.error();
    for (std::size_t i = 0; made.ok() && i < made->size(); ++i) {
      const MadeLeg& leg = made->at(i);
      if (leg.volume_uuid != volume.uuid || leg.role != TierName(level)) continue;
      const Status removed = deps_.legs->Remove(leg.leg.device);
      if (!removed.ok()) undone = removed;
    }
  }
  if (!undone.ok()) {
    Say("warning", "leftover", volume.name, undone.error().ToString());
    return;  // kAdding stays recorded: the next start goes on
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
  SHADOW_ASSIGN(const auto known, request.request_id.empty()
                                      ? Result<std::optional<RequestRecord>>(
                                            std::optional<RequestRecord>())
                                      : deps_.store->FindRequest(request.request_id));
  const bool again = known && known->kind == kAddUndone && known->body == request_record.body;
  if (!again) {
    SHADOW_ASSIGN(const auto replayed, Replayed(request.request_id, kAdd, request_record.body));
    if (replayed) return TierNow(request.volume, request.level);
  }
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(request.volume));
  SHADOW_TRY(CheckReady());
  if (const RunningPtr running = RunningOn(volume.name)) {
    return MakeError(Code::kFailedPrecondition,
                     "The volume " + volume.name + " is being modified (" +
                         running->runner->Info().id + ").",
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
  TierRecord& tier = tiers.tiers.at(At(request.level));
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
    return MakeError(Code::kInvalidArgument, "A tier can have 1 block to 1 EiB.",
                     "give its size");
  }
  if (request.to[0] == '/') SHADOW_TRY(CheckTierDevice(volume, request));
  tier.phase = TierPhase::kAdding;
  tier.to = request.to;
  tier.size_bytes = RoundUp(request.size_bytes, block);
  tier.write_back = request.write_back;
  tier.request_id = request.request_id;
  SHADOW_TRY(deps_.store->PutTiers(tiers, &request_record));
  const Status added = ContinueAdding(volume, &tiers, request.level);
  if (!added.ok()) {
    UndoAdding(volume, &tiers, request.level, request_record);
    return added.error();
  }
  Say("info", "tier", volume.name,
      std::string("Added ") + TierName(request.level) + " on " + tier.leg.device + " (" +
          (tier.write_back ? "write-back" : "write-through") + ").");
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
  TierRecord& tier = tiers.tiers.at(At(request.level));
  if (tier.phase == TierPhase::kNone) return NoTier(volume.name, request.level);
  SHADOW_TRY(CheckReady());
  if (request.lost && !request.forget) {
    return MakeError(Code::kInvalidArgument, "Data can be given up only together with --forget.",
                     "leave --lost out, or forget the tier");
  }
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, volume.name));
  const auto& kernel = status.kernel.tiers.at(At(request.level));
  const std::uint64_t dirty = kernel ? kernel->dirty : 0;
  const std::string name = TierName(request.level);
  if (!request.forget) {
    if (const RunningPtr running = RunningOn(volume.name)) {
      return MakeError(Code::kFailedPrecondition,
                       "The volume " + volume.name + " is being modified (" +
                           running->runner->Info().id + ").",
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
    {
      const std::lock_guard<std::mutex> guard(state_);
      ++wakes_;
      changed_.notify_all();
    }
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
  SHADOW_TRY(deps_.store->PutTiers(tiers, &request_record));
  SHADOW_TRY(ForgetTier(volume, &tiers, request.level));
  return gone;
}

// From kForgetting to kNone, wherever it stands.
Status EngineImpl::ForgetTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level) {
  TierRecord& tier = tiers->tiers.at(At(level));
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, volume.name));
  const auto& kernel = status.kernel.tiers.at(At(level));
  if (kernel) {
    if (kernel->dirty > 0) {
      Say("error", "tier_lost", volume.name,
          "The newest data of " + std::to_string(kernel->dirty) + " blocks went with " +
              TierName(level) + ", as was asked.");
    }
    SHADOW_TRY(deps_.dm->Message(volume.name, std::string("forget ") + TierName(level) +
                                                  (tier.lost ? " lost" : "")));
  }
  SHADOW_TRY(SwapTiers(volume, *tiers));
  tier.phase = TierPhase::kReleasing;
  SHADOW_TRY(deps_.store->PutTiers(*tiers, nullptr));
  return ReleaseTier(volume, tiers, level);
}

// From kReleasing to kNone: the leg goes, if it was made here.
Status EngineImpl::ReleaseTier(const VolumeRecord& volume, TiersRecord* tiers, TierLevel level) {
  TierRecord& tier = tiers->tiers.at(At(level));
  const std::string device = tier.leg.device;
  if (tier.leg.made_here) {
    // A dead device may not let go of its logical volume: that must not keep the volume waiting.
    const Status removed = deps_.legs->Remove(device);
    if (!removed.ok()) {
      Say("warning", "leftover", volume.name,
          "The leg " + device + " could not be removed: " + removed.error().ToString());
    }
  }
  tier = TierRecord{};
  // The kernel notes the place of the slot area when a first tier comes.
  if (!tiers->Any()) tiers->metadata_end = 0;
  SHADOW_TRY(deps_.store->PutTiers(*tiers, nullptr));
  Say("info", "tier", volume.name,
      std::string("Removed ") + TierName(level) + " (" + device + ").");
  const std::lock_guard<std::mutex> lock(state_);
  if (!tiers->Any()) keepers_.erase(volume.name);
  changed_.notify_all();
  return Ok();
}

Result<TierInfo> EngineImpl::SetTierMode(const std::string& name, TierLevel level,
                                         bool write_back) {
  const VolumeLock lock(this, name);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(name));
  SHADOW_ASSIGN(TiersRecord tiers, deps_.store->Tiers(name));
  TierRecord& tier = tiers.tiers.at(At(level));
  if (tier.phase != TierPhase::kActive) {
    if (tier.phase == TierPhase::kNone) return NoTier(name, level);
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

Result<PlacementInfo> EngineImpl::SetTierPolicy(const std::string& name,
                                                const TierPolicy& policy) {
  SHADOW_TRY(CheckPolicy(policy));
  {
    const VolumeLock lock(this, name);
    SHADOW_TRY(lock.Check());
    SHADOW_TRY(FindVolume(name));
    SHADOW_ASSIGN(TiersRecord tiers, deps_.store->Tiers(name));
    if (!tiers.Any()) {
      return MakeError(Code::kFailedPrecondition, "The volume " + name + " has no tiers.",
                       "add one with shadowctl tier add");
    }
    if (tiers.policy != policy) {
      tiers.policy = policy;
      SHADOW_TRY(deps_.store->PutTiers(tiers, nullptr));
      Say("info", "tier_policy", name, "The tiers' policy is " + policy.policy + ".");
      const std::lock_guard<std::mutex> guard(state_);
      keepers_.erase(name);  // the next round begins with the new settings
    }
  }
  SHADOW_ASSIGN(const TiersInfo info, ListTiers(name));
  return info.placement;
}

Result<TiersInfo> EngineImpl::ListTiers(const std::string& name) {
  SHADOW_TRY(FindVolume(name));
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(name));
  const auto status = ReadStatus(*deps_.dm, name);
  TiersInfo info;
  for (std::size_t i = 0; i < tiers.tiers.size(); ++i) {
    const TierRecord& tier = tiers.tiers.at(i);
    if (tier.phase == TierPhase::kNone) continue;
    info.tiers.push_back(TierInfoOf(tier, static_cast<TierLevel>(i),
                                    status.ok() ? &status->kernel : nullptr));
  }
  if (const auto keeper = KeeperOf(name)) info.placement = keeper->Info();
  info.placement.policy = tiers.policy;
  if (!status.ok()) return info;
  info.placement.queued_blocks = status->tier_queue;
  info.placement.promoted = status->kernel.promoted;
  info.placement.demoted = status->kernel.demoted;
  info.placement.written_back = status->kernel.written_back;
  info.placement.failures = status->kernel.tier_failures;
  return info;
}

Result<std::vector<TierRun>> EngineImpl::GetTierMap(const std::string& name) {
  SHADOW_TRY(FindVolume(name));
  return ReadTiers(*deps_.dm, name);
}

Result<std::vector<HeatCell>> EngineImpl::GetHeatMap(const std::string& name,
                                                     std::uint32_t ranges) {
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(name));
  const std::uint64_t blocks = (volume.sectors + volume.block_sectors - 1) / volume.block_sectors;
  if (ranges == 0 || ranges > 4096) {
    return MakeError(Code::kInvalidArgument, "A heat map has 1 to 4096 ranges.", "ask for fewer");
  }
  const auto keeper = KeeperOf(name);
  if (keeper == nullptr) {
    return MakeError(Code::kFailedPrecondition, "The heat of " + name + " is not known.",
                     "it is measured on volumes with tiers: shadowctl tier add");
  }
  const std::uint64_t cells = std::min<std::uint64_t>(ranges, blocks);
  std::vector<HeatCell> map;
  for (std::uint64_t i = 0; i < cells; ++i) {
    // i * blocks fits: at most 4096 * 2^44.
    const std::uint64_t first = i * blocks / cells;
    map.push_back({{first, (i + 1) * blocks / cells - first}, 0, 0});
  }
  std::size_t at = 0;
  for (const WarmBlock& warm : keeper->Warm()) {
    if (warm.block >= blocks) break;
    while (map[at].range.first + map[at].range.count <= warm.block) ++at;
    map[at].warmest = std::max(map[at].warmest, warm.heat);
    map[at].mean += warm.heat / static_cast<float>(map[at].range.count);
  }
  return map;
}

Result<BlockExplanation> EngineImpl::ExplainBlock(const std::string& name, std::uint64_t block) {
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(name));
  const std::uint64_t blocks = (volume.sectors + volume.block_sectors - 1) / volume.block_sectors;
  if (block >= blocks) {
    return MakeError(Code::kInvalidArgument,
                     "The volume " + name + " has no block " + std::to_string(block) + ".",
                     "its last block is " + std::to_string(blocks - 1));
  }
  const auto keeper = KeeperOf(name);
  if (keeper == nullptr) {
    return MakeError(Code::kFailedPrecondition, "Nothing is placed on " + name + ".",
                     "add a tier with shadowctl tier add");
  }
  return keeper->Explain(block);
}

Result<std::vector<VolumeTop>> EngineImpl::Top(const std::string& only) {
  std::vector<std::string> names;
  if (!only.empty()) {
    SHADOW_TRY(FindVolume(only));
    names.push_back(only);
  } else {
    const std::lock_guard<std::mutex> lock(state_);
    for (const auto& [name, volume] : volumes_) names.push_back(name);
  }
  const std::lock_guard<std::mutex> lock(top_mutex_);
  std::vector<VolumeTop> all;
  for (const std::string& name : names) {
    const auto status = ReadStatus(*deps_.dm, name);
    if (!status.ok()) continue;
    TopSeen& seen = top_[name];
    const std::int64_t now = deps_.clock->MonotonicUs();
    VolumeTop top;
    top.name = name;
    if (const RunningPtr running = RunningOn(name)) top.modification_id = running->runner->Info().id;
    if (seen.meter == nullptr) {
      seen.meter = std::make_unique<LatencyMeter>(*deps_.dm, name, "shadowd-top");
      seen.meter->Start();
    } else {
      const LatencyWindow app = seen.meter->Take();
      const double seconds = static_cast<double>(std::max<std::int64_t>(1, now - seen.at_us)) / 1e6;
      const auto per_s = [&](std::uint64_t n) {
        return static_cast<std::uint64_t>(static_cast<double>(n) / seconds + 0.5);
      };
      const auto since = [](std::uint64_t after, std::uint64_t before) {
        return after >= before ? after - before : after;
      };
      const KernelStatus& k = status->kernel;
      top.interval_ms = (now - seen.at_us) / 1000;
      top.reads_per_s = per_s(app.reads);
      top.writes_per_s = per_s(app.ios - app.reads);
      top.bytes_per_s = per_s(app.bytes);
      top.p50_us = app.p50_us;
      top.p99_us = app.p99_us;
      const auto ratio = [&](std::size_t i) {
        const std::uint64_t hits = since(k.tier_reads.at(i), seen.kernel.tier_reads.at(i));
        return app.reads == 0 ? 0.0
                              : std::min(1.0, static_cast<double>(hits) /
                                                  static_cast<double>(app.reads));
      };
      top.hit_ratio1 = ratio(0);
      top.hit_ratio2 = ratio(1);
      const std::uint64_t moved = since(k.promoted, seen.kernel.promoted) +
                                  since(k.written_back, seen.kernel.written_back);
      top.moved_bytes_per_s = per_s(moved * k.block_bytes);
    }
    seen.at_us = now;
    seen.kernel = status->kernel;
    all.push_back(std::move(top));
  }
  return all;
}

}  // namespace shadow
