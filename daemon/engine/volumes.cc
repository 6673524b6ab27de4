// SPDX-License-Identifier: Apache-2.0
// Volumes: made, imported, activated, exported, removed; and what a crash left of any of that.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <cctype>

#include "daemon/base/sizes.h"
#include "daemon/boot/leg_hider.h"
#include "daemon/boot/superblock.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/engine/volume_lock.h"
#include "daemon/modify/admission.h"
#include "daemon/modify/removal.h"
#include "daemon/modify/tables.h"
#include "daemon/modify/tiers.h"
#include "daemon/store/codec.h"

namespace shadow {
namespace {

constexpr std::uint64_t kDefaultBlock = std::uint64_t{256} << 10;
constexpr std::uint64_t kLeastBlock = std::uint64_t{64} << 10;
constexpr std::uint64_t kMostBlock = std::uint64_t{16} << 20;
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 60;
constexpr std::uint64_t kWipeBytes = std::uint64_t{1} << 20;
constexpr std::int64_t kFillTickMs = 200;

Status CheckName(const std::string& name) {
  const bool length = !name.empty() && name.size() <= 64;
  const bool first = length && name[0] != '.' && name[0] != '-';
  const bool all = std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.' || c == '-';
  });
  if (first && all && name != "control") return Ok();
  return MakeError(Code::kInvalidArgument, "This is no name for a volume.",
                   "use 1 to 64 of A-Z a-z 0-9 _ . - and do not start with . or -");
}

Result<std::uint32_t> BlockSectors(std::uint64_t block_bytes) {
  const std::uint64_t bytes = block_bytes == 0 ? kDefaultBlock : block_bytes;
  if (!std::has_single_bit(bytes) || bytes < kLeastBlock || bytes > kMostBlock) {
    return MakeError(Code::kInvalidArgument, FormatSize(bytes) + " is no block size.",
                     "use a power of two from 64 KiB to 16 MiB");
  }
  return static_cast<std::uint32_t>(bytes / kSectorBytes);
}

}  // namespace

VolumeInfo EngineImpl::InfoOf(const VolumeRecord& r) {
  VolumeInfo info;
  info.name = r.name;
  info.uuid = r.uuid;
  info.device = DevicePath(r.name);
  info.size_bytes = r.sectors * kSectorBytes;
  info.block_bytes = r.block_sectors * kSectorBytes;
  info.origin = r.origin.device;
  info.storage_class = r.origin.storage_class;
  info.metadata = r.metadata.device;
  info.created_ms = r.created_ms;
  const auto status = ReadStatus(*deps_.dm, r.name);
  if (status.ok()) info.kernel = status->kernel;
  const RunningPtr running = RunningOn(r.name);
  if (running != nullptr) {
    info.modification_id = running->runner->Info().id;
    const auto table = deps_.dm->TableOf(r.name);
    const auto parsed =
        table.ok() ? ParseTable(table->sectors, table->params) : Result<ShadowTable>(ShadowTable{});
    if (parsed.ok() && parsed->target) info.target = running->runner->TargetDevice();
  }
  return info;
}

Result<VolumeInfo> EngineImpl::GetVolume(const std::string& name) {
  SHADOW_ASSIGN(const VolumeRecord record, FindVolume(name));
  return InfoOf(record);
}

Result<std::vector<VolumeInfo>> EngineImpl::ListVolumes() {
  std::vector<VolumeRecord> records;
  {
    const std::lock_guard<std::mutex> lock(state_);
    for (const auto& [name, record] : volumes_) records.push_back(record);
  }
  std::vector<VolumeInfo> infos;
  infos.reserve(records.size());
  for (const VolumeRecord& record : records) {
    infos.push_back(InfoOf(Located(*deps_.identities, record)));
  }
  return infos;
}

Result<std::vector<ClassInfo>> EngineImpl::ListClasses() {
  SHADOW_ASSIGN(std::vector<ClassInfo> classes, deps_.legs->ListClasses());
  for (ClassInfo& c : classes) {
    const auto speed = deps_.store->FindSpeed("class:" + c.name);
    if (!speed.ok() || !speed->has_value()) continue;
    c.read_bandwidth = (*speed)->read_bandwidth;
    c.write_bandwidth = (*speed)->write_bandwidth;
    c.read_latency_us = (*speed)->read_latency_us;
  }
  return classes;
}

// Each class is measured once, by reading from a device under it.
void EngineImpl::MeasureClasses() {
  const auto classes = deps_.legs->ListClasses();
  if (!classes.ok()) return;
  for (const ClassInfo& c : *classes) {
    const auto known = deps_.store->FindSpeed("class:" + c.name);
    if (!known.ok() || known->has_value()) continue;
    const Status measured = MeasureOne(c.name);
    if (!measured.ok())
      spdlog::warn("class {} is not measured: {}", c.name, measured.error().ToString());
  }
}

Status EngineImpl::MeasureOne(const std::string& storage_class) {
  SHADOW_ASSIGN(const std::string device, deps_.legs->SampleDevice(storage_class));
  SHADOW_ASSIGN(const DeviceSpeed speed, deps_.blocks->Probe(device, false));
  // The write bandwidth of before belongs to other devices perhaps: the next target is measured.
  SHADOW_TRY(deps_.store->PutSpeed("class:" + storage_class, speed));
  spdlog::info("class {}: reads {}/s in {} us", storage_class, FormatSize(speed.read_bandwidth),
               speed.read_latency_us);
  return Ok();
}

