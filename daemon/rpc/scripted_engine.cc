// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/scripted_engine.h"

#include <algorithm>
#include <chrono>

#include "daemon/base/sizes.h"
#include "daemon/rpc/convert.h"

namespace shadow::rpc {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

VolumeInfo MakeVolume(const std::string& name, std::uint64_t size, const std::string& place) {
  VolumeInfo v;
  v.name = name;
  v.uuid = "6c1e0000-0000-4000-8000-00000000000" + std::to_string(name.size());
  v.device = "/dev/mapper/" + name;
  v.size_bytes = size;
  v.block_bytes = std::uint64_t{256} << 10;
  const bool is_device = place.starts_with('/');
  v.storage_class = is_device ? "" : place;
  v.origin = is_device ? place : "/dev/" + place + "/" + name;
  v.metadata = "/dev/" + (is_device ? std::string("meta") : place) + "/" + name + "_meta";
  v.created_ms = 1'700'000'000'000;
  v.kernel.mode = "rw";
  v.kernel.phase = "steady";
  v.kernel.block_bytes = v.block_bytes;
  v.kernel.blocks = size / v.block_bytes;
  v.kernel.origin = v.kernel.blocks;
  return v;
}

Error NoVolume(const std::string& name) {
  return MakeError(Code::kNotFound, "There is no volume " + name + ".",
                   "`shadowctl volume list` shows the volumes.");
}

std::string ContentOf(const ModifyRequest& r) {
  return r.volume + '|' + std::to_string(r.size_bytes) + '|' + r.size_spec + '|' + r.to + '|' +
         std::to_string(static_cast<int>(r.impact)) + '|' + std::to_string(r.rate) + '|' +
         std::to_string(r.grace_ms);
}

}  // namespace

ScriptedEngine::ScriptedEngine(ManualClock& clock) : clock_(clock), now_ms_(clock.WallMs()) {
  volumes_["db0"] = MakeVolume("db0", 10 * kGiB, "hdd");
  volumes_["logs"] = MakeVolume("logs", 1536 * kMiB, "/dev/sdc1");
  volumes_["broken"] = MakeVolume("broken", 1 * kGiB, "hdd");
  events_.push_back({1, now_ms_, "", "", "info", "start", "The daemon has started."});
  events_.push_back(
      {2, now_ms_, "db0", "", "warning", "mode", "The volume was not stopped cleanly."});
}

void ScriptedEngine::FailWith(const std::string& name, Error error) {
  const std::lock_guard lock(mutex_);
  failures_.insert_or_assign(name, std::move(error));
}

void ScriptedEngine::Hold(bool hold) {
  const std::lock_guard lock(mutex_);
  hold_ = hold;
  changed_.notify_all();
}

std::vector<std::string> ScriptedEngine::Calls() {
  const std::lock_guard lock(mutex_);
  return calls_;
}

ModifyRequest ScriptedEngine::LastModify() {
  const std::lock_guard lock(mutex_);
  return last_modify_;
}

void ScriptedEngine::AddEvent(Event event) {
  const std::lock_guard lock(mutex_);
  event.seq = events_.size() + 1;
  events_.push_back(std::move(event));
  changed_.notify_all();
}

Status ScriptedEngine::Enter(const std::string& method, const std::string& argument) {
  calls_.push_back(argument.empty() ? method : method + " " + argument);
  changed_.notify_all();
  if (const auto it = failures_.find(method); it != failures_.end()) return it->second;
  return Ok();
}

Result<VolumeInfo> ScriptedEngine::AddVolume(const std::string& request_id,
                                             const std::string& content, VolumeInfo info) {
  if (!request_id.empty()) {
    if (const auto it = requests_.find(request_id); it != requests_.end()) {
      if (it->second.content == content) return volumes_.at(it->second.name);
      return MakeError(Code::kAlreadyExists, "The request id was used for another request.",
                       "Use a new id for a new request.");
    }
  }
  if (volumes_.contains(info.name)) {
    return MakeError(Code::kAlreadyExists, "A volume " + info.name + " exists already.",
                     "Choose another name.");
  }
  if (!request_id.empty()) requests_[request_id] = {content, info.name};
  volumes_[info.name] = info;
  return info;
}

