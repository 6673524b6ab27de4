// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/tables.h"

#include <algorithm>

#include "daemon/base/clock.h"

namespace shadow {
namespace {

constexpr int kMaxMapMessages = 1'000'000;

Error Explain(const Error& why, const std::string& name, const Status& back) {
  Error error = why;
  error.message = "The kernel did not take the new table of " + name + ": " + why.message;
  if (!back.ok()) {
    error.message += " The table before could not be brought back either: " + back.error().message;
    error.hint =
        "the device is suspended and its I/O waits; look at dmsetup table and the kernel's log";
    error.code = Code::kIoError;
  }
  return error;
}

// Asks for runs until the kernel's answer is not cut any more; joins what an answer's end cut.
template <typename Run, typename Parse, typename Alike>
Result<std::vector<Run>> ReadRuns(DeviceMapper& dm, const std::string& name,
                                  const std::string& verb, std::optional<BlockRange> range,
                                  Parse parse, Alike alike) {
  SHADOW_ASSIGN(const TargetStatus status, ReadStatus(dm, name));
  std::vector<Run> all;
  std::uint64_t at = range ? range->first : 0;
  const std::uint64_t end =
      range ? std::min(range->first + range->count, status.kernel.blocks) : status.kernel.blocks;
  for (int i = 0; i < kMaxMapMessages && at < end; ++i) {
    SHADOW_ASSIGN(const std::string text, dm.Message(name, verb + " " + std::to_string(at) + "+" +
                                                               std::to_string(end - at)));
    SHADOW_ASSIGN(const auto answer, parse(text));
    for (const Run& run : answer.runs) {
      if (!all.empty() && alike(all.back(), run) &&
          all.back().range.first + all.back().range.count == run.range.first) {
        all.back().range.count += run.range.count;
      } else {
        all.push_back(run);
      }
    }
    if (!answer.next) return all;
    if (*answer.next <= at) break;
    at = *answer.next;
  }
  if (at >= end) return all;
  return MakeError(Code::kDataLoss,
                   "The kernel's answer to " + verb + " of " + name + " does not end.");
}

}  // namespace

namespace {

std::string PathOf(Identities& identities, const std::string& id, const std::string& path) {
  if (id.empty() || path.empty() || path == "-") return path;
  const auto found = identities.Resolve(id);
  return found.ok() ? found->path : "/dev/missing/" + id;
}

}  // namespace

Leg Located(Identities& identities, Leg leg) {
  leg.device = PathOf(identities, leg.id, leg.device);
  return leg;
}

VolumeRecord Located(Identities& identities, VolumeRecord volume) {
  volume.origin = Located(identities, std::move(volume.origin));
  volume.metadata = Located(identities, std::move(volume.metadata));
  return volume;
}

ShadowTable Located(Identities& identities, ShadowTable table) {
  table.metadata = PathOf(identities, table.metadata_id, table.metadata);
  table.origin.device = PathOf(identities, table.origin.id, table.origin.device);
  if (table.target) {
    table.target->device = PathOf(identities, table.target->id, table.target->device);
  }
  for (auto& tier : table.tiers) {
    if (!tier || tier->leg.device == "-") continue;
    const auto found = identities.Resolve(tier->leg.id);
    tier->leg.device = found.ok() ? found->path : "-";
  }
  return table;
}

ShadowTable OneLegTable(const VolumeRecord& volume, const Leg& leg, std::uint64_t sectors) {
  ShadowTable t;
  t.sectors = sectors;
  t.metadata = volume.metadata.device;
  t.metadata_id = volume.metadata.id;
  t.block_sectors = volume.block_sectors;
  t.origin = {leg.device, leg.id};
  t.fresh = volume.fresh;
  return t;
}

ShadowTable TwoLegTable(const VolumeRecord& volume, const ModificationRecord& m) {
  ShadowTable t = OneLegTable(volume, m.origin, m.new_sectors);
  t.fresh = false;
  t.target = TableLeg{m.target.device, m.target.id};
  t.shrink = m.new_sectors < m.old_sectors;
  return t;
}

std::vector<ShadowTable> TablesToTry(const VolumeRecord& volume, const ModificationRecord* m) {
  if (m == nullptr || m->state.step == Step::kEnd) {
    return {OneLegTable(volume, volume.origin, volume.sectors)};
  }
  const ShadowTable before = OneLegTable(volume, m->origin, m->old_sectors);
  if (m->state.kind != Kind::kMove) {
    ShadowTable after = OneLegTable(volume, m->origin, m->new_sectors);
    after.shrink = m->new_sectors < m->old_sectors;
    if (m->state.step < Step::kAttach) return {before};
    // If the longer one got in late, the kernel refuses the shorter.
    if (m->state.step == Step::kShrinkBack) return {before, after};
    if (m->state.step == Step::kAttach) return {after, before};
    return {after};
  }
  const ShadowTable after = OneLegTable(volume, m->target, m->new_sectors);
  const ShadowTable both = TwoLegTable(volume, *m);
  switch (m->state.step) {
    case Step::kStart:
    case Step::kTrim:
    case Step::kBackup:
    case Step::kMakeTarget:
    case Step::kReleaseTarget:
      return {before};
    case Step::kAttach:
      // If the metadata has no target yet, the step looks at the device once more before it puts it
      // into a table. If it has one, the table without it is refused.
      return {before, both};
    case Step::kCommit:
      return {both, after};
    case Step::kDetach:
    case Step::kGrowFsAtEnd:
    case Step::kReleaseOrigin:
      return {after};
    case Step::kStopCopy:
    case Step::kRemirror:
    case Step::kRollBack:
    case Step::kAbortTarget:
    case Step::kRestoreTable:
      // Before the abort the short table is refused; after it the long one would attach again.
      return {before, both};
    default:
      return {both};
  }
}

ShadowTable WithTiers(ShadowTable table, const TiersRecord& tiers) {
  for (std::size_t i = 0; i < tiers.tiers.size(); ++i) {
    const TierRecord& tier = tiers.tiers.at(i);
    table.tiers.at(i).reset();
    if (tier.phase != TierPhase::kActive && tier.phase != TierPhase::kRemoving) continue;
    table.tiers.at(i) = TableTier{{tier.leg.device, tier.leg.id}, tier.write_back};
  }
  return table;
}

Result<bool> IsLive(DeviceMapper& dm, const std::string& name, const ShadowTable& table) {
  SHADOW_ASSIGN(const DmInfo info, dm.Info(name));
  if (!info.live_table || info.suspended) return false;
  SHADOW_ASSIGN(const DmTarget live, dm.TableOf(name));
  if (live.type != "shadow" || live.sectors != table.sectors) return false;
  SHADOW_ASSIGN(const ShadowTable parsed, ParseTable(live.sectors, live.params));
  if (parsed.origin.id != table.origin.id ||
      parsed.target.has_value() != table.target.has_value()) {
    return false;
  }
  for (std::size_t i = 0; i < table.tiers.size(); ++i) {
    const auto& wanted = table.tiers.at(i);
    const auto& found = parsed.tiers.at(i);
    if (wanted.has_value() != found.has_value()) return false;
    if (!wanted) continue;
    const bool missing = wanted->leg.device == "-";
    if (wanted->leg.id != found->leg.id || missing != (found->leg.device == "-")) return false;
  }
  return !table.target || parsed.target->id == table.target->id;
}

Result<std::uint64_t> SwapTable(DeviceMapper& dm, const Clock& clock, const std::string& name,
                                const ShadowTable& table,
                                const std::optional<ShadowTable>& fallback) {
  SHADOW_ASSIGN(const std::string params, BuildTable(table));
  const Status loaded = dm.Load(name, table.sectors, params);
  if (!loaded.ok()) return Explain(loaded.error(), name, Ok());
  const std::int64_t start = clock.MonotonicUs();
  const Status resumed = dm.Resume(name);
  const std::int64_t pause = clock.MonotonicUs() - start;
  if (resumed.ok()) return static_cast<std::uint64_t>(std::max<std::int64_t>(pause, 1));
  Status back = resumed;
  if (fallback) {
    const auto old_params = BuildTable(*fallback);
    if (old_params.ok()) {
      back = dm.Load(name, fallback->sectors, *old_params);
      if (back.ok()) back = dm.Resume(name);
    }
  }
  return Explain(resumed.error(), name, back);
}

Result<TargetStatus> ReadStatus(DeviceMapper& dm, const std::string& name) {
  SHADOW_ASSIGN(const DmTarget line, dm.StatusOf(name));
  if (line.type != "shadow") {
    return MakeError(Code::kFailedPrecondition,
                     "The device " + name + " is none of the shadow target's.",
                     "look at it with dmsetup table");
  }
  return ParseStatus(line.params);
}

Result<std::vector<TierRun>> ReadTiers(DeviceMapper& dm, const std::string& name,
                                       std::optional<BlockRange> range) {
  return ReadRuns<TierRun>(
      dm, name, "tiers", range, ParseTiers,
      [](const TierRun& a, const TierRun& b) { return a.state == b.state && a.tier == b.tier; });
}

Result<std::vector<StateRun>> ReadMap(DeviceMapper& dm, const std::string& name) {
  return ReadRuns<StateRun>(
      dm, name, "map", std::nullopt, ParseMap,
      [](const StateRun& a, const StateRun& b) { return a.state == b.state; });
}

}  // namespace shadow
