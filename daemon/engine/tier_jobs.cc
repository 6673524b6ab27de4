// SPDX-License-Identifier: Apache-2.0
// Tiers in the background: what a crash interrupted, tiers on their way out, health, placement.
//
// One thread (TierLoop) does it for all volumes, because they share the model's worker; tests call
// Step(). A volume that another request is at work on is left alone until that is done.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

#include "daemon/engine/engine_impl.h"
#include "daemon/engine/volume_lock.h"
#include "daemon/modify/tables.h"
#include "daemon/modify/tiers.h"
#include "daemon/place/pam_client.h"

namespace shadow {
namespace {

constexpr std::int64_t kRemovalTickMs = 200;
constexpr std::int64_t kRetryMs = 5'000;
constexpr std::int64_t kWatchUs = 5'000'000;
constexpr std::int64_t kMostWaitUs = 1'000'000;
constexpr double kMib = 1024.0 * 1024.0;
bool OnTheWay(TierPhase phase) { return phase != TierPhase::kNone && phase != TierPhase::kActive; }

LegSpeed FromProbe(const DeviceSpeed& s) {
  LegSpeed speed;
  speed.read_ms = static_cast<double>(std::max<std::uint64_t>(1, s.read_latency_us)) / 1000;
  speed.write_ms = speed.read_ms;  // not measured apart
  speed.read_mib_s = static_cast<double>(s.read_bandwidth) / kMib;
  speed.write_mib_s =
      s.write_bandwidth == 0 ? speed.read_mib_s : static_cast<double>(s.write_bandwidth) / kMib;
  return speed;
}

}  // namespace

// Called once for each volume, after it was activated.
void EngineImpl::ResumeTierJobs(const VolumeRecord& volume) {
  auto tiers = deps_.store->Tiers(volume.name);
  if (!tiers.ok()) {
    Say("error", "tier", volume.name, tiers.error().ToString());
    return;
  }
  for (const TierLevel level : kTierLevels) {
    TierRecord& tier = tiers->tiers.at(IndexOf(level));
    Status done = Ok();
    if (tier.phase == TierPhase::kAdding) {
      RequestRecord request{tier.request_id, "", "", volume.name};
      const auto known = deps_.store->FindRequest(tier.request_id);
      if (known.ok() && known->has_value()) request = **known;
      done = ContinueAdding(volume, &*tiers, level);
      if (!done.ok()) UndoAdding(volume, &*tiers, level, request);
    }
    if (tier.phase == TierPhase::kForgetting) done = ForgetTier(volume, &*tiers, level);
    if (tier.phase == TierPhase::kReleasing) done = ReleaseTier(volume, &*tiers, level);
    if (!done.ok()) {
      Say("warning", "tier", volume.name,
          TierOf(volume.name, level) + ": " + done.error().ToString());
    }
  }
}

Result<std::int64_t> EngineImpl::TickRemoval(const VolumeRecord& volume, TiersRecord* tiers,
                                             TierLevel level, Removal* removal) {
  TierRecord& tier = tiers->tiers.at(IndexOf(level));
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, volume.name));
  const auto& kernel = status.kernel.tiers.at(IndexOf(level));
  if (!kernel || kernel->used == 0) {
    TiersRecord without = *tiers;
    without.tiers.at(IndexOf(level)).phase = TierPhase::kReleasing;
    SHADOW_TRY(SwapTiers(volume, without));
    tier.phase = TierPhase::kReleasing;
    SHADOW_TRY(deps_.store->PutTiers(*tiers, nullptr));
    SHADOW_TRY(ReleaseTier(volume, tiers, level));
    return 0;
  }
  // what reads fetch to it would never end
  if (status.kernel.fetch == TierName(level)) {
    const auto sent = deps_.dm->Message(volume.name, "fetch off");
    if (!sent.ok()) return sent.error();
  }
  if (!TiersIdle(status)) return kRemovalTickMs;
  SHADOW_ASSIGN(const std::vector<TierRun> all, ReadTiers(*deps_.dm, volume.name));
  std::vector<TierRun> runs;
  std::vector<BlockRange> ranges;
  for (const TierRun& run : all) {
    if (run.tier != level) continue;
    runs.push_back(run);
    ranges.push_back(run.range);
  }
  SHADOW_TRY(CheckDrain(status, runs, volume.name));
  const bool failed = removal->failures && *removal->failures != status.kernel.tier_failures;
  removal->failures = status.kernel.tier_failures;
  if (failed) {
    removal->failures.reset();
    return MakeError(Code::kIoError,
                     std::to_string(kernel->used) + " shadows of " + TierOf(volume.name, level) +
                         " cannot be written home.",
                     "look at the kernel's log, or give them up: shadowctl tier remove " +
                         volume.name + " " + TierName(level) + " --forget --lost");
  }
  for (const std::string& message : RangeMessages("demote", ranges)) {
    const auto sent = deps_.dm->Message(volume.name, message);
    if (!sent.ok() && sent.error().code == Code::kOutOfSpace) break;  // the rest next time
    if (!sent.ok()) return sent.error();
  }
  return kRemovalTickMs;
}