Result<VolumeInfo> ScriptedEngine::CreateVolume(const CreateRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("CreateVolume", request.name));
  if (!request.to.starts_with('/') && request.to != "hdd" && request.to != "nvme") {
    return MakeError(Code::kNotFound, "There is no storage class " + request.to + ".",
                     "`shadowctl class list` shows the classes.");
  }
  if (request.size_bytes > 1024 * kGiB) {
    return MakeError(Code::kOutOfSpace,
                     "The class " + request.to + " has 800.0 GiB free, and " +
                         FormatSize(request.size_bytes) + " are wanted.",
                     "Ask for less, or extend the volume group with vgextend.");
  }
  return AddVolume(request.request_id, "create " + request.name + request.to,
                   MakeVolume(request.name, request.size_bytes, request.to));
}

Result<VolumeInfo> ScriptedEngine::ImportVolume(const ImportRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ImportVolume", request.name));
  if (request.device == "/dev/mounted") {
    return MakeError(Code::kFailedPrecondition, "/dev/mounted is mounted on /srv.",
                     "Unmount it first.");
  }
  return AddVolume(request.request_id, "import " + request.name + request.device,
                   MakeVolume(request.name, 2 * kGiB, request.device));
}

Result<VolumeInfo> ScriptedEngine::RecoverVolume(const RecoverRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("RecoverVolume", request.metadata));
  if (request.metadata != "/dev/fast/lost.metadata") {
    return MakeError(Code::kNotFound,
                     "There is no metadata of a volume on " + request.metadata + ".",
                     "dm-shadow-activate --list shows the metadata that is on this machine");
  }
  return AddVolume(request.request_id, "recover " + request.metadata,
                   MakeVolume("lost", 2 * kGiB, "/dev/slow/lost"));
}

Result<std::string> ScriptedEngine::ExportVolume(const std::string& name) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ExportVolume", name));
  const auto it = volumes_.find(name);
  if (it == volumes_.end()) return NoVolume(name);
  std::string origin = it->second.origin;
  volumes_.erase(it);
  tiers_.erase(name);
  return origin;
}

Result<DeleteReport> ScriptedEngine::DeleteVolume(const DeleteRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("DeleteVolume", request.name + (request.destroy_data ? " destroy" : "") +
                                       (request.dry_run ? " dry" : "")));
  const auto it = volumes_.find(request.name);
  if (it == volumes_.end()) return NoVolume(request.name);
  DeleteReport report;
  report.devices.push_back(
      {it->second.origin, "KuJfu6-aaaa-bbbb-cccc-dddd-eeee-ffffff", request.destroy_data,
       request.destroy_data ? "the volume's data go with it" : "the volume's data stay on it"});
  report.devices.push_back({it->second.metadata, "KuJfu6-aaaa-bbbb-cccc-dddd-eeee-gggggg", true,
                            "it was made for the volume's metadata"});
  if (request.dry_run) return report;
  volumes_.erase(it);
  tiers_.erase(request.name);
  return report;
}

Result<std::vector<VolumeInfo>> ScriptedEngine::ListVolumes() {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ListVolumes", ""));
  std::vector<VolumeInfo> out;
  for (const auto& [name, info] : volumes_) out.push_back(info);
  return out;
}

Result<VolumeInfo> ScriptedEngine::GetVolume(const std::string& name) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("GetVolume", name));
  const auto it = volumes_.find(name);
  if (it == volumes_.end()) return NoVolume(name);
  return it->second;
}

Result<VolumeInfo> ScriptedEngine::ActivateVolume(const std::string& name,
                                                  bool /*unstable_names*/) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ActivateVolume", name));
  const auto it = volumes_.find(name);
  if (it == volumes_.end()) return NoVolume(name);
  return it->second;
}

Result<std::vector<ClassInfo>> ScriptedEngine::ListClasses() {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ListClasses", ""));
  ClassInfo hdd{"hdd", "slow", {}, 1000 * kGiB, 800 * kGiB, 150 * kMiB, 140 * kMiB, 8200};
  ClassInfo nvme{"nvme", "", {"/dev/nvme0n1", "/dev/nvme1n1"}, 500 * kGiB, 500 * kGiB, 0, 0, 0};
  return std::vector<ClassInfo>{hdd, nvme};
}

