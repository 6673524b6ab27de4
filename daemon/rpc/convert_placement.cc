// SPDX-License-Identifier: Apache-2.0
// The part of daemon/rpc/convert.h that belongs to tiers, heat and placement.
#include <algorithm>
#include <cmath>

#include "daemon/rpc/convert.h"
#include "daemon/rpc/errors.h"
#include "daemon/rpc/validate.h"

namespace shadow::rpc {
namespace {

struct PolicyName {
  const char* name;
  v1::PlacementPolicy value;
};
constexpr PolicyName kPolicies[] = {
    {"pam", v1::PLACEMENT_POLICY_PAM},
    {"ewma", v1::PLACEMENT_POLICY_EWMA},
    {"lru", v1::PLACEMENT_POLICY_LRU},
    {"off", v1::PLACEMENT_POLICY_OFF},
};

v1::PlacementPolicy PolicyOf(const std::string& name) {
  for (const PolicyName& p : kPolicies) {
    if (name == p.name) return p.value;
  }
  return v1::PLACEMENT_POLICY_UNSPECIFIED;
}

v1::Place PlaceOf(const std::string& name) {
  if (name == "home") return v1::PLACE_HOME;
  if (name == "tier1") return v1::PLACE_TIER1;
  if (name == "tier2") return v1::PLACE_TIER2;
  return v1::PLACE_UNSPECIFIED;
}

v1::PlacementDecision DecisionOf(const std::string& name) {
  if (name == "stay") return v1::PLACEMENT_DECISION_STAY;
  if (name == "promote") return v1::PLACEMENT_DECISION_PROMOTE;
  if (name == "demote") return v1::PLACEMENT_DECISION_DEMOTE;
  if (name == "writeback") return v1::PLACEMENT_DECISION_WRITEBACK;
  if (name == "wait") return v1::PLACEMENT_DECISION_WAIT;
  return v1::PLACEMENT_DECISION_UNSPECIFIED;
}

v1::TierLevel ToProto(TierLevel level) {
  switch (level) {
    case TierLevel::kTier1:
      return v1::TIER_LEVEL_TIER1;
    case TierLevel::kTier2:
      return v1::TIER_LEVEL_TIER2;
  }
  return v1::TIER_LEVEL_UNSPECIFIED;
}

v1::TierWriteMode WriteModeOf(bool write_back) {
  return write_back ? v1::TIER_WRITE_MODE_WRITE_BACK : v1::TIER_WRITE_MODE_WRITE_THROUGH;
}

v1::TierHealth HealthOf(const std::string& name) {
  if (name == "ok") return v1::TIER_HEALTH_OK;
  if (name == "missing") return v1::TIER_HEALTH_MISSING;
  if (name == "failed") return v1::TIER_HEALTH_FAILED;
  return v1::TIER_HEALTH_UNSPECIFIED;
}

v1::ShadowState ToProto(ShadowState state) {
  switch (state) {
    case ShadowState::kClean:
      return v1::SHADOW_STATE_CLEAN;
    case ShadowState::kDirty:
      return v1::SHADOW_STATE_DIRTY;
    case ShadowState::kPromoting:
      return v1::SHADOW_STATE_PROMOTING;
    case ShadowState::kCleaning:
      return v1::SHADOW_STATE_CLEANING;
    case ShadowState::kDropping:
      return v1::SHADOW_STATE_DROPPING;
  }
  return v1::SHADOW_STATE_UNSPECIFIED;
}

std::uint32_t Permille(double heat) {
  if (!(heat > 0)) return 0;  // not for what is no number either
  return static_cast<std::uint32_t>(std::lround(std::min(heat, 1.0) * 1000));
}

double OfPermille(std::uint32_t permille) { return static_cast<double>(permille) / 1000; }

std::uint64_t NotNegative(std::int64_t n) { return n < 0 ? 0 : static_cast<std::uint64_t>(n); }

}  // namespace

v1::Tier ToProto(const TierInfo& info) {
  v1::Tier out;
  out.set_level(ToProto(info.level));
  out.set_storage_class(info.storage_class);
  out.set_size_bytes(info.size_bytes);
  out.set_used_bytes(info.used_bytes);
  out.set_dirty_bytes(info.dirty_bytes);
  out.set_write_mode(WriteModeOf(info.write_back));
  if (info.state == "adding") out.set_state(v1::TIER_STATE_ADDING);
  if (info.state == "active") out.set_state(v1::TIER_STATE_ACTIVE);
  if (info.state == "removing") out.set_state(v1::TIER_STATE_REMOVING);
  if (info.state == "removed") out.set_state(v1::TIER_STATE_REMOVED);
  out.set_health(HealthOf(info.health));
  out.set_device(info.device);
  out.set_reads(info.reads);
  out.set_writes(info.writes);
  return out;
}

v1::KernelTier ToProto(const KernelTier& tier, TierLevel level) {
  v1::KernelTier out;
  out.set_level(ToProto(level));
  out.set_health(HealthOf(tier.health));
  out.set_write_mode(WriteModeOf(tier.write_back));
  out.set_slots(tier.slots);
  out.set_used_blocks(tier.used);
  out.set_dirty_blocks(tier.dirty);
  return out;
}

v1::TierPolicy ToProto(const TierPolicy& policy) {
  v1::TierPolicy out;
  out.set_policy(PolicyOf(policy.policy));
  out.set_tier1_heat(OfPermille(policy.tier1_heat_permille));
  out.set_tier2_heat(OfPermille(policy.tier2_heat_permille));
  out.set_budget_bytes_per_minute(policy.budget_bytes_per_minute);
  SetDuration(policy.window_ms, out.mutable_window());
  if (policy.impact <= static_cast<std::uint8_t>(Impact::kFull)) {
    out.set_impact(ToProto(static_cast<Impact>(policy.impact)));
  }
  return out;
}

v1::Placement ToProto(const PlacementInfo& info) {
  v1::Placement out;
  *out.mutable_policy() = ToProto(info.policy);
  out.set_ruling(PolicyOf(info.ruling));
  if (info.source == "blktrace") out.set_source(v1::ACCESS_SOURCE_BLKTRACE);
  if (info.source == "access") out.set_source(v1::ACCESS_SOURCE_ACCESS_BITS);
  for (const std::string& note : info.notes) out.add_notes(note);
  out.set_windows(info.windows);
  out.set_lost_events(info.lost);
  out.set_known_blocks(info.known_blocks);
  out.set_state_bytes(info.state_bytes);
  out.set_budget_left_bytes(info.budget_left_bytes);
  out.set_moved_bytes(info.moved_bytes);
  out.set_served_bytes(info.served_bytes);
  out.set_queued_blocks(info.queued_blocks);
  out.set_round_us(NotNegative(info.round_us));
  out.set_promoted_blocks(info.promoted);
  out.set_demoted_blocks(info.demoted);
  out.set_written_back_blocks(info.written_back);
  out.set_failures(info.failures);
  return out;
}

v1::BlockExplanation ToProto(const BlockExplanation& e, std::uint64_t block_bytes) {
  v1::BlockExplanation out;
  out.set_block(e.block);
  out.set_offset_bytes(e.block * block_bytes);
  out.set_place(PlaceOf(e.place));
  out.set_belongs(PlaceOf(e.belongs));
  out.set_best(PlaceOf(e.best));
  out.set_dirty(e.dirty);
  out.set_busy(e.busy);
  out.set_heat(e.heat);
  out.set_accesses(e.accesses);
  out.set_writes(e.writes);
  out.set_benefit_ms(e.benefit_ms);
  out.set_cost_ms(e.cost_ms);
  out.set_transfer_ms(e.transfer_ms);
  out.set_writeback_ms(e.writeback_ms);
  out.set_tier1_saves_ms(e.tier1_saves_ms);
  out.set_tier2_saves_ms(e.tier2_saves_ms);
  out.set_victim_saves_ms(e.victim_saves_ms);
  out.set_interference_ms(e.interference_ms);
  out.set_wear_ms(e.wear_ms);
  out.set_margin(e.margin);
  out.set_decision(DecisionOf(e.decision));
  out.set_why(e.why);
  return out;
}

v1::VolumeTop ToProto(const VolumeTop& top) {
  v1::VolumeTop out;
  out.set_volume(top.name);
  SetDuration(std::max<std::int64_t>(top.interval_ms, 0), out.mutable_interval());
  out.set_reads_per_second(top.reads_per_s);
  out.set_writes_per_second(top.writes_per_s);
  out.set_bytes_per_second(top.bytes_per_s);
  out.set_p50_us(top.p50_us);
  out.set_p99_us(top.p99_us);
  out.set_tier1_hit_ratio(top.hit_ratio1);
  out.set_tier2_hit_ratio(top.hit_ratio2);
  out.set_moved_bytes_per_second(top.moved_bytes_per_s);
  out.set_modification_id(top.modification_id);
  return out;
}

std::vector<v1::HeatRun> ToProto(const std::vector<HeatCell>& cells) {
  std::vector<v1::HeatRun> out;
  for (const HeatCell& cell : cells) {
    const double warmest = OfPermille(Permille(cell.warmest));
    const double mean = OfPermille(Permille(cell.mean));
    if (!out.empty() && out.back().warmest() == warmest && out.back().mean() == mean &&
        out.back().first_block() + out.back().blocks() == cell.range.first) {
      out.back().set_blocks(out.back().blocks() + cell.range.count);
      continue;
    }
    v1::HeatRun& run = out.emplace_back();
    run.set_first_block(cell.range.first);
    run.set_blocks(cell.range.count);
    run.set_warmest(warmest);
    run.set_mean(mean);
  }
  return out;
}

std::vector<v1::TierRun> ToProto(const std::vector<TierRun>& runs) {
  std::vector<v1::TierRun> out;
  for (const TierRun& from : runs) {
    const v1::TierLevel level = ToProto(from.tier);
    const v1::ShadowState state = ToProto(from.state);
    if (!out.empty() && out.back().level() == level && out.back().state() == state &&
        out.back().first_block() + out.back().blocks() == from.range.first) {
      out.back().set_blocks(out.back().blocks() + from.range.count);
      continue;
    }
    v1::TierRun& run = out.emplace_back();
    run.set_first_block(from.range.first);
    run.set_blocks(from.range.count);
    run.set_level(level);
    run.set_state(state);
  }
  return out;
}

Result<TierLevel> FromProto(v1::TierLevel level) {
  switch (level) {
    case v1::TIER_LEVEL_TIER1:
      return TierLevel::kTier1;
    case v1::TIER_LEVEL_TIER2:
      return TierLevel::kTier2;
    case v1::TIER_LEVEL_UNSPECIFIED:
      return MakeError(Code::kInvalidArgument, "It is not said which tier.", "Use tier1 or tier2.");
    default:
      return MakeError(Code::kInvalidArgument,
                       "There is no tier " + std::to_string(static_cast<int>(level)) + ".",
                       "Use tier1 or tier2.");
  }
}

Result<bool> IsWriteBack(v1::TierWriteMode mode) {
  switch (mode) {
    case v1::TIER_WRITE_MODE_WRITE_THROUGH:
      return false;
    case v1::TIER_WRITE_MODE_WRITE_BACK:
      return true;
    default:
      return MakeError(Code::kInvalidArgument,
                       mode == v1::TIER_WRITE_MODE_UNSPECIFIED
                           ? "It is not said what the tier does with writes."
                           : "The mode " + std::to_string(static_cast<int>(mode)) + " is unknown.",
                       "Use writethrough or writeback.");
  }
}

Result<AddTierRequest> FromProto(const v1::AddTierRequest& request) {
  SHADOW_TRY(CheckVolumeName(request.volume()));
  AddTierRequest out;
  SHADOW_ASSIGN(out.level, FromProto(request.level()));
  SHADOW_TRY(CheckPlace("place for the tier", request.to()));
  SHADOW_TRY(CheckTierSize(request.to(), request.size_bytes()));
  if (request.write_mode() != v1::TIER_WRITE_MODE_UNSPECIFIED) {
    SHADOW_ASSIGN(out.write_back, IsWriteBack(request.write_mode()));
  }
  out.volume = request.volume();
  out.to = request.to();
  out.size_bytes = request.size_bytes();
  out.request_id = request.request_id();
  SHADOW_TRY(CheckOverwrite(request.overwrite()));
  out.overwrite = request.overwrite();
  out.unstable_names = request.allow_unstable_names();
  return out;
}

Result<RemoveTierRequest> FromProto(const v1::RemoveTierRequest& request) {
  SHADOW_TRY(CheckVolumeName(request.volume()));
  RemoveTierRequest out;
  SHADOW_ASSIGN(out.level, FromProto(request.level()));
  SHADOW_TRY(CheckForget(request.forget(), request.lost()));
  out.volume = request.volume();
  out.forget = request.forget();
  out.lost = request.lost();
  out.request_id = request.request_id();
  return out;
}

Result<TierPolicy> Changed(const TierPolicy& now, const v1::TierPolicy& wanted) {
  TierPolicy out = now;
  if (wanted.policy() != v1::PLACEMENT_POLICY_UNSPECIFIED) {
    const auto* it = std::find_if(std::begin(kPolicies), std::end(kPolicies),
                                  [&](const PolicyName& p) { return p.value == wanted.policy(); });
    if (it == std::end(kPolicies)) {
      return MakeError(
          Code::kInvalidArgument,
          "The policy " + std::to_string(static_cast<int>(wanted.policy())) + " is unknown.",
          "Use pam, ewma, lru or off.");
    }
    out.policy = it->name;
  }
  if (wanted.has_tier1_heat()) {
    SHADOW_TRY(CheckHeat(wanted.tier1_heat()));
    out.tier1_heat_permille = Permille(wanted.tier1_heat());
  }
  if (wanted.has_tier2_heat()) {
    SHADOW_TRY(CheckHeat(wanted.tier2_heat()));
    out.tier2_heat_permille = Permille(wanted.tier2_heat());
  }
  SHADOW_TRY(CheckThresholds(out.tier1_heat_permille, out.tier2_heat_permille));
  if (wanted.has_budget_bytes_per_minute()) {
    SHADOW_TRY(CheckBudget(wanted.budget_bytes_per_minute()));
    out.budget_bytes_per_minute = wanted.budget_bytes_per_minute();
  }
  if (wanted.has_window()) {
    out.window_ms = DurationMs(wanted.window());
    SHADOW_TRY(CheckWindow(out.window_ms));
  }
  if (wanted.impact() != v1::IMPACT_UNSPECIFIED) {
    SHADOW_ASSIGN(const Impact impact, FromProto(wanted.impact()));
    out.impact = static_cast<std::uint8_t>(impact);
  }
  return out;
}

}  // namespace shadow::rpc