// Every shadow goes home and every tier away; for a volume that goes, too. The caller has its lock.
Status EngineImpl::DrainTiers(const VolumeRecord& volume) {
  SHADOW_ASSIGN(TiersRecord tiers, deps_.store->Tiers(volume.name));
  for (TierRecord& tier : tiers.tiers) {
    if (tier.phase == TierPhase::kActive) tier.phase = TierPhase::kRemoving;
  }
  if (!tiers.Any()) return Ok();
  SHADOW_TRY(deps_.store->PutTiers(tiers, nullptr));
  (void)deps_.dm->Message(volume.name, "clear tiers");
  (void)deps_.dm->Message(volume.name, "limit tier_rate 0");
  for (const TierLevel level : kTierLevels) {
    TierRecord& tier = tiers.tiers.at(IndexOf(level));
    if (tier.phase == TierPhase::kForgetting) SHADOW_TRY(ForgetTier(volume, &tiers, level));
    if (tier.phase == TierPhase::kReleasing) SHADOW_TRY(ReleaseTier(volume, &tiers, level));
    Removal removal;
    while (tier.phase == TierPhase::kRemoving) {
      SHADOW_ASSIGN(const std::int64_t wait, TickRemoval(volume, &tiers, level, &removal));
      if (wait > 0) options_.sleep(wait);
      if (stopping_)
        return MakeError(Code::kUnavailable, "shadowd is stopping.", "try again later");
    }
    if (tier.phase != TierPhase::kNone) {
      return MakeError(Code::kFailedPrecondition,
                       TierOf(volume.name, level) + " is still being added.",
                       "restart shadowd, which finishes that");
    }
  }
  return Ok();
}

void EngineImpl::TickTierJobs(const VolumeRecord& volume, TiersRecord* tiers, TierSeen* seen) {
  const std::int64_t now = deps_.clock->MonotonicUs();
  const bool any = std::any_of(tiers->tiers.begin(), tiers->tiers.end(),
                               [](const TierRecord& t) { return OnTheWay(t.phase); });
  if (!any || now < seen->retry_us) return;
  const VolumeLock lock(this, volume.name);
  if (!lock.Check().ok()) return;
  auto again = deps_.store->Tiers(volume.name);  // as it is now that nobody else changes it
  if (!again.ok()) return;
  *tiers = *again;
  std::int64_t wait_ms = kMostWaitUs / 1000;
  for (const TierLevel level : kTierLevels) {
    TierRecord& tier = tiers->tiers.at(IndexOf(level));
    Removal& removal = seen->removals.at(IndexOf(level));
    Result<std::int64_t> done = std::int64_t{0};
    if (tier.phase == TierPhase::kRemoving) {
      done = TickRemoval(volume, tiers, level, &removal);
    } else if (tier.phase == TierPhase::kForgetting || tier.phase == TierPhase::kReleasing) {
      const Status gone = tier.phase == TierPhase::kForgetting ? ForgetTier(volume, tiers, level)
                                                               : ReleaseTier(volume, tiers, level);
      if (!gone.ok()) done = gone.error();
    } else {
      removal = {};
      continue;
    }
    if (!done.ok() && !removal.told) {
      Say("error", "tier_stuck", volume.name, done.error().ToString());
      removal.told = true;
    }
    wait_ms = std::min(wait_ms, done.ok() ? *done : kRetryMs);
  }
  seen->retry_us = now + wait_ms * 1000;
}