Result<Plan> ScriptedEngine::MakePlan(const ModifyRequest& request) {
  last_modify_ = request;
  const auto it = volumes_.find(request.volume);
  if (it == volumes_.end()) return NoVolume(request.volume);
  const VolumeInfo& volume = it->second;
  Plan plan;
  plan.volume = request.volume;
  plan.old_size = volume.size_bytes;
  plan.new_size = volume.size_bytes;
  if (!request.size_spec.empty()) {
    SHADOW_ASSIGN(plan.new_size, ResolveSize(request.size_spec, plan.old_size));
  } else if (request.size_bytes != 0) {
    plan.new_size = request.size_bytes;
  }
  if (plan.new_size < plan.old_size && !request.force_shrink) {
    return MakeError(Code::kFailedPrecondition,
                     "The file system on " + request.volume + " ends beyond the new end.",
                     "Shrink the file system first.");
  }
  plan.from = volume.storage_class.empty() ? volume.origin : volume.storage_class;
  plan.to = request.to.empty() ? plan.from : request.to;
  if (!plan.to.starts_with('/') && plan.to != "hdd" && plan.to != "nvme") {
    return MakeError(Code::kNotFound, "There is no storage class " + plan.to + ".",
                     "`shadowctl class list` shows the classes.");
  }
  plan.target_device = plan.to.starts_with('/') ? plan.to : "/dev/" + plan.to + "/" + plan.volume;
  plan.bytes_to_copy = plan.from == plan.to ? 0 : plan.old_size / 4 * 3;
  plan.holes_bytes = plan.old_size - plan.bytes_to_copy;
  plan.expected_ms = plan.bytes_to_copy / (140 * kMiB) * 1000;
  plan.expected_pause_us = 2100;
  plan.steps = {"Make the target " + plan.target_device + ".", "Copy the volume's data.",
                "Cut over, keep both legs for the grace period, then detach the origin."};
  if (request.discard_origin) plan.warnings = {"The origin will be discarded at the end."};
  return plan;
}

Result<Plan> ScriptedEngine::PlanModification(const ModifyRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("PlanModification", request.volume));
  return MakePlan(request);
}

Result<ModificationInfo> ScriptedEngine::Modify(const ModifyRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("Modify", request.volume));
  if (!request.request_id.empty()) {
    if (const auto it = requests_.find(request.request_id); it != requests_.end()) {
      if (it->second.content == ContentOf(request)) return running_.at(it->second.name).info;
      return MakeError(
          Code::kAlreadyExists,
          "The request id " + request.request_id + " was already used for another request.",
          "Use a new id for a new request.");
    }
  }
  SHADOW_ASSIGN(const Plan plan, MakePlan(request));
  VolumeInfo& volume = volumes_.at(request.volume);
  if (!volume.modification_id.empty()) {
    return MakeError(
        Code::kFailedPrecondition,
        "The modification " + volume.modification_id + " is running on " + volume.name + ".",
        "Wait for it, or abort it with `shadowctl op abort " + volume.modification_id + "`.");
  }
  const std::string id = "m" + std::to_string(running_.size() + 1);
  Running& running = running_[id];
  running.info.id = id;
  running.info.volume = request.volume;
  running.info.request_id = request.request_id;
  running.info.request = request;
  running.info.plan = plan;
  running.info.bytes_total = plan.bytes_to_copy;
  running.info.started_ms = now_ms_;
  running.info.app_baseline_p50_us = 700;
  running.info.app_baseline_p99_us = 2000;
  Show(running, {Phase::kPlanned, 0});
  running.script = {{Phase::kPreparing, 0}, {Phase::kCopying, 5}, {Phase::kCopying, 40}};
  if (request.volume == "broken") {
    running.script.push_back({Phase::kFailed, 40});
  } else {
    for (const Frame& frame : {Frame{Phase::kCopying, 90}, Frame{Phase::kCatchingUp, 99},
                               Frame{Phase::kCuttingOver, 100}}) {
      running.script.push_back(frame);
    }
    if (request.grace_ms != 0) running.script.push_back({Phase::kGrace, 100});
    if (request.grace_ms >= 0) {  // the default grace period stands still until it is committed
      running.script.push_back({Phase::kDecommissioning, 100});
      running.script.push_back({Phase::kCompleted, 100});
    }
  }
  volume.modification_id = id;
  volume.target = plan.target_device;
  if (!request.request_id.empty()) requests_[request.request_id] = {ContentOf(request), id};
  return running.info;
}