Result<ClassInfo> EngineImpl::MeasureClass(const std::string& name) {
  SHADOW_ASSIGN(const std::vector<ClassInfo> classes, deps_.legs->ListClasses());
  std::string known;
  for (const ClassInfo& c : classes) known += (known.empty() ? "" : ", ") + c.name;
  if (std::none_of(classes.begin(), classes.end(),
                   [&](const ClassInfo& c) { return c.name == name; })) {
    return MakeError(Code::kNotFound, "There is no storage class " + name + ".",
                     known.empty() ? "name one in shadowd.toml" : "known classes: " + known);
  }
  SHADOW_TRY(MeasureOne(name));
  SHADOW_ASSIGN(const std::vector<ClassInfo> now, ListClasses());
  for (const ClassInfo& c : now) {
    if (c.name == name) return c;
  }
  return MakeError(Code::kNotFound, "There is no storage class " + name + " any more.");
}

// The class with the shortest read latency; the volume's own if that is about as good.
Result<std::string> EngineImpl::MetadataClass(const std::string& own_class) {
  if (options_.measure_classes) MeasureClasses();
  SHADOW_ASSIGN(const std::vector<ClassInfo> classes, ListClasses());
  const ClassInfo* best = nullptr;
  const ClassInfo* own = nullptr;
  for (const ClassInfo& c : classes) {
    if (c.volume_group.empty()) continue;
    if (c.name == own_class) own = &c;
    if (best == nullptr ||
        (c.read_latency_us != 0 &&
         (best->read_latency_us == 0 || c.read_latency_us < best->read_latency_us))) {
      best = &c;
    }
  }
  if (own != nullptr && own->read_latency_us <= best->read_latency_us * 5 / 4) return own->name;
  if (best != nullptr) return best->name;
  return MakeError(Code::kFailedPrecondition,
                   "There is no storage class with a volume group to put the metadata on.",
                   "configure one in shadowd.toml, or name a device for the metadata");
}

Status EngineImpl::CheckNewName(const std::string& name) {
  SHADOW_TRY(CheckName(name));
  if (FindVolume(name).ok()) {
    return MakeError(Code::kAlreadyExists, "There is a volume " + name + " already.",
                     "choose another name");
  }
  if (damaged_.count(name) != 0) {
    return MakeError(Code::kAlreadyExists,
                     "There is a volume " + name + " whose record in shadowd's state is damaged.",
                     "choose another name, or restore the state directory from a backup");
  }
  SHADOW_TRY(CheckReady());
  if (deps_.dm->Info(name).ok()) {
    return MakeError(Code::kAlreadyExists,
                     "There is a device-mapper device " + name + " that is not shadowd's.",
                     "choose another name");
  }
  return Ok();
}

namespace {

Admission ForMetadata(const VolumeRecord& record, const Allowed& allowed) {
  Admission how;
  how.role = "metadata";
  how.volume = record.name;
  how.volume_uuid = record.uuid;
  how.least_bytes =
      MetadataBytes((record.sectors + record.block_sectors - 1) / record.block_sectors);
  how.allowed = allowed;
  return how;
}

Admission ForOrigin(const VolumeRecord& record, const Allowed& allowed) {
  Admission how;
  how.role = "origin";
  how.volume = record.name;
  how.least_bytes =
      record.imported ? record.block_sectors * kSectorBytes : record.sectors * kSectorBytes;
  how.keeps_content = record.imported;
  how.allowed = allowed;
  return how;
}

}  // namespace

Result<Leg> EngineImpl::MakeMetadata(const VolumeRecord& record, const std::string& place,
                                     const std::string& own_class, const Allowed& allowed) {
  const std::uint64_t blocks = (record.sectors + record.block_sectors - 1) / record.block_sectors;
  if (!place.empty() && place[0] == '/') {
    return Admit(deps_, place, ForMetadata(record, allowed));
  }
  std::string storage_class = place;
  if (storage_class.empty()) {
    SHADOW_ASSIGN(storage_class, MetadataClass(own_class));
  }
  return deps_.legs->Make(
      {storage_class, MetadataAllocation(blocks), record.name, record.uuid, "", "metadata"});
}

// The second half of create and import: metadata, device, record. Undoes everything if it fails.
Result<VolumeInfo> EngineImpl::Establish(VolumeRecord record, const std::string& metadata_place,
                                         const std::string& own_class, const Allowed& allowed) {
  auto done = Finish(record, metadata_place, own_class, allowed);
  if (done.ok()) return done;
  const Error why = done.error();
  if (const auto recorded = deps_.store->Volumes(); recorded.ok()) {
    for (const VolumeRecord& r : *recorded) {
      if (r.name == record.name) record = r;
    }
  }
  Undo(record);
  return why;
}

// What cannot be taken away now keeps its name and its record: else another volume of this name
// would be recorded over it.
void EngineImpl::Undo(const VolumeRecord& record) {
  const Status undone = FinishRemoval(record);
  if (undone.ok()) return;
  RememberVolume(record);
  Say("warning", "leftover", record.name, undone.error().ToString());
}