// What the kernel found out about the tiers, and a device that is back.
void EngineImpl::WatchTiers(const VolumeRecord& volume, const TiersRecord& tiers, TierSeen* seen) {
  const auto status = ReadStatus(*deps_.dm, volume.name);
  if (!status.ok()) return;
  for (const TierLevel level : kTierLevels) {
    const auto& kernel = status->kernel.tiers.at(IndexOf(level));
    const TierRecord& tier = tiers.tiers.at(IndexOf(level));
    const std::string health = kernel ? kernel->health : "";
    const std::string before = std::exchange(seen->health.at(IndexOf(level)), health);
    if (health != before && (health == "failed" || health == "missing")) {
      const bool dirty = kernel->dirty > 0;
      Say(dirty ? "error" : "warning", health == "failed" ? "tier_failed" : "tier_missing",
          volume.name,
          TierOf(volume.name, level) + " (" + tier.leg.device + ") is " + health + ". " +
              (dirty ? "The newest data of " + std::to_string(kernel->dirty) +
                           " blocks are only there; the volume reads and writes its other blocks."
                     : std::string("It held nothing that home has not; the volume goes on.")));
    } else if (health == "ok" && (before == "failed" || before == "missing")) {
      Say("info", "tier_ok", volume.name, TierOf(volume.name, level) + " is in use again.");
    }
    const bool back = health == "missing" && tier.phase == TierPhase::kActive &&
                      deps_.identities->Resolve(tier.leg.id).ok() &&
                      NameIsEnough(volume, tier.leg).ok();
    if (!back) continue;
    const VolumeLock lock(this, volume.name);
    if (!lock.Check().ok()) continue;
    const Status swapped = SwapTiers(volume, tiers);
    if (!swapped.ok()) spdlog::warn("{}: {}", volume.name, swapped.error().ToString());
  }
}

// As measured on this machine: once for each leg.
LegSpeed EngineImpl::SpeedOf(const Leg& leg, bool may_write, TierSeen* seen) {
  if (seen != nullptr) {
    const auto it = seen->speeds.find(leg.id);
    if (it != seen->speeds.end()) return it->second;
  }
  const std::string key = "leg:" + leg.id;
  LegSpeed speed;
  const auto known = deps_.store->FindSpeed(key);
  if (known.ok() && known->has_value()) {
    speed = FromProbe(**known);
  } else {
    const auto probed = deps_.blocks->Probe(Located(*deps_.identities, leg).device, may_write);
    if (probed.ok()) {
      (void)deps_.store->PutSpeed(key, *probed);
      speed = FromProbe(*probed);
      spdlog::info("{}: reads {:.0f} MiB/s, in {:.3f} ms", leg.device, speed.read_mib_s,
                   speed.read_ms);
    } else {
      spdlog::warn("{} cannot be measured: {}", leg.device, probed.error().ToString());
    }
  }
  if (seen != nullptr) seen->speeds[leg.id] = speed;
  return speed;
}

