// SPDX-License-Identifier: Apache-2.0
// The state as a text to keep elsewhere, and the way back from it.
//
// A kept text may be old: its volumes may have moved since. A volume's metadata know better than
// any copy of the state, so a record is taken in only if they agree with it about the volume's home
// and nothing is under way. Else the volume is taken in from its metadata (recover.cc), which
// forgets who made its devices, and so removes none of them.
#include <spdlog/spdlog.h>

#include <nlohmann/json.hpp>

#include "daemon/engine/engine_impl.h"
#include "daemon/engine/volume_lock.h"
#include "daemon/store/codec.h"

namespace shadow {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "dm-shadow state";
constexpr int kVersion = 1;

Error NoState(const std::string& why) {
  return MakeError(Code::kInvalidArgument, "This is no state of shadowd's: " + why + ".",
                   "give a file that shadowctl state export has written");
}

}  // namespace

Result<std::string> EngineImpl::ExportState() {
  json out = {{"format", kFormat}, {"version", kVersion}, {"volumes", json::array()}};
  SHADOW_ASSIGN(const std::vector<VolumeRecord> volumes, deps_.store->Volumes());
  for (const VolumeRecord& volume : volumes) {
    SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume.name));
    json one = {{"volume", json::parse(Encode(volume))}};
    if (tiers.Any()) one["tiers"] = json::parse(Encode(tiers));
    SHADOW_ASSIGN(const auto modifications, deps_.store->Modifications(volume.name));
    // What is over matters only for what it has wiped.
    for (const ModificationRecord& m : modifications) {
      if (!m.wiped.empty()) one["modifications"].push_back(json::parse(Encode(m)));
    }
    out["volumes"].push_back(std::move(one));
  }
  return out.dump(1) + "\n";
}

// Returns what became of it.
Result<std::string> EngineImpl::TakeIn(const VolumeRecord& volume, const TiersRecord& tiers,
                                       const std::vector<ModificationRecord>& modifications) {
  if (const auto known = FindVolume(volume.name); known.ok()) {
    return std::string(known->uuid == volume.uuid
                           ? "it is known already."
                           : "there is another volume of this name already.");
  }
  if (volume.state != VolumeState::kActive) return std::string("it was being made or removed.");
  const Status awake = deps_.legs->Activate(volume.metadata);
  if (!awake.ok()) spdlog::warn("{}: {}", volume.name, awake.error().ToString());
  SHADOW_ASSIGN(const DeviceIdentity device, deps_.identities->Resolve(volume.metadata.id));
  SHADOW_ASSIGN(const std::optional<shadow_superblock> sb, deps_.superblock(device.path));
  if (!sb || volume.uuid != sb->uuid) {
    return MakeError(Code::kFailedPrecondition,
                     device.path + " does not hold the metadata of this volume.",
                     "look which device does: dm-shadow-activate --list");
  }
  bool same = sb->phase == SHADOW_STEADY && volume.origin.id == sb->legs[SHADOW_LEG_ORIGIN].id &&
              volume.sectors == sb->nr_sectors;
  for (std::size_t i = 0; i < tiers.tiers.size(); ++i) {
    const shadow_leg_record& leg = sb->legs[SHADOW_LEG_TIER1 + static_cast<int>(i)];
    const TierRecord& tier = tiers.tiers.at(i);
    const bool has = tier.phase == TierPhase::kActive;
    same = same && tier.phase <= TierPhase::kActive && has == (leg.present != 0) &&
           (!has || tier.leg.id == leg.id);
  }
  if (!same) {
    SHADOW_TRY(RecoverVolume({device.path, ""}));
    return std::string("it has changed since; taken in from its metadata on " + device.path + ".");
  }
  const VolumeLock lock(this, volume.name);
  SHADOW_TRY(lock.Check());
  const auto live = deps_.dm->Info(volume.name);
  if (!live.ok() || live->uuid != DmUuid(volume.uuid)) SHADOW_TRY(CheckNewName(volume.name));
  SHADOW_TRY(deps_.store->PutVolume(volume, nullptr));
  if (tiers.Any()) SHADOW_TRY(deps_.store->PutTiers(tiers, nullptr));
  for (const ModificationRecord& m : modifications) {
    ModificationUpdate update;
    update.record = &m;
    SHADOW_TRY(deps_.store->PutModification(update));
  }
  RememberVolume(volume);
  const Status active = Activate(volume, nullptr);
  if (active.ok()) {
    ResumeTierJobs(volume);
    return std::string("taken in.");
  }
  NoteWaiting(volume.name, active.error(), true);
  return std::string("taken in; it is not up: " + active.error().message);
}

Result<std::vector<std::string>> EngineImpl::ImportState(const std::string& text) {
  const json state = json::parse(text, nullptr, false);
  if (!state.is_object() || state.value("format", json()) != kFormat)
    return NoState("no JSON of it");
  if (state.value("version", json()) != kVersion) return NoState("of another version");
  const json volumes = state.value("volumes", json::array());
  if (!volumes.is_array()) return NoState("without volumes");
  std::vector<std::string> results;
  for (const json& one : volumes) {
    if (!one.is_object() || !one.contains("volume")) return NoState("a volume is missing");
    SHADOW_ASSIGN(const VolumeRecord volume, DecodeVolume(one["volume"].dump()));
    TiersRecord tiers;
    tiers.volume = volume.name;
    if (one.contains("tiers")) {
      SHADOW_ASSIGN(tiers, DecodeTiers(one["tiers"].dump()));
    }
    std::vector<ModificationRecord> modifications;
    for (const json& m : one.value("modifications", json::array())) {
      SHADOW_ASSIGN(ModificationRecord record, DecodeModification(m.dump()));
      if (record.state.step == Step::kEnd) modifications.push_back(std::move(record));
    }
    const auto taken = TakeIn(volume, tiers, modifications);
    results.push_back(volume.name + ": " + (taken.ok() ? *taken : taken.error().ToString()));
  }
  return results;
}

}  // namespace shadow