Result<VolumeInfo> EngineImpl::Finish(VolumeRecord record, const std::string& metadata_place,
                                      const std::string& own_class, const Allowed& allowed) {
  std::vector<std::unique_ptr<DeviceHold>> holds;
  if (!record.origin.made_here) {
    SHADOW_ASSIGN(auto hold, HoldForWriting(deps_, record.origin, ForOrigin(record, allowed)));
    holds.push_back(std::move(hold));
  }
  SHADOW_ASSIGN(record.metadata, MakeMetadata(record, metadata_place, own_class, allowed));
  SHADOW_TRY(deps_.store->PutVolume(record, nullptr));
  if (!record.metadata.made_here) {
    SHADOW_ASSIGN(auto hold, HoldForWriting(deps_, record.metadata, ForMetadata(record, allowed)));
    holds.push_back(std::move(hold));
  }
  const Claim claim = record.metadata.made_here ? Claim::kTake : Claim::kHeld;
  SHADOW_TRY(deps_.blocks->ZeroStart(record.metadata.device, kMetadataZeroBytes, claim));
  holds.clear();  // the table takes them now
  SHADOW_ASSIGN(const std::string params,
                BuildTable(OneLegTable(record, record.origin, record.sectors)));
  SHADOW_TRY(deps_.dm->Create(record.name, DmUuid(record.uuid), record.sectors, params));
  record.state = VolumeState::kActive;
  SHADOW_TRY(deps_.store->PutVolume(record, nullptr));
  RememberVolume(record);
  Say("info", "volume", record.name,
      std::string(record.imported ? "Imported " : "Created ") +
          FormatSize(record.sectors * kSectorBytes) + " on " + record.origin.device + ".");
  return InfoOf(record);
}

// The answer to a request that was there before: not of a volume that never came to be.
Result<VolumeInfo> EngineImpl::MadeBefore(const std::string& name) {
  SHADOW_ASSIGN(const VolumeRecord record, FindVolume(name));
  SHADOW_TRY(CheckWhole(record));
  return InfoOf(record);
}

Result<VolumeInfo> EngineImpl::CreateVolume(const CreateRequest& request) {
  SHADOW_ASSIGN(const auto replayed, Replayed(request.request_id, "create", RequestBody(request)));
  if (replayed) return MadeBefore(*replayed);
  const VolumeLock lock(this, request.name);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(const auto meanwhile, Replayed(request.request_id, "create", RequestBody(request)));
  if (meanwhile) return MadeBefore(*meanwhile);
  SHADOW_TRY(CheckNewName(request.name));
  VolumeRecord record;
  SHADOW_ASSIGN(record.block_sectors, BlockSectors(request.block_bytes));
  const std::uint64_t block = record.block_sectors * kSectorBytes;
  if (request.size_bytes == 0 || request.size_bytes > kMostBytes) {
    return MakeError(Code::kInvalidArgument, "A volume can have 1 block to 1 EiB.",
                     "give its size");
  }
  if (request.to.empty()) {
    return MakeError(Code::kInvalidArgument, "It is not said where the volume shall be.",
                     "name a storage class, or the full path of a device");
  }
  const std::uint64_t size = RoundUp(request.size_bytes, block);
  record.name = request.name;
  record.uuid = deps_.ids->NewUuid();
  record.sectors = size / kSectorBytes;
  record.fresh = true;
  record.created_ms = deps_.clock->WallMs();
  const RequestRecord request_record{request.request_id, "create", RequestBody(request),
                                     request.name};

  const Allowed allowed = {request.overwrite, request.unstable_names};
  if (request.to[0] == '/') {
    SHADOW_ASSIGN(record.origin, Admit(deps_, request.to, ForOrigin(record, allowed)));
    SHADOW_TRY(deps_.store->PutVolume(record, &request_record));
    return Establish(record, "", record.origin.storage_class, allowed);
  }
  SHADOW_ASSIGN(const std::vector<ClassInfo> classes, deps_.legs->ListClasses());
  const bool of_devices = std::any_of(classes.begin(), classes.end(), [&](const ClassInfo& c) {
    return c.name == request.to && c.volume_group.empty();
  });
  if (of_devices) {
    SHADOW_TRY(PickOrigin(&record, request, request_record));
    return Establish(record, "", request.to, allowed);
  }
  SHADOW_TRY(deps_.store->PutVolume(record, &request_record));
  auto leg = deps_.legs->Make({request.to, size, record.name, record.uuid, "", "origin"});
  if (!leg.ok()) {
    Undo(record);
    return leg.error();
  }
  record.origin = *leg;
  return Establish(record, "", request.to, {});
}

// A device of the class, taken with the record. Another request may be faster: then the next one.
Status EngineImpl::PickOrigin(VolumeRecord* record, const CreateRequest& request,
                              const RequestRecord& request_record) {
  Status taken = Ok();
  for (int i = 0; i < kMostPicks; ++i) {
    SHADOW_ASSIGN(record->origin,
                  AdmitFromClass(deps_, request.to,
                                 ForOrigin(*record, {request.overwrite, request.unstable_names})));
    taken = deps_.store->PutVolume(*record, &request_record);
    if (taken.ok() || taken.error().code != Code::kAborted) return taken;
  }
  return taken;
}