std::int64_t EngineImpl::TickKeeper(const VolumeRecord& volume, const TiersRecord& tiers,
                                    TierSeen* seen) {
  KeeperView view;
  view.uuid = volume.uuid;
  view.blocks = (volume.sectors + volume.block_sectors - 1) / volume.block_sectors;
  view.policy = tiers.policy;
  if (tiers.Any()) {
    view.home = SpeedOf(volume.origin, false, seen);
    for (const TierLevel level : kTierLevels) {
      const TierRecord& tier = tiers.tiers.at(IndexOf(level));
      view.usable.at(IndexOf(level)) = tier.phase == TierPhase::kActive;
      if (tier.phase == TierPhase::kActive) {
        view.speeds.at(IndexOf(level)) = SpeedOf(tier.leg, false, seen);
      }
    }
  }
  std::shared_ptr<TierKeeper> keeper = KeeperOf(volume.name);
  if (keeper == nullptr || keeper->window_ms() != view.policy.window_ms) {
    auto made = TierKeeper::Make(
        deps_.dm, deps_.clock, options_.keeper, volume.name, volume.block_sectors * kSectorBytes,
        view, [this, name = volume.name](const char* severity, const std::string& text) {
          Say(severity, "placement", name, text);
        });
    if (!made.ok()) {
      spdlog::warn("{}: {}", volume.name, made.error().ToString());
      return kRetryMs * 1000;
    }
    keeper = *made;
    DropKeeper(volume.name);
    const std::lock_guard<std::mutex> lock(state_);
    keepers_[volume.name] = keeper;
  }
  return keeper->Tick(view);
}

std::int64_t EngineImpl::TickVolumeTiers(const VolumeRecord& volume, TierSeen* seen) {
  auto tiers = deps_.store->Tiers(volume.name);
  if (!tiers.ok()) return kMostWaitUs;
  const std::int64_t now = deps_.clock->MonotonicUs();
  TickTierJobs(volume, &*tiers, seen);
  if (tiers->Any() && now - seen->watched_us >= kWatchUs) {
    seen->watched_us = now;
    WatchTiers(volume, *tiers, seen);
  }
  std::int64_t wait = TickKeeper(volume, *tiers, seen);
  for (const TierRecord& tier : tiers->tiers) {
    if (OnTheWay(tier.phase)) wait = std::min(wait, kRemovalTickMs * 1000);
  }
  return wait;
}

std::int64_t EngineImpl::TickTiers() {
  std::map<std::string, VolumeRecord> volumes;
  std::vector<std::string> gone;
  {
    const std::lock_guard<std::mutex> lock(state_);
    volumes = volumes_;
    for (const auto& [name, keeper] : keepers_) {
      if (volumes.count(name) == 0) gone.push_back(name);
    }
  }
  for (const std::string& name : gone) {
    DropKeeper(name);
    if (options_.keeper.pam != nullptr) options_.keeper.pam->Forget(name);
  }
  std::erase_if(tier_seen_, [&](const auto& entry) { return volumes.count(entry.first) == 0; });
  std::int64_t wait = kMostWaitUs;
  for (const auto& [name, volume] : volumes) {
    if (stopping_) break;
    wait = std::min(wait, TickVolumeTiers(volume, &tier_seen_[name]));
  }
  return std::max<std::int64_t>(wait, 1000);
}

void EngineImpl::TierLoop() {
  while (!stopping_) {
    std::uint64_t wakes = 0;
    {
      const std::lock_guard<std::mutex> lock(state_);
      wakes = tier_wakes_;
    }
    const std::int64_t wait = TickTiers();
    std::unique_lock<std::mutex> lock(state_);
    changed_.wait_for(lock, std::chrono::microseconds(wait),
                      [&] { return stopping_ || tier_wakes_ != wakes; });
  }
}

void EngineImpl::WakeTiers() {
  const std::lock_guard<std::mutex> lock(state_);
  ++tier_wakes_;
  changed_.notify_all();
}

std::shared_ptr<TierKeeper> EngineImpl::KeeperOf(const std::string& volume) {
  const std::lock_guard<std::mutex> lock(state_);
  const auto it = keepers_.find(volume);
  return it == keepers_.end() ? nullptr : it->second;
}

// It may have a trace to end: not under the lock.
void EngineImpl::DropKeeper(const std::string& volume) {
  std::shared_ptr<TierKeeper> last;
  const std::lock_guard<std::mutex> lock(state_);
  const auto it = keepers_.find(volume);
  if (it == keepers_.end()) return;
  last = std::move(it->second);
  keepers_.erase(it);
}

}  // namespace shadow
