// SPDX-License-Identifier: Apache-2.0
// Reconciliation: compares, at every event of a block device and from time to time, what a volume
// should have with what the kernel has, and loads the better table.
//
// A disk that comes late, leaves and returns is ordinary. Nothing is decided once at start:
// * a volume that is not up is put together as soon as its legs are there;
// * a home leg that is missing is waited for (leg_wait). After that the volume is started without
//   it, and only if no block has its only current copy there;
// * a leg that comes back is put into the live table again; the kernel uses what is good on it.
// Runs on one thread of its own; each volume under its lock, and never while a step of its
// modification is under way. A volume with a request at work is looked at the next time.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "daemon/base/sizes.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/engine/volume_lock.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

constexpr std::int64_t kLookMs = 2000;
constexpr const char* kConnect =
    "connect the device; the volume comes up by itself when it is there";

std::string Seconds(std::int64_t ms) { return std::to_string((ms + 999) / 1000) + " s"; }

}  // namespace

// The path that a leg has now, by its identity: never the one it had once.
Result<std::string> EngineImpl::PathOfLeg(const TableLeg& leg) {
  SHADOW_ASSIGN(const DeviceIdentity found, deps_.identities->Resolve(leg.id));
  return found.path;
}

// A leg that has nothing but a name: may the device that has the name now be the leg? A metadata
// device says so itself. Of another the user must have said that names do not change here, and it
// must have its size still.
Status EngineImpl::NameIsEnough(const VolumeRecord& volume, const Leg& leg) {
  const auto found = deps_.identities->Resolve(leg.id);
  if (!found.ok() || found->Lasts()) return Ok();  // what is not there is waited for
  if (leg.id == volume.metadata.id && deps_.superblock) {
    const auto sb = deps_.superblock(found->path);
    if (sb.ok() && *sb && volume.uuid == (*sb)->uuid) return Ok();
    return MakeError(Code::kFailedPrecondition,
                     found->path + ", by its name the metadata of " + volume.name +
                         ", does not hold them: it is another device now.",
                     "look which device holds them: dm-shadow-activate --list");
  }
  {
    const std::lock_guard<std::mutex> lock(state_);
    if (looked_at_.count(volume.name) != 0) return Ok();
  }
  const bool same_size = found->size_bytes == leg.size_bytes;
  if (leg.by_name && same_size) return Ok();
  return MakeError(
      Code::kFailedPrecondition,
      found->path + " is a leg of " + volume.name + " by its name alone, " +
          (same_size ? "and another device may have that since the reboot."
                     : "and its size is not what it was: it is another device, or was resized."),
      "look what is on it (blkid), then: shadowctl volume activate " + volume.name +
          " --allow-unstable-names");
}

Status EngineImpl::NamesAreEnough(const VolumeRecord& volume, const std::vector<Leg>& legs) {
  for (const Leg& leg : legs) SHADOW_TRY(NameIsEnough(volume, leg));
  return Ok();
}

// May the volume be started without this leg ("origin" or "target")? If not, says why.
Status EngineImpl::MayStartWithout(const VolumeRecord& volume, const char* role,
                                   const TableLeg& leg) {
  const std::string what = std::string("its ") + role + " " + leg.device + " (" + leg.id + ")";
  std::int64_t waited_ms = 0;
  {
    const std::lock_guard<std::mutex> lock(state_);
    Waiting& w = waiting_[volume.name];
    const std::int64_t now = deps_.clock->MonotonicUs();
    if (w.since_us == 0) w.since_us = std::max<std::int64_t>(1, now);
    waited_ms = (now - w.since_us) / 1000;
  }
  if (options_.leg_wait_ms == 0) {
    return MakeError(Code::kUnavailable, "It waits for " + what + ".", kConnect);
  }
  if (waited_ms < options_.leg_wait_ms) {
    const std::string rest = Seconds(options_.leg_wait_ms - waited_ms);
    return MakeError(Code::kUnavailable, "It waits for " + what + ", for " + rest + " more.",
                     kConnect);
  }
  if (!deps_.only_copies) return Ok();
  SHADOW_ASSIGN(const std::string metadata,
                PathOfLeg({volume.metadata.device, volume.metadata.id}));
  SHADOW_ASSIGN(const std::uint64_t only,
                deps_.only_copies(metadata, std::string(role) == "origin" ? 0 : 1));
  if (only == 0) return Ok();
  return MakeError(Code::kUnavailable,
                   "It waits for " + what + ", which has the only current copy of " +
                       std::to_string(only) + " blocks.",
                   kConnect);
}