Result<VolumeInfo> EngineImpl::ImportVolume(const ImportRequest& request) {
  SHADOW_ASSIGN(const auto replayed, Replayed(request.request_id, "import", RequestBody(request)));
  if (replayed) return MadeBefore(*replayed);
  const VolumeLock lock(this, request.name);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(const auto meanwhile, Replayed(request.request_id, "import", RequestBody(request)));
  if (meanwhile) return MadeBefore(*meanwhile);
  SHADOW_TRY(CheckNewName(request.name));
  VolumeRecord record;
  SHADOW_ASSIGN(record.block_sectors, BlockSectors(request.block_bytes));
  record.name = request.name;
  record.imported = true;
  SHADOW_ASSIGN(const BlockInfo info, deps_.blocks->Describe(request.device));
  if (info.size_bytes < record.block_sectors * kSectorBytes) {
    return MakeError(Code::kInvalidArgument, request.device + " is smaller than one block.",
                     "name a larger device");
  }
  SHADOW_ASSIGN(record.origin,
                Admit(deps_, request.device, ForOrigin(record, {"", request.unstable_names})));
  record.uuid = deps_.ids->NewUuid();
  record.sectors = record.origin.size_bytes / kSectorBytes;
  record.created_ms = deps_.clock->WallMs();
  const RequestRecord request_record{request.request_id, "import", RequestBody(request),
                                     request.name};
  SHADOW_TRY(deps_.store->PutVolume(record, &request_record));
  // Before: as a leg the device has fewer names.
  const auto references =
      deps_.references ? deps_.references(request.device) : std::vector<Reference>();
  auto made = Establish(record, request.metadata, record.origin.storage_class,
                        {request.overwrite, request.unstable_names});
  if (made.ok()) WarnOfReferences(*made, references);
  return made;
}

// What names the device by its path would look for one that is hidden from now on.
void EngineImpl::WarnOfReferences(const VolumeInfo& volume,
                                  const std::vector<Reference>& references) {
  for (const Reference& r : references) {
    Say("warning", "reference", volume.name,
        r.place + " names " + r.name + ": change it to " + volume.device +
            ", or the machine looks for a device that is hidden now.");
  }
  const auto fs = deps_.fs->Inspect(volume.device);
  if (fs.ok() && fs->type == "btrfs") {
    Say("warning", "reference", volume.name,
        "btrfs finds devices by itself: never run btrfs device scan without the name of a device, "
        "it may take a leg for the volume.");
  }
}

namespace {

// What is done to the devices of a volume goes by its record. An old or damaged one may know
// nothing of the leg that has the only copy.
Status CheckRecord(const Deps& deps, const VolumeRecord& record, const DmInfo& live) {
  SHADOW_ASSIGN(const DmTarget line, deps.dm->TableOf(live.name));
  SHADOW_ASSIGN(const ShadowTable table, ParseTable(line.sectors, line.params));
  bool same = table.origin.id == record.origin.id;
  if (!same) {  // records of earlier versions know some devices by another of their identities
    const auto a = deps.identities->Resolve(table.origin.id);
    const auto b = deps.identities->Resolve(record.origin.id);
    same = a.ok() && b.ok() && a->major == b->major && a->minor == b->minor;
  }
  if (same && !table.target) return Ok();
  return MakeError(
      Code::kFailedPrecondition,
      "shadowd's record of the volume " + record.name + " (on " + record.origin.id +
          ") is not what the kernel runs (on " + table.origin.id +
          (table.target ? " and " + table.target->id : "") + "): it is damaged, or of before.",
      "restore the newest backup of the state directory; or start with an empty one, and take the "
      "volume from its metadata (shadowctl volume recover)");
}

}  // namespace

Status EngineImpl::CheckIdle(const VolumeRecord& record) {
  if (const RunningPtr running = RunningOn(record.name)) {
    return MakeError(
        Code::kFailedPrecondition,
        "The volume " + record.name + " is being modified (" + running->runner->Info().id + ").",
        "wait for it, or abort it");
  }
  SHADOW_ASSIGN(const std::optional<DmInfo> live, LiveDevice(record));
  if (live && live->name != record.name) {
    return MakeError(Code::kFailedPrecondition,
                     "The device of the volume " + record.name + " is called " + live->name +
                         " now" + (live->open_count > 0 ? ", and is in use." : "."),
                     "give it its name back: dmsetup rename " + live->name + " " + record.name);
  }
  if (live && live->open_count > 0) {
    return MakeError(Code::kFailedPrecondition, "The volume " + record.name + " is in use.",
                     "unmount it and close what has it open");
  }
  if (live && live->live_table && record.state == VolumeState::kActive)
    return CheckRecord(deps_, record, *live);
  return Ok();
}

// The volume's device, whatever it is called now. A name says nothing: devices can be renamed.
Result<std::optional<DmInfo>> EngineImpl::LiveDevice(const VolumeRecord& record) {
  const std::string uuid = DmUuid(record.uuid);
  SHADOW_ASSIGN(const std::vector<DmInfo> found, deps_.dm->List(uuid));
  for (const DmInfo& info : found) {
    if (info.uuid == uuid) return std::optional<DmInfo>(info);
  }
  return std::optional<DmInfo>();
}

