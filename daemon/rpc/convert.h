// SPDX-License-Identifier: Apache-2.0
// The engine's types to protobuf and back, field by field. Pure functions.
//
// From protobuf every field is checked (daemon/rpc/validate.h); to protobuf nothing fails: what
// this version of the proto cannot express becomes UNSPECIFIED. What belongs to tiers is in
// convert_placement.cc.
#pragma once

#include "daemon/engine/engine.h"
#include "daemon/health/health.h"
#include "proto/shadow/v1/event.pb.h"
#include "proto/shadow/v1/modification.pb.h"
#include "proto/shadow/v1/placement.pb.h"
#include "proto/shadow/v1/storage_class.pb.h"
#include "proto/shadow/v1/system.pb.h"
#include "proto/shadow/v1/volume.pb.h"

namespace shadow::rpc {

[[nodiscard]] v1::Volume ToProto(const VolumeInfo& info);
[[nodiscard]] v1::StorageClass ToProto(const ClassInfo& info);
[[nodiscard]] v1::Plan ToProto(const Plan& plan);
[[nodiscard]] v1::Modification ToProto(const ModificationInfo& info);
[[nodiscard]] v1::Event ToProto(const Event& event);
[[nodiscard]] v1::Check ToProto(const Check& check);
[[nodiscard]] v1::GetHealthResponse ToProto(const Health& health);
[[nodiscard]] v1::Phase ToProto(Phase phase);
[[nodiscard]] v1::Impact ToProto(Impact impact);
/// Whether a modification in `phase` has come to its end.
[[nodiscard]] bool IsFinal(v1::Phase phase);

[[nodiscard]] Result<CreateRequest> FromProto(const v1::CreateVolumeRequest& request);
[[nodiscard]] Result<ImportRequest> FromProto(const v1::ImportVolumeRequest& request);
[[nodiscard]] Result<ModifyRequest> FromProto(const v1::ModificationSpec& spec);
[[nodiscard]] Result<Impact> FromProto(v1::Impact impact);

[[nodiscard]] v1::Tier ToProto(const TierInfo& info);
[[nodiscard]] v1::KernelTier ToProto(const KernelTier& tier, TierLevel level);
[[nodiscard]] v1::TierPolicy ToProto(const TierPolicy& policy);
[[nodiscard]] v1::Placement ToProto(const PlacementInfo& info);
[[nodiscard]] v1::BlockExplanation ToProto(const BlockExplanation& explanation,
                                           std::uint64_t block_bytes);
[[nodiscard]] v1::VolumeTop ToProto(const VolumeTop& top);
/// Ranges as runs: neighbours whose heat is the same in steps of 0.001 become one.
[[nodiscard]] std::vector<v1::HeatRun> ToProto(const std::vector<HeatCell>& cells);
[[nodiscard]] std::vector<v1::TierRun> ToProto(const std::vector<TierRun>& runs);

[[nodiscard]] Result<TierLevel> FromProto(v1::TierLevel level);
[[nodiscard]] Result<AddTierRequest> FromProto(const v1::AddTierRequest& request);
[[nodiscard]] Result<RemoveTierRequest> FromProto(const v1::RemoveTierRequest& request);
/// Whether it is write-back. UNSPECIFIED is refused.
[[nodiscard]] Result<bool> IsWriteBack(v1::TierWriteMode mode);
/// `now` with what is set in `wanted`.
[[nodiscard]] Result<TierPolicy> Changed(const TierPolicy& now, const v1::TierPolicy& wanted);

/// Milliseconds of a duration; -1 when it is negative, malformed or beyond any use.
[[nodiscard]] std::int64_t DurationMs(const google::protobuf::Duration& duration);
void SetDuration(std::int64_t ms, google::protobuf::Duration* out);

}  // namespace shadow::rpc
