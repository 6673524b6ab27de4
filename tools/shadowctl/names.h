// SPDX-License-Identifier: Apache-2.0
// Short names of the enums of shadow.v1, as the tables and the JSON show them. Values of a newer
// daemon that this shadowctl does not know give "unknown".
#pragma once

#include <string>
#include <string_view>

#include "proto/shadow/v1/event.pb.h"
#include "proto/shadow/v1/modification.pb.h"
#include "proto/shadow/v1/placement.pb.h"
#include "proto/shadow/v1/system.pb.h"
#include "proto/shadow/v1/volume.pb.h"

namespace shadow::ctl {

/// `name` without `prefix`: "PHASE_COPYING" -> "COPYING". "UNKNOWN" if it has another prefix.
[[nodiscard]] std::string EnumTail(std::string_view name, std::string_view prefix);
/// The first eight characters of an id that is a UUID, which every command takes for the whole;
/// other ids as they are.
[[nodiscard]] std::string ShortId(const std::string& id);
[[nodiscard]] std::string Lower(std::string text);
/// "rw", "ro", "fail", "inactive".
[[nodiscard]] std::string ModeName(v1::VolumeMode mode);
/// "steady", "migrating", "grace", "unknown".
[[nodiscard]] std::string KernelPhaseName(v1::KernelPhase phase);
/// "info", "warning", "error", "unknown".
[[nodiscard]] std::string SeverityName(v1::EventSeverity severity);
/// "ok", "warning", "error", "unknown".
[[nodiscard]] std::string ResultName(v1::CheckResult result);

/// "tier1", "tier2".
[[nodiscard]] std::string LevelName(v1::TierLevel level);
/// The other way round; of nothing else.
[[nodiscard]] v1::TierLevel LevelOf(std::string_view name);
/// "writethrough", "writeback".
[[nodiscard]] std::string WriteModeName(v1::TierWriteMode mode);
/// "adding", "active", "removing", "removed".
[[nodiscard]] std::string TierStateName(v1::TierState state);
/// "ok", "missing", "failed"; "" when the kernel does not have it.
[[nodiscard]] std::string HealthName(v1::TierHealth health);
/// "pam", "ewma", "lru", "off"; "" when not set.
[[nodiscard]] std::string PolicyName(v1::PlacementPolicy policy);
/// "blktrace", "access_bits"; "" when there is none.
[[nodiscard]] std::string SourceName(v1::AccessSource source);
/// "home", "tier1", "tier2".
[[nodiscard]] std::string PlaceName(v1::Place place);
/// "clean", "dirty", "promoting", "cleaning", "dropping".
[[nodiscard]] std::string ShadowName(v1::ShadowState state);
/// "stay", "promote", "demote", "writeback", "wait".
[[nodiscard]] std::string DecisionName(v1::PlacementDecision decision);
/// "low", "balanced", "full".
[[nodiscard]] std::string ImpactName(v1::Impact impact);
/// The other way round; balanced for anything else.
[[nodiscard]] v1::Impact ImpactOf(std::string_view name);

}  // namespace shadow::ctl
