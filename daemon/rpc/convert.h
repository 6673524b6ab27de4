// SPDX-License-Identifier: Apache-2.0
// The engine's types to protobuf and back, field by field. Pure functions.
//
// From protobuf every field is checked (daemon/rpc/validate.h); to protobuf nothing fails: what
// this version of the proto cannot express becomes UNSPECIFIED.
#pragma once

#include "daemon/engine/engine.h"
#include "proto/shadow/v1/event.pb.h"
#include "proto/shadow/v1/modification.pb.h"
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
[[nodiscard]] v1::Phase ToProto(Phase phase);
/// Whether a modification in `phase` has come to its end.
[[nodiscard]] bool IsFinal(v1::Phase phase);

[[nodiscard]] Result<CreateRequest> FromProto(const v1::CreateVolumeRequest& request);
[[nodiscard]] Result<ImportRequest> FromProto(const v1::ImportVolumeRequest& request);
[[nodiscard]] Result<ModifyRequest> FromProto(const v1::ModificationSpec& spec);
[[nodiscard]] Result<Impact> FromProto(v1::Impact impact);

}  // namespace shadow::rpc
