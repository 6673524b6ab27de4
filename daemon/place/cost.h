// SPDX-License-Identifier: Apache-2.0
// What a block saves on a tier and what moving it costs, in milliseconds: the formulae of
// docs/placement.md. Pure.
#pragma once

#include "daemon/place/planner.h"

namespace shadow::place {

struct Cost {
  double transfer = 0;      // devices are busy with it
  double interference = 0;  // the application waits longer meanwhile
  double wear = 0;
  double writeback = 0;  // it will be dirty and has to go home one day
  [[nodiscard]] double Sum() const { return transfer + interference + wear + writeback; }
};

class Costs {
 public:
  /// Both must outlive it.
  Costs(const PlanInput& input, const PlanSettings& settings) : in_(input), set_(settings) {}

  /// kHome has no state of its own: tier2's is given.
  [[nodiscard]] const TierState& tier(Place p) const {
    return p == Place::kTier1 ? in_.tier1 : in_.tier2;
  }
  /// Where a block belongs by its heat alone; a tier that the volume does not have is passed over.
  [[nodiscard]] Place Belongs(double heat) const;
  /// Expected milliseconds saved on a tier against home; negative if it is slower.
  [[nodiscard]] double Saved(const BlockHeat& h, Place tier) const;
  /// Of making a shadow on `to` of a block that is read from `from`.
  [[nodiscard]] Cost Promote(const BlockHeat& h, Place from, bool dirty, Place to) const;
  /// Of copying a dirty shadow home.
  [[nodiscard]] Cost WriteHome(Place tier) const;
  /// How many times a move to `tier` has to earn its cost.
  [[nodiscard]] double Margin(double heat, Place tier) const;
  /// Is a benefit worth pushing out a block that saves `lost`?
  [[nodiscard]] bool SwapPays(double benefit, double lost, double margin, double cost) const {
    return benefit > (1 + set_.hysteresis) * lost + margin * cost;
  }

 private:
  [[nodiscard]] Cost Copy(const LegSpeed& from, const LegSpeed& to) const;

  const PlanInput& in_;
  const PlanSettings& set_;
};

}  // namespace shadow::place
