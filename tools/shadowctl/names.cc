// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/names.h"

namespace shadow::ctl {
namespace {

/// "active" of "TIER_STATE_ACTIVE"; "" of 0, "unknown" of a value this version does not know.
template <typename Enum>
std::string Word(Enum value, const std::string& name, std::string_view prefix) {
  if (static_cast<int>(value) == 0) return "";
  return Lower(EnumTail(name, prefix));
}

}  // namespace

std::string EnumTail(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return "UNKNOWN";
  return std::string(name.substr(prefix.size()));
}

std::string ShortId(const std::string& id) {
  const bool is_uuid = id.size() == 36 && id[8] == '-' && id[13] == '-';
  return is_uuid ? id.substr(0, 8) : id;
}

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string ModeName(v1::VolumeMode mode) {
  switch (mode) {
    case v1::VOLUME_MODE_READ_WRITE:
      return "rw";
    case v1::VOLUME_MODE_READ_ONLY:
      return "ro";
    case v1::VOLUME_MODE_FAIL:
      return "fail";
    case v1::VOLUME_MODE_UNSPECIFIED:
      return "inactive";
    default:
      return "unknown";
  }
}

std::string KernelPhaseName(v1::KernelPhase phase) {
  switch (phase) {
    case v1::KERNEL_PHASE_STEADY:
      return "steady";
    case v1::KERNEL_PHASE_MIGRATING:
      return "migrating";
    case v1::KERNEL_PHASE_GRACE:
      return "grace";
    default:
      return "unknown";
  }
}

std::string SeverityName(v1::EventSeverity severity) {
  switch (severity) {
    case v1::EVENT_SEVERITY_INFO:
      return "info";
    case v1::EVENT_SEVERITY_WARNING:
      return "warning";
    case v1::EVENT_SEVERITY_ERROR:
      return "error";
    default:
      return "unknown";
  }
}

std::string ResultName(v1::CheckResult result) {
  switch (result) {
    case v1::CHECK_RESULT_OK:
      return "ok";
    case v1::CHECK_RESULT_WARNING:
      return "warning";
    case v1::CHECK_RESULT_ERROR:
      return "error";
    default:
      return "unknown";
  }
}

std::string LevelName(v1::TierLevel level) {
  switch (level) {
    case v1::TIER_LEVEL_TIER1:
      return "tier1";
    case v1::TIER_LEVEL_TIER2:
      return "tier2";
    default:
      return "unknown";
  }
}

v1::TierLevel LevelOf(std::string_view name) {
  if (name == "tier1") return v1::TIER_LEVEL_TIER1;
  if (name == "tier2") return v1::TIER_LEVEL_TIER2;
  return v1::TIER_LEVEL_UNSPECIFIED;
}

std::string WriteModeName(v1::TierWriteMode mode) {
  switch (mode) {
    case v1::TIER_WRITE_MODE_WRITE_THROUGH:
      return "writethrough";
    case v1::TIER_WRITE_MODE_WRITE_BACK:
      return "writeback";
    default:
      return "unknown";
  }
}

std::string TierStateName(v1::TierState state) {
  const std::string word = Word(state, v1::TierState_Name(state), "TIER_STATE_");
  return word.empty() ? "unknown" : word;
}

std::string HealthName(v1::TierHealth health) {
  return Word(health, v1::TierHealth_Name(health), "TIER_HEALTH_");
}

std::string PolicyName(v1::PlacementPolicy policy) {
  return Word(policy, v1::PlacementPolicy_Name(policy), "PLACEMENT_POLICY_");
}

std::string SourceName(v1::AccessSource source) {
  return Word(source, v1::AccessSource_Name(source), "ACCESS_SOURCE_");
}

std::string PlaceName(v1::Place place) {
  const std::string word = Word(place, v1::Place_Name(place), "PLACE_");
  return word.empty() ? "unknown" : word;
}

std::string ShadowName(v1::ShadowState state) {
  const std::string word = Word(state, v1::ShadowState_Name(state), "SHADOW_STATE_");
  return word.empty() ? "unknown" : word;
}

std::string DecisionName(v1::PlacementDecision decision) {
  const std::string word =
      Word(decision, v1::PlacementDecision_Name(decision), "PLACEMENT_DECISION_");
  return word.empty() ? "unknown" : word;
}

std::string ImpactName(v1::Impact impact) {
  return Lower(EnumTail(v1::Impact_Name(impact), "IMPACT_"));
}

v1::Impact ImpactOf(std::string_view name) {
  if (name == "low") return v1::IMPACT_LOW;
  if (name == "full") return v1::IMPACT_FULL;
  return v1::IMPACT_BALANCED;
}

}  // namespace shadow::ctl