// Makes the home device alone show what the volume shows: before what stays on it is the user's
// again.
Status EngineImpl::MakePlain(const VolumeRecord& record) {
  const std::string& name = record.name;
  SHADOW_TRY(DrainTiers(record));
  // A hole reads as zeroes through the volume, but the plain device shows what lay there before.
  std::uint64_t holes_before = ~std::uint64_t{0};
  while (true) {
    SHADOW_ASSIGN(const TargetStatus status, ReadStatus(*deps_.dm, name));
    if (status.kernel.mode != "rw") {
      return MakeError(Code::kFailedPrecondition,
                       "The volume is in mode " + status.kernel.mode + ".",
                       "run shadow_check on its metadata first");
    }
    if (status.kernel.hole == 0 && status.kernel.filling == 0) break;
    if (status.MoverIdle()) {
      if (status.kernel.hole >= holes_before) {
        return MakeError(Code::kIoError, "Holes of the volume cannot be filled with zeroes.",
                         "look at the kernel's log");
      }
      holes_before = status.kernel.hole;
      SHADOW_ASSIGN([[maybe_unused]] const std::string resumed, deps_.dm->Message(name, "resume"));
      SHADOW_ASSIGN([[maybe_unused]] const std::string unlimited,
                    deps_.dm->Message(name, "limit rate 0"));
      SHADOW_ASSIGN([[maybe_unused]] const std::string filled,
                    deps_.dm->Message(name, "fill 0+" + std::to_string(status.kernel.blocks)));
    }
    options_.sleep(kFillTickMs);
    if (stopping_) return MakeError(Code::kUnavailable, "shadowd is stopping.", "try again later");
  }
  return Ok();
}

Result<std::string> EngineImpl::ExportVolume(const std::string& name) {
  const VolumeLock lock(this, name);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(VolumeRecord record, FindVolume(name));
  SHADOW_TRY(CheckReady());
  SHADOW_TRY(CheckIdle(record));
  if (record.state == VolumeState::kRemoving && !record.remove_origin) return FinishExport(record);
  SHADOW_TRY(MakePlain(record));
  SHADOW_TRY(TakeDown(record));
  record.state = VolumeState::kRemoving;
  record.remove_origin = false;
  SHADOW_TRY(Remove(record, false));
  return FinishExport(record);
}

Result<std::string> EngineImpl::FinishExport(const VolumeRecord& record) {
  // Nothing of shadowd's is on it now: its name, its tags and every record of it are gone.
  SHADOW_ASSIGN(const Leg plain, PlainOrigin(record));
  SHADOW_TRY(FinishRemoval(record));
  Say("info", "volume", record.name, "Exported; the plain device is " + plain.device + ".");
  return plain.device;
}

Result<DeleteReport> EngineImpl::DeleteVolume(const DeleteRequest& request) {
  const std::string& name = request.name;
  const VolumeLock lock(this, name);
  SHADOW_TRY(lock.Check());
  SHADOW_ASSIGN(VolumeRecord record, FindVolume(name));
  SHADOW_TRY(deps_.dm->CheckControl());
  SHADOW_TRY(CheckIdle(record));
  const bool again = record.state == VolumeState::kRemoving;
  const bool remove_origin = again ? record.remove_origin || request.destroy_data
                                   : request.destroy_data || OursToDelete(record);
  bool there = true;
  // What a removal that was begun has removed already is no news.
  const bool may_be_gone = record.state != VolumeState::kActive && record.origin.logical_volume;
  if (remove_origin && !may_be_gone && !record.origin.id.empty()) {
    const Status found = deps_.legs->Activate(record.origin);
    there = found.ok();
    if (!there && found.error().code != Code::kNotFound) return found.error();
    if (!there && !request.destroy_data) {
      return MakeError(Code::kUnavailable,
                       "Its data cannot be removed: " + record.origin.device + " (" +
                           record.origin.id + ") is not there.",
                       "connect the device; or forget the volume with --destroy-data: what is on "
                       "the device stays there");
    }
  }
  // Nothing is removed of what is not there, and nobody is told so.
  record.remove_origin = remove_origin && there;
  SHADOW_ASSIGN(const DeleteReport report, WhatGoes(record, there));
  if (request.dry_run) return report;
  if (!again) {
    // A volume that was not made to the end has no holes.
    const bool stays = !remove_origin && record.state == VolumeState::kActive;
    if (stays) {
      SHADOW_ASSIGN(const std::optional<DmInfo> live, LiveDevice(record));
      if (!live) {
        return MakeError(Code::kUnavailable,
                         "The volume " + name +
                             " is not up: what is a hole of it cannot be filled with zeroes, and "
                             "its device would show what lay there before.",
                         "connect its devices and activate it; or give its data up with "
                         "--destroy-data");
      }
      SHADOW_TRY(MakePlain(record));
    }
  }
  // Of a removal that was begun before, too: the activator may have started it.
  SHADOW_TRY(TakeDown(record));
  record.state = VolumeState::kRemoving;
  SHADOW_TRY(Remove(record, again));
  SHADOW_TRY(FinishRemoval(record));
  Say("info", "volume", name, "Deleted.");
  return report;
}

// A volume that was created goes with its data. One that was imported leaves them, wherever they
// have moved to.
bool EngineImpl::OursToDelete(const VolumeRecord& record) {
  return record.origin.made_here && !record.imported;
}

