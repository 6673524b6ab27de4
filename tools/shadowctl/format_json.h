// SPDX-License-Identifier: Apache-2.0
// The JSON output. Its names and types are part of the interface (shadowctl(1), JSON OUTPUT):
// fields are added, never renamed. Sizes are bytes, times are RFC 3339 in UTC or null.
#pragma once

#include <nlohmann/json.hpp>

#include "daemon/base/result.h"
#include "proto/shadow/v1/event.pb.h"
#include "proto/shadow/v1/modification.pb.h"
#include "proto/shadow/v1/placement.pb.h"
#include "proto/shadow/v1/storage_class.pb.h"
#include "proto/shadow/v1/system.pb.h"
#include "proto/shadow/v1/volume.pb.h"

namespace shadow::ctl {

using Json = nlohmann::ordered_json;

[[nodiscard]] Json ToJson(const v1::Volume& volume);
[[nodiscard]] Json ToJson(const v1::StorageClass& storage_class);
[[nodiscard]] Json ToJson(const v1::Plan& plan);
[[nodiscard]] Json ToJson(const v1::Modification& modification);
[[nodiscard]] Json ToJson(const v1::Event& event);
[[nodiscard]] Json ToJson(const v1::Check& check);
[[nodiscard]] Json ToJson(const v1::Tier& tier);
[[nodiscard]] Json ToJson(const v1::TierPolicy& policy);
[[nodiscard]] Json ToJson(const v1::Placement& placement);
[[nodiscard]] Json ToJson(const v1::VolumeTiers& tiers);
[[nodiscard]] Json ToJson(const v1::HeatRun& run);
[[nodiscard]] Json ToJson(const v1::TierRun& run);
[[nodiscard]] Json ToJson(const v1::BlockExplanation& explanation);
[[nodiscard]] Json ToJson(const v1::VolumeTop& top);
[[nodiscard]] Json ToJson(const Error& error);

}  // namespace shadow::ctl