// Puts the paths of today into a table, "-" for what is not there. False: a home leg is missing.
Result<bool> EngineImpl::PlaceHome(const VolumeRecord& volume, ShadowTable* table,
                                   bool give_up_tiers) {
  bool whole = true;
  const auto place = [&](const char* role, TableLeg* leg) -> Status {
    const auto path = PathOfLeg(*leg);
    if (path.ok()) {
      leg->device = *path;
      return Ok();
    }
    if (path.error().code != Code::kNotFound) return path.error();
    whole = false;
    if (!table->target) {
      return MakeError(
          Code::kUnavailable,
          std::string("It waits for its ") + role + " " + leg->device + " (" + leg->id + ").",
          kConnect);
    }
    SHADOW_TRY(MayStartWithout(volume, role, *leg));
    leg->device = "-";
    return Ok();
  };
  SHADOW_TRY(place("origin", &table->origin));
  if (table->target) SHADOW_TRY(place("target", &*table->target));
  for (std::size_t i = 0; i < table->tiers.size(); ++i) {
    auto& tier = table->tiers.at(i);
    if (!tier) continue;
    const auto path = PathOfLeg(tier->leg);
    if (!path.ok() && !give_up_tiers) SHADOW_TRY(NothingOnlyOnTier(volume, i, tier->leg));
    tier->leg.device = path.ok() ? *path : "-";
  }
  return whole;
}

// A tier is not waited for unless it has dirty shadows: clean ones are at home, too.
Status EngineImpl::NothingOnlyOnTier(const VolumeRecord& volume, std::size_t index,
                                     const TableLeg& leg) {
  if (!deps_.only_copies) return Ok();
  SHADOW_ASSIGN(const std::string metadata,
                PathOfLeg({volume.metadata.device, volume.metadata.id}));
  SHADOW_ASSIGN(const std::uint64_t only, deps_.only_copies(metadata, 2 + static_cast<int>(index)));
  if (only == 0) return Ok();
  return MakeError(Code::kUnavailable,
                   "It waits for its tier" + std::to_string(index + 1) + " " + leg.device + " (" +
                       leg.id + "), which has the only current copy of " + std::to_string(only) +
                       " blocks.",
                   kConnect);
}

// The tables that can be loaded now, those with all legs first. If there is none: why.
Result<std::vector<ShadowTable>> EngineImpl::PlaceLegs(const VolumeRecord& volume,
                                                       const std::vector<ShadowTable>& tables,
                                                       bool give_up_tiers) {
  const auto metadata = PathOfLeg({volume.metadata.device, volume.metadata.id});
  if (!metadata.ok()) {
    return MakeError(Code::kUnavailable,
                     "It waits for its metadata " + volume.metadata.device + " (" +
                         volume.metadata.id + "): " + metadata.error().message,
                     kConnect);
  }
  std::vector<ShadowTable> placed, without;
  std::optional<Error> why;
  for (ShadowTable table : tables) {
    table.metadata = *metadata;
    const auto whole = PlaceHome(volume, &table, give_up_tiers);
    if (!whole.ok()) {
      if (!why) why = whole.error();
    } else {
      (*whole ? placed : without).push_back(std::move(table));
    }
  }
  placed.insert(placed.end(), without.begin(), without.end());
  if (placed.empty() && why) return *why;
  return placed;
}