Result<DeleteReport> EngineImpl::WhatGoes(const VolumeRecord& record, bool there) {
  DeleteReport report;
  const auto add = [&](const Leg& leg, bool removed, const std::string& why) {
    if (!leg.device.empty()) report.devices.push_back({leg.device, leg.id, removed, why});
  };
  const bool gone = record.origin.logical_volume;
  add(record.origin, record.remove_origin,
      !there                  ? "it is not there: whatever is on it stays there"
      : !record.remove_origin ? "the volume's data stay on it"
      : gone                  ? "the volume's data go with it"
                              : "the volume's data are discarded or wiped");
  add(record.metadata, record.metadata.made_here,
      record.metadata.made_here ? "it was made for the volume's metadata"
                                : "it held the volume's metadata");
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(record.name));
  for (const TierRecord& tier : tiers.tiers) {
    add(tier.leg, tier.leg.made_here,
        tier.leg.made_here ? "it was made for a tier of the volume"
                           : "it was a tier of the volume");
  }
  return report;
}

// The volume's device goes first: while anybody has it open nothing is recorded, and nothing
// changes.
Status EngineImpl::TakeDown(const VolumeRecord& record) {
  SHADOW_ASSIGN(const std::optional<DmInfo> live, LiveDevice(record));
  if (!live) return Ok();
  Status down = deps_.dm->Remove(live->name);
  if (down.ok()) return Ok();
  Error error = down.error();
  error.message = "The volume " + record.name + " is in use; nothing was changed. " + error.message;
  if (error.hint.empty()) error.hint = "unmount it and close what has it open, then try again";
  return error;
}

// Records that the volume goes, now that it is down. If the first thing that has to go cannot, the
// volume is brought back as it was.
Status EngineImpl::Remove(const VolumeRecord& record, bool again) {
  Status recorded = deps_.store->PutVolume(record, nullptr);
  if (recorded.ok()) RememberVolume(record);
  Status gone = recorded;
  if (recorded.ok() && record.remove_origin) gone = RemoveOrigin(record);
  // A removal that was begun before is only gone on with: its metadata may be wiped, and with them
  // what is a hole.
  if (gone.ok() || again) return gone;
  VolumeRecord back = record;
  back.state = VolumeState::kActive;
  back.remove_origin = false;
  Error error = gone.error();
  Status undone = recorded.ok() ? deps_.store->PutVolume(back, nullptr) : Ok();
  if (undone.ok()) {
    RememberVolume(back);
    undone = Activate(back, nullptr);
  }
  error.message += undone.ok() ? " The volume " + record.name + " is as it was before."
                               : " " + undone.error().message;
  return error;
}

Status EngineImpl::RemoveOrigin(const VolumeRecord& record) {
  if (record.origin.logical_volume) {
    return RemoveLeg(deps_, record.origin, record.name, "",
                     "the volume " + record.name + " was deleted with its data");
  }
  // By its identity: since the record was written another device may have got its name.
  const auto found = deps_.identities->Resolve(record.origin.id);
  if (!found.ok()) {
    Error error = found.error();
    if (error.code == Code::kNotFound) error.code = Code::kUnavailable;
    error.message = "The data of " + record.name + " are not wiped: " + error.message;
    if (error.hint.empty()) error.hint = "connect the device and delete the volume again";
    return error;
  }
  SHADOW_TRY(NameIsEnough(record, record.origin));
  const Status discarded = deps_.blocks->Discard(found->path);
  if (discarded.ok()) return Ok();
  const Code why = discarded.error().code;
  // A device that is in use now is somebody's.
  if (why != Code::kUnimplemented && why != Code::kIoError) return discarded;
  return deps_.blocks->ZeroStart(found->path, kWipeBytes, Claim::kTake);
}

// The origin without anything of ours. Can be repeated.
Result<Leg> EngineImpl::PlainOrigin(const VolumeRecord& record) {
  if (!record.origin.logical_volume) return record.origin;
  return deps_.legs->Release(record.origin, record.name);
}

// Takes down a volume that is to go, or of which only parts were made. Can be repeated.
Status EngineImpl::FinishRemoval(const VolumeRecord& record) {
  SHADOW_TRY(TakeDown(record));
  SHADOW_ASSIGN(const bool wiped, ForgetMetadata(record));
  SHADOW_TRY(RemoveLegsOf(record, wiped));
  if (deps_.hider != nullptr) SHADOW_TRY(deps_.hider->Forget(record.uuid));
  SHADOW_TRY(deps_.store->RemoveVolume(record.name));
  DropKeeper(record.name);  // its heat is not that of another volume of this name
  const std::lock_guard<std::mutex> lock(state_);
  volumes_.erase(record.name);
  seen_.erase(record.name);
  waiting_.erase(record.name);
  looked_at_.erase(record.name);
  changed_.notify_all();
  return Ok();
}