void ScriptedEngine::Show(Running& running, Frame frame) {
  now_ms_ += 1000;
  ModificationInfo& info = running.info;
  if (info.history.empty() || info.phase != frame.phase) {
    info.history.push_back({now_ms_, frame.phase, ""});
  }
  info.phase = frame.phase;
  info.updated_ms = now_ms_;
  info.bytes_done = info.bytes_total / 100 * static_cast<std::uint64_t>(frame.percent);
  if (frame.percent == 100) info.bytes_done = info.bytes_total;
  info.bytes_copied = info.bytes_done;
  const bool copying = frame.phase == Phase::kCopying || frame.phase == Phase::kCatchingUp;
  info.rate = copying ? 120 * kMiB : 0;
  info.eta_ms = copying ? (100 - frame.percent) * 640 : -1;
  info.app_p50_us = 800;
  info.app_p99_us = 2400;
  info.mirrored_writes = info.bytes_done / (16 * kMiB);
  info.grace_ends_ms = frame.phase == Phase::kGrace ? now_ms_ + 600'000 : 0;
  if (frame.phase == Phase::kGrace) info.cutover_pause_us = 2300;
  VolumeInfo& volume = volumes_[info.volume];
  if (frame.phase == Phase::kFailed) {
    info.error = "The target /dev/nvme/broken failed a write; the volume goes on on its origin.";
  }
  if (frame.phase == Phase::kCompleted) {
    volume = MakeVolume(info.volume, info.plan.new_size, info.plan.to);
    if (info.cutover_pause_us == 0) info.cutover_pause_us = 2300;
  }
  if (rpc::IsFinal(ToProto(frame.phase))) {
    volume.modification_id.clear();
    volume.target.clear();
    info.finished_ms = now_ms_;
  }
  changed_.notify_all();
}

void ScriptedEngine::Play(Running& running) {
  if (running.script.empty() || running.info.phase == Phase::kPaused) return;
  const Frame frame = running.script.front();
  running.script.pop_front();
  Show(running, frame);
}

Result<ScriptedEngine::Running*> ScriptedEngine::Find(const std::string& id) {
  const auto it = running_.find(id);
  if (it == running_.end()) {
    return MakeError(Code::kNotFound, "There is no modification " + id + ".",
                     "`shadowctl op list` shows the modifications.");
  }
  return &it->second;
}

Result<ModificationInfo> ScriptedEngine::GetModification(const std::string& id) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("GetModification", id));
  SHADOW_ASSIGN(Running * running, Find(id));
  return running->info;
}

Result<std::vector<ModificationInfo>> ScriptedEngine::ListModifications(const std::string& volume,
                                                                        std::size_t limit) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ListModifications", volume));
  std::vector<ModificationInfo> out;
  for (const auto& [id, running] : running_) {
    if (volume.empty() || running.info.volume == volume) out.push_back(running.info);
  }
  std::reverse(out.begin(), out.end());
  if (out.size() > limit) out.resize(limit);
  return out;
}

Result<ModificationInfo> ScriptedEngine::Turn(const std::string& method, const std::string& id,
                                              const std::vector<Phase>& allowed,
                                              const std::string& refusal, Phase now,
                                              std::deque<Frame> script) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter(method, id));
  SHADOW_ASSIGN(Running * running, Find(id));
  if (running->info.phase == now) return running->info;
  if (std::find(allowed.begin(), allowed.end(), running->info.phase) == allowed.end()) {
    return MakeError(Code::kFailedPrecondition, "The modification " + id + " " + refusal,
                     "`shadowctl op show " + id + "` shows where it stands.");
  }
  const int percent =
      running->info.bytes_total == 0
          ? 0
          : static_cast<int>(running->info.bytes_done * 100 / running->info.bytes_total);
  Show(*running, {now, percent});
  if (!script.empty()) running->script = std::move(script);
  return running->info;
}