// For a tier whose data the user gives up: the volume is started without it, to forget it.
Status EngineImpl::StartWithoutTiers(const VolumeRecord& volume) {
  const RunningPtr running = RunningOn(volume.name);
  if (running == nullptr) return Activate(volume, nullptr, true);
  return running->runner->WhileIdle(
      [&](const ModificationRecord& m) { return Activate(volume, &m, true); });
}

// Puts legs that are there again into a live table that lacks them.
Status EngineImpl::TakeLegsBack(const VolumeRecord& volume, const ModificationRecord* running) {
  SHADOW_ASSIGN(const DmTarget line, deps_.dm->TableOf(volume.name));
  SHADOW_ASSIGN(ShadowTable live, ParseTable(line.sectors, line.params));
  live.metadata_id = volume.metadata.id;
  live = Located(*deps_.identities, std::move(live));
  std::vector<Leg> known = {volume.origin};
  if (running != nullptr) {
    known.push_back(running->origin);
    known.push_back(running->target);
  }
  ShadowTable better = live;
  std::string back, missing;
  const auto look = [&](const char* role, TableLeg* leg) {
    if (leg->device != "-") return;
    for (const Leg& k : known) {
      if (k.id == leg->id) (void)deps_.legs->Activate(k);
    }
    const auto path = PathOfLeg(*leg);
    Status enough = Ok();
    for (const Leg& k : known) {
      if (k.id == leg->id && enough.ok()) enough = NameIsEnough(volume, k);
    }
    if (!enough.ok()) {
      missing += (missing.empty() ? "" : " and ") + std::string("its ") + role + ": " +
                 enough.error().message;
    } else if (path.ok()) {
      leg->device = *path;
      back += (back.empty() ? "" : " and ") + std::string(role) + " " + *path;
    } else {
      missing +=
          (missing.empty() ? "" : " and ") + std::string("its ") + role + " (" + leg->id + ")";
    }
  };
  look("origin", &better.origin);
  if (better.target) look("target", &*better.target);
  if (!missing.empty()) {
    NoteWaiting(volume.name,
                MakeError(Code::kUnavailable, "It runs without " + missing + ".",
                          "connect the device: it is taken back by itself; or abort the "
                          "modification"),
                true);
  }
  if (back.empty()) return Ok();
  const auto swapped = SwapTable(*deps_.dm, *deps_.clock, volume.name, better, live);
  if (!swapped.ok()) return swapped.error();
  Say("info", "leg", volume.name, "The " + back + " is back; what is current on it is used again.");
  return Ok();
}

// Says a change of what a volume waits for, once.
void EngineImpl::NoteWaiting(const std::string& name, const Error& why, bool say) {
  {
    const std::lock_guard<std::mutex> lock(state_);
    Waiting& w = waiting_[name];
    // The rest of the wait counts down: no news.
    const auto key = why.message.substr(0, why.message.find(", for "));
    const bool same = w.key == key;
    w.key = key;
    w.why = why.message;
    w.hint = why.hint;
    if (same) return;
  }
  if (say) Say("warning", "leg", name, why.message);
}

Error EngineImpl::WaitsFor(const std::string& name) {
  const std::lock_guard<std::mutex> lock(state_);
  const auto it = waiting_.find(name);
  if (it == waiting_.end()) return {};
  return MakeError(Code::kUnavailable, it->second.why, it->second.hint);
}

// A volume that is up with all its home legs needs nothing: its lock is not even asked for, so that
// no request is refused for want of it.
bool EngineImpl::IsWhole(const VolumeRecord& volume) {
  const auto info = deps_.dm->Info(volume.name);
  if (!info.ok() || !info->live_table || info->uuid != DmUuid(volume.uuid)) return false;
  const auto line = deps_.dm->TableOf(volume.name);
  if (!line.ok()) return false;
  const auto table = ParseTable(line->sectors, line->params);
  return table.ok() && table->origin.device != "-" &&
         (!table->target || table->target->device != "-");
}