// Creations and removals that the end of the daemon cut short. Nothing is removed in a start in
// which a volume did not come up, or while the volume's device is there: somebody may have it.
void EngineImpl::FinishInterrupted(const std::vector<VolumeRecord>& volumes, bool all_up) {
  for (const VolumeRecord& volume : volumes) {
    if (volume.state == VolumeState::kActive) continue;
    const bool creating = volume.state == VolumeState::kCreating;
    const auto live = LiveDevice(volume);
    const bool there = !live.ok() || live->has_value();  // not known is there
    if (creating && WasMade(volume, there)) {
      KeepMade(volume);
      continue;
    }
    if (!creating && there && volume.remove_origin) {
      RememberVolume(volume);
      Say("warning", "leftover", volume.name,
          "Its removal was interrupted and its device is up again; its data may be destroyed "
          "already. Delete it again to finish that.");
      continue;
    }
    if (!creating && there) {
      VolumeRecord back = volume;
      back.state = VolumeState::kActive;
      back.remove_origin = false;
      const Status kept = deps_.store->PutVolume(back, nullptr);
      RememberVolume(back);
      Say("warning", "volume", volume.name,
          kept.ok() ? "Its removal was interrupted and its device is up again: it is kept."
                    : kept.error().ToString());
      continue;
    }
    if (!all_up) {
      RememberVolume(volume);
      Say("warning", "leftover", volume.name,
          std::string("Its ") + (creating ? "creation" : "removal") +
              " was interrupted. Nothing is removed in a start in which a volume did not come up; "
              "delete it, or restart shadowd when all volumes are up.");
      continue;
    }
    // After a boot a name alone says nothing.
    if (volume.remove_origin && volume.origin.by_name) {
      RememberVolume(volume);
      Say("warning", "leftover", volume.name,
          "Its removal was interrupted, and " + volume.origin.device +
              " has nothing but its name to be known by: look what is on it, then delete the "
              "volume again.");
      continue;
    }
    spdlog::info("{}: finishing an interrupted {}", volume.name,
                 creating ? "creation (undone)" : "removal");
    const Status finished = FinishRemoval(volume);
    if (finished.ok()) continue;
    RememberVolume(volume);
    Say("warning", "leftover", volume.name, finished.error().ToString());
  }
}

// A creation of which only the last record is missing: the kernel has run the volume, and somebody
// may have written to it.
bool EngineImpl::WasMade(const VolumeRecord& volume, bool there) {
  if (there) return true;
  if (volume.metadata.id.empty() || !deps_.superblock) return false;
  (void)deps_.legs->Activate(volume.metadata);
  const auto found = deps_.identities->Resolve(volume.metadata.id);
  if (!found.ok()) return false;
  const auto sb = deps_.superblock(found->path);
  return sb.ok() && *sb && volume.uuid == (*sb)->uuid;
}

void EngineImpl::KeepMade(const VolumeRecord& record) {
  VolumeRecord volume = record;
  volume.state = VolumeState::kActive;
  const Status kept = deps_.store->PutVolume(volume, nullptr);
  RememberVolume(volume);
  const Status up = kept.ok() ? Activate(volume, nullptr) : kept;
  if (!up.ok()) NoteWaiting(volume.name, up.error(), false);
  Say(up.ok() ? "info" : "error", "volume", volume.name,
      up.ok() ? "Its creation was cut short after its last step: it is kept."
              : up.error().ToString());
}

// Metadata that is left on a device would bring the volume back at the next boot. Only what says it
// is this volume's is wiped; a device that is not there keeps nobody. True: it was there, and is
// wiped.
Result<bool> EngineImpl::ForgetMetadata(const VolumeRecord& record) {
  if (record.metadata.made_here || record.metadata.id.empty()) return false;
  const auto found = deps_.identities->Resolve(record.metadata.id);
  if (!found.ok() && found.error().code == Code::kNotFound) return false;
  if (!found.ok()) return found.error();
  const auto sb = deps_.superblock(found->path);
  if (!sb.ok() || !*sb || (*sb)->uuid != record.uuid) return false;
  SHADOW_TRY(deps_.blocks->ZeroStart(found->path, kMetadataZeroBytes, Claim::kTake));
  return true;
}

Status EngineImpl::RemoveLegsOf(const VolumeRecord& record, bool metadata_wiped) {
  const bool unfinished = record.state == VolumeState::kCreating;
  const std::string why = "the volume " + record.name +
                          (unfinished ? " was not made to the end" : " was deleted or exported");
  // What was ordered and not recorded before a crash.
  const auto ordered = [&](const char* role) {
    return RemoveOrdered(deps_, {"", 0, record.name, record.uuid, "", role}, why);
  };
  if (unfinished) {
    if (record.metadata.device.empty()) SHADOW_TRY(ordered("metadata"));
    if (record.origin.made_here && !record.imported) {
      SHADOW_TRY(RemoveLeg(deps_, record.origin, record.name, "", why));
    } else if (record.origin.device.empty()) {
      SHADOW_TRY(ordered("origin"));
    }
  } else if (record.remove_origin) {
    SHADOW_TRY(RemoveOrigin(record));
  } else {
    const auto plain = PlainOrigin(record);
    // It may be the user's already, or be gone with its disk: that keeps nothing of ours.
    if (!plain.ok() && plain.error().code != Code::kNotFound) return plain.error();
  }
  SHADOW_TRY(ForgetOrigin(record));
  if (record.metadata.made_here) {
    SHADOW_TRY(RemoveLeg(deps_, record.metadata, record.name, "", why));
  } else if (record.metadata.given && !unfinished) {
    // Of an unfinished one it is not known whether anything was written over what was there.
    // What was not wiped just now may be somebody else's.
    SHADOW_TRY(
        RememberReleased(deps_, record.metadata, metadata_wiped, "metadata of " + record.name));
  }
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(record.name));
  for (const TierRecord& tier : tiers.tiers) {
    if (tier.leg.made_here) {
      SHADOW_TRY(RemoveLeg(deps_, tier.leg, record.name, "", why));
    } else if (tier.leg.given && tier.touched) {
      SHADOW_TRY(RememberReleased(deps_, tier.leg, true, "a tier of " + record.name));
    }
  }
  return Ok();
}

