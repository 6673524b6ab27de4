// SPDX-License-Identifier: Apache-2.0
// Takes a volume into shadowd's state again from what lies on its metadata device: after the loss
// of the state directory, or on another machine.
//
// The superblock names the volume, its UUID, lengths, phase and the identities of its legs. What
// only the state knew is answered in the careful way: no device counts as made here or given, so
// shadowd never removes one, and the data count as imported. A modification that was under way is
// taken up where the metadata say it is, and waits for the user.
#include <spdlog/spdlog.h>

#include "daemon/boot/activator.h"
#include "daemon/boot/superblock.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/engine/volume_lock.h"
#include "daemon/modify/grace.h"

namespace shadow {
namespace {

constexpr const char* kKind = "recover";

}  // namespace

// The leg that the superblock names; activated if it is a logical volume. kUnavailable: not there.
Result<Leg> EngineImpl::RecoveredLeg(const shadow_superblock& sb, int index) {
  const shadow_leg_record& record = sb.legs[index];
  Leg leg;
  leg.id = record.id;
  leg.logical_volume = IsLvUuid(leg.id);
  leg.size_bytes = record.sectors * kSectorBytes;
  const std::string role = RoleName(index);
  if (leg.id.empty()) {
    return MakeError(Code::kFailedPrecondition,
                     "The metadata does not say which device is the " + role + ".",
                     "it was written by a version that kept no identities; import the device anew");
  }
  const Status active = deps_.legs->Activate(leg);
  if (!active.ok()) spdlog::warn("{}: {}", sb.name, active.error().ToString());
  const auto found = deps_.identities->Resolve(leg.id);
  if (found.ok()) {
    leg.device = found->path;
    return leg;
  }
  if (found.error().code != Code::kNotFound) return found.error();
  return MakeError(Code::kUnavailable, "The " + role + " (" + leg.id + ") is not there.",
                   "connect the device, then try again");
}

// What a modification was doing, as far as the metadata say it. It is paused: how it was asked for
// is not known any more.
Result<ModificationRecord> EngineImpl::RecoveredMove(const shadow_superblock& sb,
                                                     const VolumeRecord& volume) {
  ModificationRecord m;
  SHADOW_ASSIGN(m.target, RecoveredLeg(sb, SHADOW_LEG_TARGET));
  m.id = deps_.ids->NewUuid();
  m.volume = volume.name;
  m.origin = volume.origin;
  m.old_sectors = sb.old_sectors;
  m.new_sectors = sb.nr_sectors;
  m.target_touched = true;
  m.request.volume = m.plan.volume = volume.name;
  m.request.to = m.plan.to = m.plan.target_device = m.target.device;
  m.request.grace_ms = deps_.default_grace_ms;
  m.plan.from = m.origin.device;
  m.plan.old_size = m.old_sectors * kSectorBytes;
  m.plan.new_size = m.new_sectors * kSectorBytes;
  m.plan.bytes_to_copy = m.bytes_total = m.plan.new_size;
  m.state.kind = Kind::kMove;
  // Copying finds everything copied if it was. A grace period begins anew: in doubt longer.
  m.state.step = sb.phase == SHADOW_GRACE ? Step::kGrace : Step::kCopy;
  m.state.paused = sb.phase != SHADOW_GRACE;
  if (sb.phase == SHADOW_GRACE) m.grace = BeginGrace(*deps_.clock, m.request.grace_ms);
  m.started_ms = deps_.clock->WallMs();
  return m;
}

Result<VolumeInfo> EngineImpl::RecoverVolume(const RecoverRequest& request) {
  const std::string body = request.metadata;
  SHADOW_ASSIGN(const auto replayed, Replayed(request.request_id, kKind, body));
  if (replayed) return GetVolume(*replayed);
  SHADOW_ASSIGN(const DeviceIdentity device, deps_.identities->Identify(request.metadata));
  SHADOW_ASSIGN(const std::optional<shadow_superblock> sb, deps_.superblock(device.path));
  if (!sb) {
    return MakeError(Code::kNotFound, "There is no metadata of a volume on " + device.path + ".",
                     "dm-shadow-activate --list shows the metadata that is on this machine");
  }
  const std::string name = sb->name;
  const VolumeLock lock(this, name);
  SHADOW_TRY(lock.Check());
  if (const auto known = FindVolume(name); known.ok() && known->uuid == sb->uuid) {
    return InfoOf(*known);
  }
  const auto live = deps_.dm->Info(name);
  const bool up = live.ok() && live->uuid == DmUuid(sb->uuid);
  if (!up) {
    SHADOW_TRY(CheckNewName(name));
  } else if (FindVolume(name).ok()) {
    return MakeError(Code::kAlreadyExists, "There is another volume " + name + " already.");
  }

  VolumeRecord record;
  record.name = name;
  record.uuid = sb->uuid;
  record.state = VolumeState::kActive;
  record.imported = true;
  record.block_sectors = sb->block_sectors;
  record.created_ms = deps_.clock->WallMs();
  record.metadata.device = device.path;
  record.metadata.id = device.id;
  record.metadata.size_bytes = device.size_bytes;
  record.metadata.logical_volume = IsLvUuid(device.id);
  SHADOW_ASSIGN(record.origin, RecoveredLeg(*sb, SHADOW_LEG_ORIGIN));
  const bool moving = sb->phase != SHADOW_STEADY;
  record.sectors = moving ? sb->old_sectors : sb->nr_sectors;
  std::optional<ModificationRecord> move;
  if (moving) {
    SHADOW_ASSIGN(move, RecoveredMove(*sb, record));
  }
  TiersRecord tiers;
  tiers.volume = name;
  tiers.metadata_end = sb->slot_end * kSectorBytes;
  for (std::size_t i = 0; i < tiers.tiers.size(); ++i) {
    const int index = SHADOW_LEG_TIER1 + static_cast<int>(i);
    if (!sb->legs[index].present) continue;
    TierRecord& tier = tiers.tiers.at(i);
    SHADOW_ASSIGN(tier.leg, RecoveredLeg(*sb, index));
    tier.phase = TierPhase::kActive;
    tier.to = tier.leg.device;
    tier.size_bytes = tier.leg.size_bytes;
    tier.write_back = (sb->writeback & (1U << static_cast<unsigned>(index))) != 0;
  }

  // Fails if another volume has one of the devices. What was recorded is taken back then.
  const RequestRecord request_record{request.request_id, kKind, body, name};
  SHADOW_TRY(deps_.store->PutVolume(record, &request_record));
  Status kept = tiers.Any() ? deps_.store->PutTiers(tiers, nullptr) : Ok();
  if (kept.ok() && move) {
    ModificationUpdate update;
    update.record = &*move;
    update.history = HistoryEntry{move->started_ms, Phase::kCopying,
                                  "Taken up again from the volume's metadata."};
    kept = deps_.store->PutModification(update);
  }
  if (!kept.ok()) {
    const Status undone = deps_.store->RemoveVolume(name);
    if (!undone.ok()) spdlog::error("{}", undone.error().ToString());
    return kept.error();
  }
  RememberVolume(record);
  damaged_.erase(name);
  Say("info", "volume", name,
      "Taken into shadowd's state from its metadata on " + device.path + "; its devices count as " +
          "yours and are never removed.");
  const Status active = Activate(record, move ? &*move : nullptr);
  if (!active.ok()) {
    Say("error", "activate", name, active.error().ToString());
    NoteWaiting(name, active.error(), false);
  } else {
    ResumeTierJobs(record);
  }
  if (move) StartRunner(*move, record);
  return InfoOf(record);
}

// A volume that serves I/O and is not known: the state was lost or restored from an old copy, or
// its row is damaged. The kernel knows where its metadata are, and they say the rest.
void EngineImpl::RecoverWhatIsUp() {
  const auto up = deps_.dm->List(DmUuid(""));
  if (!up.ok()) return;
  for (const DmInfo& device : *up) {
    if (!device.live_table || FindVolume(device.name).ok()) continue;
    const auto recover = [&]() -> Status {
      SHADOW_ASSIGN(const DmTarget line, deps_.dm->TableOf(device.name));
      SHADOW_ASSIGN(const ShadowTable table, ParseTable(line.sectors, line.params));
      RecoverRequest request;
      request.metadata = table.metadata;
      if (request.metadata.find('/') == std::string::npos) {
        SHADOW_ASSIGN(const DeviceIdentity found, deps_.identities->IdentifyNumber(table.metadata));
        request.metadata = found.path;
      }
      SHADOW_ASSIGN(const VolumeInfo info, RecoverVolume(request));
      if (DmUuid(info.uuid) == device.uuid) return Ok();
      return MakeError(Code::kAlreadyExists, "Its metadata are another volume's.");
    };
    const Status done = recover();
    if (!done.ok()) {
      Say("warning", "recover", device.name,
          "It is up, but not in shadowd's state, and could not be taken in: " +
              done.error().ToString());
    }
  }
}

}  // namespace shadow