Result<ModificationInfo> ScriptedEngine::Pause(const std::string& id) {
  return Turn("Pause", id, {Phase::kCopying, Phase::kCatchingUp}, "is not copying.", Phase::kPaused,
              {});
}

Result<ModificationInfo> ScriptedEngine::Resume(const std::string& id) {
  return Turn("Resume", id, {Phase::kPaused}, "is not paused.", Phase::kCopying, {});
}

Result<ModificationInfo> ScriptedEngine::Abort(const std::string& id) {
  return Turn(
      "Abort", id,
      {Phase::kPlanned, Phase::kPreparing, Phase::kCopying, Phase::kPaused, Phase::kCatchingUp},
      "cannot be aborted any more.", Phase::kAborting, {{Phase::kAborted, 0}});
}

Result<ModificationInfo> ScriptedEngine::RollBack(const std::string& id) {
  return Turn("RollBack", id, {Phase::kGrace}, "is not in its grace period.", Phase::kRollingBack,
              {{Phase::kAborted, 0}});
}

Result<ClassInfo> ScriptedEngine::MeasureClass(const std::string& name) {
  SHADOW_ASSIGN(const std::vector<ClassInfo> classes, ListClasses());
  for (const ClassInfo& c : classes) {
    if (c.name == name) return c;
  }
  return MakeError(Code::kNotFound, "There is no storage class " + name + ".");
}

Result<std::string> ScriptedEngine::RestoreOrigin(const std::string& id) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("RestoreOrigin", id));
  SHADOW_ASSIGN(const Running* running, Find(id));
  return running->info.plan.from;
}

Result<std::string> ScriptedEngine::ExportState() {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ExportState", ""));
  return std::string("{\"format\": \"scripted\"}\n");
}

Result<std::vector<std::string>> ScriptedEngine::ImportState(const std::string& text) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ImportState", text));
  return std::vector<std::string>{"db0: it is known already."};
}

Result<ModificationInfo> ScriptedEngine::Commit(const std::string& id) {
  return Turn("Commit", id, {Phase::kGrace}, "is not in its grace period.", Phase::kDecommissioning,
              {{Phase::kCompleted, 100}});
}

Result<ModificationInfo> ScriptedEngine::SetRate(const std::string& id, std::uint64_t rate,
                                                 Impact impact) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("SetRate", id));
  SHADOW_ASSIGN(Running * running, Find(id));
  running->info.request.rate = rate;
  running->info.request.impact = impact;
  return running->info;
}

Result<ModificationInfo> ScriptedEngine::WaitModification(const std::string& id,
                                                          std::int64_t seen_updated_ms,
                                                          std::int64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  SHADOW_TRY(Enter("WaitModification", id));
  SHADOW_ASSIGN(Running * running, Find(id));
  if (hold_) {
    changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                      [&] { return !hold_ || running->info.updated_ms != seen_updated_ms; });
  } else if (running->info.updated_ms == seen_updated_ms) {
    if (running->script.empty() || running->info.phase == Phase::kPaused) {
      clock_.AdvanceMs(timeout_ms);
      // Nothing to play: give the processor away instead of spinning while a test thinks.
      changed_.wait_for(lock, std::chrono::milliseconds(1), [] { return false; });
    } else {
      Play(*running);
    }
  }
  return running->info;
}

Result<std::vector<Event>> ScriptedEngine::WaitEvents(std::uint64_t after_seq, std::size_t limit,
                                                      std::int64_t timeout_ms) {
  std::unique_lock lock(mutex_);
  SHADOW_TRY(Enter("WaitEvents", std::to_string(after_seq)));
  changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                    [&] { return events_.size() > after_seq; });
  std::vector<Event> out;
  for (const Event& event : events_) {
    if (event.seq > after_seq && out.size() < limit) out.push_back(event);
  }
  return out;
}

Result<std::vector<Check>> ScriptedEngine::Doctor() {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("Doctor", ""));
  return std::vector<Check>{
      {"module", "ok", "target type shadow, version 1.0.0", ""},
      {"store", "ok", "The store /var/lib/shadowd/store.db can be written.", ""},
      {"class nvme", "warning", "The class nvme was never probed.",
       "It is probed at its first use."},
  };
}

}  // namespace shadow::rpc
