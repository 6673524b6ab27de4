// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/convert.h"

#include "daemon/rpc/validate.h"

namespace shadow::rpc {
namespace {

void SetTime(std::int64_t ms, google::protobuf::Timestamp* out) {
  out->set_seconds(ms / 1000);
  out->set_nanos(static_cast<std::int32_t>(ms % 1000) * 1'000'000);
}

v1::RetirePolicy ToProto(Retire retire) {
  switch (retire) {
    case Retire::kNever:
      return v1::RETIRE_POLICY_NEVER;
    case Retire::kCold:
      return v1::RETIRE_POLICY_COLD;
    case Retire::kEager:
      return v1::RETIRE_POLICY_EAGER;
  }
  return v1::RETIRE_POLICY_UNSPECIFIED;
}

v1::ModificationSpec ToProto(const ModifyRequest& request) {
  v1::ModificationSpec out;
  out.set_volume(request.volume);
  if (!request.size_spec.empty()) {
    out.set_size_spec(request.size_spec);
  } else if (request.size_bytes != 0) {
    out.set_size_bytes(request.size_bytes);
  }
  out.set_to(request.to);
  out.set_impact(rpc::ToProto(request.impact));
  out.set_rate_bytes_per_second(request.rate);
  out.set_retire(ToProto(request.retire));
  if (request.grace_ms >= 0) SetDuration(request.grace_ms, out.mutable_grace());
  out.set_grow_filesystem(request.grow_filesystem);
  out.set_grow_filesystem_now(request.grow_now);
  out.set_skip_trim(!request.trim_first);
  out.set_discard_origin(request.discard_origin);
  out.set_force_shrink(request.force_shrink);
  return out;
}

v1::KernelState ToProto(const KernelStatus& status) {
  v1::KernelState out;
  if (status.mode == "rw") out.set_mode(v1::VOLUME_MODE_READ_WRITE);
  if (status.mode == "ro") out.set_mode(v1::VOLUME_MODE_READ_ONLY);
  if (status.mode == "fail") out.set_mode(v1::VOLUME_MODE_FAIL);
  if (status.phase == "steady") out.set_phase(v1::KERNEL_PHASE_STEADY);
  if (status.phase == "migrating") out.set_phase(v1::KERNEL_PHASE_MIGRATING);
  if (status.phase == "grace") out.set_phase(v1::KERNEL_PHASE_GRACE);
  out.set_blocks(status.blocks);
  v1::BlockCounts* counts = out.mutable_counts();
  counts->set_origin(status.origin);
  counts->set_copying(status.copying);
  counts->set_mirrored(status.mirrored);
  counts->set_retiring(status.retiring);
  counts->set_target(status.target);
  counts->set_remirroring(status.remirroring);
  counts->set_hole(status.hole);
  counts->set_filling(status.filling);
  counts->set_tail(status.tail);
  out.set_copied_blocks(status.copied);
  out.set_recopied_blocks(status.recopied);
  out.set_mirrored_writes(status.mirrored_writes);
  out.set_failovers(status.failovers);
  out.set_stale_copies(status.stale);
  out.set_copy_errors(status.copy_errors);
  out.set_last_error(status.last_error);
  out.set_needs_check(status.needs_check);
  for (const TierLevel level : {TierLevel::kTier1, TierLevel::kTier2}) {
    const auto& tier = status.tiers.at(static_cast<std::size_t>(level));
    if (tier) *out.add_tiers() = rpc::ToProto(*tier, level);
  }
  return out;
}

}  // namespace

void SetDuration(std::int64_t ms, google::protobuf::Duration* out) {
  out->set_seconds(ms / 1000);
  out->set_nanos(static_cast<std::int32_t>(ms % 1000) * 1'000'000);
}

std::int64_t DurationMs(const google::protobuf::Duration& d) {
  constexpr std::int64_t kMaxSeconds = 315'576'000'000;  // the limit of the well-known type
  if (d.seconds() < 0 || d.seconds() > kMaxSeconds || d.nanos() < 0 || d.nanos() > 999'999'999) {
    return -1;
  }
  return d.seconds() * 1000 + d.nanos() / 1'000'000;
}

v1::Impact ToProto(Impact impact) {
  switch (impact) {
    case Impact::kLow:
      return v1::IMPACT_LOW;
    case Impact::kBalanced:
      return v1::IMPACT_BALANCED;
    case Impact::kFull:
      return v1::IMPACT_FULL;
  }
  return v1::IMPACT_UNSPECIFIED;
}

v1::Phase ToProto(Phase phase) {
  switch (phase) {
    case Phase::kPlanned:
      return v1::PHASE_PLANNED;
    case Phase::kPreparing:
      return v1::PHASE_PREPARING;
    case Phase::kCopying:
      return v1::PHASE_COPYING;
    case Phase::kPaused:
      return v1::PHASE_PAUSED;
    case Phase::kCatchingUp:
      return v1::PHASE_CATCHING_UP;
    case Phase::kCuttingOver:
      return v1::PHASE_CUTTING_OVER;
    case Phase::kGrace:
      return v1::PHASE_GRACE;
    case Phase::kDecommissioning:
      return v1::PHASE_DECOMMISSIONING;
    case Phase::kCompleted:
      return v1::PHASE_COMPLETED;
    case Phase::kAborting:
      return v1::PHASE_ABORTING;
    case Phase::kRollingBack:
      return v1::PHASE_ROLLING_BACK;
    case Phase::kAborted:
      return v1::PHASE_ABORTED;
    case Phase::kFailed:
      return v1::PHASE_FAILED;
  }
  return v1::PHASE_UNSPECIFIED;
}

bool IsFinal(v1::Phase phase) {
  return phase == v1::PHASE_COMPLETED || phase == v1::PHASE_ABORTED || phase == v1::PHASE_FAILED;
}

v1::Volume ToProto(const VolumeInfo& info) {
  v1::Volume out;
  out.set_name(info.name);
  out.set_uuid(info.uuid);
  out.set_device(info.device);
  out.set_size_bytes(info.size_bytes);
  out.set_block_bytes(info.block_bytes);
  out.set_origin(info.origin);
  out.set_storage_class(info.storage_class);
  out.set_target(info.target);
  out.set_metadata(info.metadata);
  out.set_modification_id(info.modification_id);
  SetTime(info.created_ms, out.mutable_create_time());
  *out.mutable_kernel() = ToProto(info.kernel);
  return out;
}

v1::StorageClass ToProto(const ClassInfo& info) {
  v1::StorageClass out;
  out.set_name(info.name);
  out.set_volume_group(info.volume_group);
  for (const std::string& device : info.devices) out.add_devices(device);
  out.set_size_bytes(info.size_bytes);
  out.set_free_bytes(info.free_bytes);
  out.set_read_bytes_per_second(info.read_bandwidth);
  out.set_write_bytes_per_second(info.write_bandwidth);
  out.set_read_latency_us(info.read_latency_us);
  return out;
}

v1::Plan ToProto(const Plan& plan) {
  v1::Plan out;
  out.set_volume(plan.volume);
  out.set_old_size_bytes(plan.old_size);
  out.set_new_size_bytes(plan.new_size);
  out.set_from(plan.from);
  out.set_to(plan.to);
  out.set_target_device(plan.target_device);
  out.set_copy_bytes(plan.bytes_to_copy);
  out.set_hole_bytes(plan.holes_bytes);
  if (plan.expected_ms != 0) {
    SetDuration(static_cast<std::int64_t>(plan.expected_ms), out.mutable_expected_duration());
  }
  out.set_expected_pause_us(plan.expected_pause_us);
  out.set_reversible(plan.reversible);
  for (const std::string& step : plan.steps) out.add_steps(step);
  for (const std::string& warning : plan.warnings) out.add_warnings(warning);
  return out;
}

v1::Modification ToProto(const ModificationInfo& info) {
  v1::Modification out;
  out.set_id(info.id);
  out.set_volume(info.volume);
  out.set_request_id(info.request_id);
  *out.mutable_spec() = ToProto(info.request);
  *out.mutable_plan() = ToProto(info.plan);
  out.set_phase(ToProto(info.phase));
  out.set_final(IsFinal(out.phase()));
  out.set_error(info.error);
  for (const std::string& sentence : info.left_out) out.add_left_out(sentence);
  out.set_limited_by_latency(info.limited_by_latency);
  out.set_total_bytes(info.bytes_total);
  out.set_done_bytes(info.bytes_done);
  out.set_copied_bytes(info.bytes_copied);
  out.set_rate_bytes_per_second(info.rate);
  if (info.eta_ms >= 0) SetDuration(info.eta_ms, out.mutable_eta());
  v1::AppLatency* latency = out.mutable_app_latency();
  latency->set_p50_us(info.app_p50_us);
  latency->set_p99_us(info.app_p99_us);
  latency->set_baseline_p50_us(info.app_baseline_p50_us);
  latency->set_baseline_p99_us(info.app_baseline_p99_us);
  out.set_mirrored_writes(info.mirrored_writes);
  out.set_cutover_pause_us(info.cutover_pause_us);
  SetTime(info.started_ms, out.mutable_start_time());
  SetTime(info.updated_ms, out.mutable_update_time());
  if (info.finished_ms != 0) SetTime(info.finished_ms, out.mutable_finish_time());
  if (info.grace_ends_ms != 0) SetTime(info.grace_ends_ms, out.mutable_grace_end_time());
  for (const HistoryEntry& entry : info.history) {
    v1::HistoryEntry* e = out.add_history();
    SetTime(entry.at_ms, e->mutable_time());
    e->set_phase(ToProto(entry.phase));
    e->set_note(entry.note);
  }
  return out;
}

v1::Event ToProto(const Event& event) {
  v1::Event out;
  out.set_sequence(event.seq);
  SetTime(event.at_ms, out.mutable_time());
  out.set_volume(event.volume);
  out.set_modification_id(event.modification_id);
  if (event.severity == "info") out.set_severity(v1::EVENT_SEVERITY_INFO);
  if (event.severity == "warning") out.set_severity(v1::EVENT_SEVERITY_WARNING);
  if (event.severity == "error") out.set_severity(v1::EVENT_SEVERITY_ERROR);
  out.set_what(event.what);
  out.set_message(event.message);
  return out;
}

v1::GetHealthResponse ToProto(const Health& health) {
  const auto level = [](HealthLevel one) {
    switch (one) {
      case HealthLevel::kOk:
        return v1::HEALTH_LEVEL_OK;
      case HealthLevel::kBusy:
        return v1::HEALTH_LEVEL_BUSY;
      case HealthLevel::kWarning:
        return v1::HEALTH_LEVEL_WARNING;
      case HealthLevel::kError:
        return v1::HEALTH_LEVEL_ERROR;
    }
    return v1::HEALTH_LEVEL_UNSPECIFIED;
  };
  v1::GetHealthResponse out;
  out.set_level(level(health.level));
  out.set_sentence(health.sentence);
  for (const VolumeHealth& v : health.volumes) {
    v1::VolumeHealth& to = *out.add_volumes();
    to.set_volume(v.volume);
    to.set_level(level(v.level));
    to.set_sentence(v.sentence);
  }
  for (const Todo& t : health.todos) {
    v1::Todo& to = *out.add_todos();
    to.set_level(level(t.level));
    to.set_volume(t.volume);
    to.set_sentence(t.sentence);
    to.set_command(t.command);
    to.set_hint(t.hint);
  }
  return out;
}

v1::Check ToProto(const Check& check) {
  v1::Check out;
  out.set_name(check.name);
  if (check.result == "ok") out.set_result(v1::CHECK_RESULT_OK);
  if (check.result == "warning") out.set_result(v1::CHECK_RESULT_WARNING);
  if (check.result == "error") out.set_result(v1::CHECK_RESULT_ERROR);
  out.set_detail(check.detail);
  out.set_hint(check.hint);
  return out;
}

Result<CreateRequest> FromProto(const v1::CreateVolumeRequest& request) {
  SHADOW_TRY(CheckVolumeName(request.name()));
  SHADOW_TRY(CheckSize("size", request.size_bytes()));
  SHADOW_TRY(CheckPlace("place to create it", request.to()));
  SHADOW_TRY(CheckBlockSize(request.block_bytes()));
  CreateRequest out;
  out.name = request.name();
  out.size_bytes = request.size_bytes();
  out.to = request.to();
  out.block_bytes = request.block_bytes();
  out.request_id = request.request_id();
  SHADOW_TRY(CheckOverwrite(request.overwrite()));
  out.overwrite = request.overwrite();
  out.unstable_names = request.allow_unstable_names();
  return out;
}

Result<ImportRequest> FromProto(const v1::ImportVolumeRequest& request) {
  SHADOW_TRY(CheckVolumeName(request.name()));
  SHADOW_TRY(CheckDevice("device to import", request.device()));
  if (!request.metadata().empty()) {
    SHADOW_TRY(CheckPlace("place for the metadata", request.metadata()));
  }
  SHADOW_TRY(CheckBlockSize(request.block_bytes()));
  ImportRequest out;
  out.name = request.name();
  out.device = request.device();
  out.metadata = request.metadata();
  SHADOW_TRY(CheckOverwrite(request.overwrite()));
  out.overwrite = request.overwrite();
  out.unstable_names = request.allow_unstable_names();
  out.block_bytes = request.block_bytes();
  out.request_id = request.request_id();
  return out;
}

Result<Impact> FromProto(v1::Impact impact) {
  switch (impact) {
    case v1::IMPACT_UNSPECIFIED:
    case v1::IMPACT_BALANCED:
      return Impact::kBalanced;
    case v1::IMPACT_LOW:
      return Impact::kLow;
    case v1::IMPACT_FULL:
      return Impact::kFull;
    default:
      return MakeError(Code::kInvalidArgument,
                       "The impact " + std::to_string(static_cast<int>(impact)) + " is unknown.",
                       "Use low, balanced or full.");
  }
}

Result<ModifyRequest> FromProto(const v1::ModificationSpec& spec) {
  SHADOW_TRY(CheckVolumeName(spec.volume()));
  ModifyRequest out;
  out.volume = spec.volume();
  if (spec.has_size_spec()) {
    SHADOW_TRY(CheckSizeSpec(spec.size_spec()));
    out.size_spec = spec.size_spec();
  } else if (spec.has_size_bytes()) {
    SHADOW_TRY(CheckSize("new size", spec.size_bytes()));
    out.size_bytes = spec.size_bytes();
  }
  if (!spec.to().empty()) SHADOW_TRY(CheckPlace("place to move to", spec.to()));
  out.to = spec.to();
  if (out.to.empty() && out.size_bytes == 0 && out.size_spec.empty()) {
    return MakeError(Code::kInvalidArgument, "The modification would change nothing.",
                     "Give a new size, a place to move to, or both.");
  }
  SHADOW_TRY(CheckRate(spec.rate_bytes_per_second()));
  out.rate = spec.rate_bytes_per_second();
  SHADOW_ASSIGN(out.impact, FromProto(spec.impact()));
  switch (spec.retire()) {
    case v1::RETIRE_POLICY_UNSPECIFIED:
    case v1::RETIRE_POLICY_NEVER:
      out.retire = Retire::kNever;
      break;
    case v1::RETIRE_POLICY_COLD:
      out.retire = Retire::kCold;
      break;
    case v1::RETIRE_POLICY_EAGER:
      out.retire = Retire::kEager;
      break;
    default:
      return MakeError(
          Code::kInvalidArgument,
          "The retire policy " + std::to_string(static_cast<int>(spec.retire())) + " is unknown.",
          "Use never, cold or eager.");
  }
  if (spec.has_grace()) {
    out.grace_ms = DurationMs(spec.grace());
    SHADOW_TRY(CheckGrace(out.grace_ms));
  }
  SHADOW_TRY(CheckOverwrite(spec.overwrite()));
  out.overwrite = spec.overwrite();
  out.unstable_names = spec.allow_unstable_names();
  out.keep_signature = spec.keep_origin_signature();
  out.grow_filesystem = spec.grow_filesystem();
  out.grow_now = spec.grow_filesystem_now();
  out.trim_first = !spec.skip_trim();
  out.discard_origin = spec.discard_origin();
  out.force_shrink = spec.force_shrink();
  return out;
}

}  // namespace shadow::rpc