// What stays on the origin is the user's; what was wiped there, or never written, is nobody's.
Status EngineImpl::ForgetOrigin(const VolumeRecord& record) {
  if (record.origin.id.empty()) return Ok();
  if (record.state == VolumeState::kCreating) return Ok();
  if (!record.remove_origin) {
    return RememberReleased(deps_, record.origin, false,
                            "the data of the volume " + record.name + ", which is no more");
  }
  if (record.origin.logical_volume || !record.origin.given) return Ok();
  return RememberReleased(deps_, record.origin, true, "the volume " + record.name);
}

// Every device that a table of the volume may need.
Result<std::vector<Leg>> EngineImpl::LegsOf(const VolumeRecord& volume,
                                            const ModificationRecord* running) {
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume.name));
  std::vector<Leg> legs = {volume.metadata, volume.origin};
  if (running != nullptr) {
    legs.push_back(running->origin);
    if (!running->target.device.empty()) legs.push_back(running->target);
  }
  for (const TierRecord& tier : tiers.tiers) {
    if (!tier.leg.device.empty()) legs.push_back(tier.leg);
  }
  return legs;
}

// Before the first volume: what a killed command of LVM's left suspended would keep I/O, or the
// first table on it, waiting for ever; and the logical volumes of all volumes are activated at
// once, which takes LVM as long as those of one.
void EngineImpl::WakeLegs(const std::vector<VolumeRecord>& volumes,
                          const std::vector<ModificationRecord>& modifications) {
  std::vector<Leg> all;
  std::vector<Leg> down;
  for (const VolumeRecord& volume : volumes) {
    if (volume.state != VolumeState::kActive) continue;
    const auto legs = LegsOf(volume, RunningOf(volume.name, modifications));
    if (!legs.ok()) continue;  // Activate() says it
    all.insert(all.end(), legs->begin(), legs->end());
    const auto info = deps_.dm->Info(volume.name);
    if (info.ok() && info->live_table) continue;
    down.insert(down.end(), legs->begin(), legs->end());
  }
  for (const Leg& leg : deps_.legs->Suspended(all)) {
    const Status resumed = deps_.legs->Resume(leg);
    Say("warning", "suspended", "",
        resumed.ok() ? "The logical volume " + leg.device +
                           " was suspended, as LVM leaves it when a command of its is killed. It "
                           "was resumed."
                     : resumed.error().ToString());
  }
  if (down.empty()) return;
  if (options_.on_activate) options_.on_activate("all volumes");
  const auto skipped = deps_.legs->ActivateAll(down);
  if (!skipped.ok()) {
    spdlog::warn("{}", skipped.error().ToString());
  } else if (deps_.hider != nullptr) {
    deps_.hider->KnowSkipped(*skipped);
  }
}

// Makes the volume's device exist and run, after a reboot or a crash at any moment.
Status EngineImpl::Activate(const VolumeRecord& volume, const ModificationRecord* running,
                            bool give_up_tiers) {
  const auto info = deps_.dm->Info(volume.name);
  if (info.ok() && info->uuid != DmUuid(volume.uuid)) {
    return MakeError(
        Code::kAlreadyExists,
        "The device " + volume.name + " exists but is not this volume (UUID " + info->uuid + ").",
        "remove or rename that device, then restart shadowd");
  }
  if (info.ok() && info->live_table && !info->suspended) return Ok();
  SHADOW_TRY(CheckReady());
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume.name));
  SHADOW_ASSIGN(const std::vector<Leg> legs, LegsOf(volume, running));
  for (const Leg& leg : legs) {
    const Status active = deps_.legs->Activate(leg);
    if (!active.ok()) spdlog::warn("{}: {}", volume.name, active.error().ToString());
  }
  Error last = MakeError(Code::kInternal, "No table fits.");
  std::vector<ShadowTable> tables;
  for (const ShadowTable& bare : TablesToTry(volume, running)) {
    tables.push_back(WithTiers(bare, tiers));
    // A tier that is being forgotten may be known to the kernel, or not any more.
    TiersRecord forgotten = tiers;
    for (TierRecord& tier : forgotten.tiers) {
      if (tier.phase == TierPhase::kForgetting) tier.phase = TierPhase::kActive;
    }
    const ShadowTable with = WithTiers(bare, forgotten);
    if (with.tiers != tables.back().tiers) tables.push_back(with);
  }
  SHADOW_TRY(NamesAreEnough(volume, legs));
  SHADOW_ASSIGN(tables, PlaceLegs(volume, tables, give_up_tiers));
  for (const ShadowTable& table : tables) {
    const auto params = BuildTable(table);
    if (!params.ok()) return params.error();
    Status started = Ok();
    if (info.ok()) {
      started = deps_.dm->Load(volume.name, table.sectors, *params);
      if (started.ok()) started = deps_.dm->Resume(volume.name);
    } else {
      started = deps_.dm->Create(volume.name, DmUuid(volume.uuid), table.sectors, *params);
    }
    if (started.ok()) return Ok();
    last = started.error();
  }
  last.message = "The volume " + volume.name + " cannot be activated: " + last.message;
  if (last.hint.empty()) last.hint = "look at the kernel's log (dmesg), and run shadow_check";
  return last;
}

}  // namespace shadow
