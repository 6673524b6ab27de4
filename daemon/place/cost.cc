// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/cost.h"

#include <algorithm>
#include <cmath>

namespace shadow::place {
namespace {

constexpr double kMib = 1 << 20;

/// What the other leg of a write that goes to both adds to it.
double Beyond(double tier_ms, double home_ms) { return std::max(0.0, tier_ms - home_ms); }

}  // namespace

Place Costs::Belongs(double heat) const {
  if (heat >= set_.tier1_heat && in_.tier1.slots > 0) return Place::kTier1;
  if (heat >= set_.tier2_heat && in_.tier2.slots > 0) return Place::kTier2;
  return Place::kHome;
}

double Costs::Saved(const BlockHeat& h, Place place) const {
  const TierState& t = tier(place);
  const double writes = std::clamp<double>(h.writes, 0, std::max(0.0F, h.accesses));
  const double reads = std::max(0.0, h.accesses - writes);
  const double per_write = t.write_back ? in_.home.write_ms - t.speed.write_ms
                                        : -Beyond(t.speed.write_ms, in_.home.write_ms);
  return reads * (in_.home.read_ms - t.speed.read_ms) + writes * per_write;
}

Cost Costs::Copy(const LegSpeed& from, const LegSpeed& to) const {
  double mib_s = 1e9;
  if (from.read_mib_s > 0) mib_s = std::min(mib_s, from.read_mib_s);
  if (to.write_mib_s > 0) mib_s = std::min(mib_s, to.write_mib_s);
  if (in_.rate > 0) mib_s = std::min(mib_s, static_cast<double>(in_.rate) / kMib);
  Cost cost;
  cost.transfer =
      from.read_ms + to.write_ms + static_cast<double>(in_.block_bytes) / kMib / mib_s * 1000;
  cost.interference = in_.foreground_iops * cost.transfer / 1000 * in_.foreground_ms;
  return cost;
}

Cost Costs::WriteHome(Place place) const { return Copy(tier(place).speed, in_.home); }

Cost Costs::Promote(const BlockHeat& h, Place from, bool dirty, Place to) const {
  Cost cost = Copy(in_.home, tier(to).speed);
  if (dirty && from != Place::kHome) {  // goes home first
    const Cost home = WriteHome(from);
    cost.transfer += home.transfer;
    cost.interference += home.interference;
  }
  cost.wear = set_.wear_ms_per_mib * static_cast<double>(in_.block_bytes) / kMib;
  if (tier(to).write_back && h.writes > 0) {
    cost.writeback = -std::expm1(-static_cast<double>(h.writes)) * WriteHome(to).Sum();
  }
  return cost;
}

double Costs::Margin(double heat, Place place) const {
  const double threshold = place == Place::kTier1 ? set_.tier1_heat : set_.tier2_heat;
  return heat >= threshold ? set_.margin : std::max(set_.margin, set_.fill_margin);
}

}  // namespace shadow::place