void EngineImpl::ReconcileVolume(const VolumeRecord& volume) {
  if (IsWhole(volume)) return NothingIsMissing(volume.name);
  const VolumeLock lock(this, volume.name);
  if (!lock.Check().ok()) return;
  const auto work = [&](const ModificationRecord* running) -> Status {
    // The record may be newer than the caller's.
    SHADOW_ASSIGN(const VolumeRecord now, FindVolume(volume.name));
    if (now.state != VolumeState::kActive) return Ok();
    const auto info = deps_.dm->Info(now.name);
    if (!info.ok() && info.error().code != Code::kNotFound) return info.error();
    if (info.ok() && info->live_table) {
      if (info->uuid != DmUuid(now.uuid)) return Activate(now, running);  // says what is wrong
      if (info->suspended) return Ok();                                   // somebody has it so
      SHADOW_TRY(TakeLegsBack(now, running));
      return Ok();
    }
    SHADOW_TRY(Activate(now, running));
    Say("info", "activate", now.name, "It is up: its devices are there.");
    ResumeTierJobs(now);
    return Ok();
  };
  const RunningPtr running = RunningOn(volume.name);
  const Status done =
      running == nullptr
          ? work(nullptr)
          : running->runner->WhileIdle([&](const ModificationRecord& m) { return work(&m); });
  if (!done.ok()) {
    NoteWaiting(volume.name, done.error(), true);
    return;
  }
  if (IsWhole(volume)) NothingIsMissing(volume.name);
}

void EngineImpl::NothingIsMissing(const std::string& name) {
  const std::lock_guard<std::mutex> state(state_);
  if (waiting_.erase(name) == 0) return;
  ++wakes_;  // its modification goes on
  changed_.notify_all();
}

void EngineImpl::Reconcile() {
  std::vector<VolumeRecord> volumes;
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (const auto& [name, volume] : volumes_) volumes.push_back(volume);
  }
  for (const VolumeRecord& volume : volumes) {
    if (stopping_) return;
    if (volume.state == VolumeState::kActive) ReconcileVolume(volume);
  }
}

std::string EngineImpl::StatusText() {
  const std::lock_guard<std::mutex> lock(state_);
  std::string text;
  for (const auto& [name, w] : waiting_) {
    if (!w.key.empty()) text += " " + name + ": " + w.why;
  }
  return "Serving." + text;
}

void EngineImpl::ReconcileLoop() {
  while (!stopping_) {
    if (options_.wait_devices) {
      options_.wait_devices(kLookMs);
    } else {
      std::unique_lock<std::mutex> lock(state_);
      changed_.wait_for(lock, std::chrono::milliseconds(kLookMs), [&] { return stopping_.load(); });
    }
    if (!stopping_) Reconcile();
  }
}

Result<VolumeInfo> EngineImpl::ActivateVolume(const std::string& name, bool unstable_names) {
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(name));
  if (unstable_names) {
    const std::lock_guard<std::mutex> lock(state_);
    looked_at_.insert(name);
  }
  ReconcileVolume(volume);
  if (unstable_names) {
    // The word was for what is there now: what comes later waits for another.
    const std::lock_guard<std::mutex> lock(state_);
    looked_at_.erase(name);
  }
  const auto info = deps_.dm->Info(name);
  if (info.ok() && info->live_table && info->uuid == DmUuid(volume.uuid)) return InfoOf(volume);
  const Error why = WaitsFor(name);
  return MakeError(
      Code::kUnavailable,
      "The volume " + name + " is not up." + (why.message.empty() ? "" : " " + why.message),
      why.hint.empty() ? kConnect : why.hint);
}

}  // namespace shadow
