// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/planner.h"

#include <algorithm>
#include <cmath>

#include "daemon/place/cost.h"

namespace shadow {
namespace {

using place::Cost;
using place::Costs;

/// A shadow and what it saves where it is.
struct Resident {
  double saved = 0;
  std::uint32_t block = 0;
  bool dirty = false;
};

/// A ranked block and what it would save on the tier that is being filled.
struct Candidate {
  double saved = 0;
  const BlockHeat* heat = nullptr;
  const Shadow* shadow = nullptr;
};

/// One round over one input. Residents are asked least valued first; the order never depends on
/// anything but values and block numbers.
class Planner {
 public:
  Planner(const PlanInput& input, const PlanSettings& settings)
      : in_(input), set_(settings), costs_(input, settings) {
    by_block_.reserve(in_.ranking.size());
    for (const BlockHeat& h : in_.ranking) by_block_.push_back(&h);
    std::sort(by_block_.begin(), by_block_.end(),
              [](const BlockHeat* a, const BlockHeat* b) { return a->block < b->block; });
    for (const Shadow& s : in_.shadows) {
      if (s.busy || s.tier == Place::kHome) continue;
      const double saved = costs_.Saved(HeatOf(s.block), s.tier);
      residents_[Index(s.tier)].push_back({saved, s.block, s.dirty});
    }
    for (auto& r : residents_) {
      std::sort(r.begin(), r.end(), [](const Resident& a, const Resident& b) {
        return a.saved != b.saved ? a.saved < b.saved : a.block < b.block;
      });
    }
    for (const Place t : {Place::kTier1, Place::kTier2}) {
      const TierState& tier = costs_.tier(t);
      const std::uint64_t most = tier.slots > tier.reserve ? tier.slots - tier.reserve : 0;
      free_[Index(t)] = most > tier.used ? most - tier.used : 0;
    }
    moved_.assign(in_.shadows.size(), false);
  }

  TierPlan Run() {
    WriteHome(/*due=*/true, in_.budget / 2);
    if (in_.may_promote) {
      Fill(Place::kTier1);
      Fill(Place::kTier2);
      DropUseless();
      KeepReserve(Place::kTier1);
      KeepReserve(Place::kTier2);
    }
    WriteHome(/*due=*/false, in_.budget);
    Sort();
    return std::move(plan_);
  }

  const Costs& costs() const { return costs_; }
  [[nodiscard]] BlockHeat HeatOf(std::uint32_t block) const {
    const auto at =
        std::lower_bound(by_block_.begin(), by_block_.end(), block,
                         [](const BlockHeat* h, std::uint32_t b) { return h->block < b; });
    if (at == by_block_.end() || (*at)->block != block) return {block, 0, 0, 0};
    return **at;
  }
  [[nodiscard]] const Shadow* ShadowOf(std::uint32_t block) const {
    const auto at = std::lower_bound(in_.shadows.begin(), in_.shadows.end(), block,
                                     [](const Shadow& s, std::uint32_t b) { return s.block < b; });
    return at == in_.shadows.end() || at->block != block ? nullptr : &*at;
  }
  /// Least valued shadow of a tier that is not in `plan`; null: none.
  [[nodiscard]] const Resident* Least(Place tier, const TierPlan& plan) const {
    for (const Resident& r : residents_[Index(tier)]) {
      const bool out = std::any_of(plan.moves.begin(), plan.moves.end(),
                                   [&](const Move& m) { return m.block == r.block; });
      if (!out) return &r;
    }
    return nullptr;
  }

  /// What the least valued block saves that the plan promotes to a tier; 0: none.
  [[nodiscard]] double LeastPromoted(Place tier, const TierPlan& plan) const {
    double least = 0;
    for (const Move& m : plan.moves) {
      if (m.kind != MoveKind::kPromote || m.tier != tier) continue;
      const double saved = costs_.Saved(HeatOf(m.block), tier);
      least = least == 0 ? saved : std::min(least, saved);
    }
    return least;
  }

 private:
  static std::size_t Index(Place p) { return static_cast<std::size_t>(p); }
  std::vector<bool>::reference Moved(const Shadow* s) {
    return moved_[static_cast<std::size_t>(s - in_.shadows.data())];
  }
  [[nodiscard]] std::uint64_t BudgetLeft() const {
    return in_.budget > plan_.state.bytes ? in_.budget - plan_.state.bytes : 0;
  }

  /// Adds moves that belong together, or none of them.
  bool Add(const std::vector<Move>& moves) {
    std::uint64_t bytes = 0;
    for (const Move& m : moves) bytes += m.bytes;
    if (bytes > BudgetLeft()) {
      plan_.state.budget_exhausted = true;
      ++plan_.state.left_out;
      return false;
    }
    if (plan_.moves.size() + moves.size() > set_.most_moves) {
      plan_.state.cut = true;
      ++plan_.state.left_out;
      return false;
    }
    for (const Move& m : moves) {
      plan_.moves.push_back(m);
      plan_.state.bytes += m.bytes;
      plan_.state.promotes += m.kind == MoveKind::kPromote ? 1 : 0;
      plan_.state.demotes += m.kind == MoveKind::kDemote ? 1 : 0;
      plan_.state.writebacks += m.kind == MoveKind::kWriteback ? 1 : 0;
      if (const Shadow* s = ShadowOf(m.block); s != nullptr) Moved(s) = true;
    }
    return true;
  }

  Move Demote(const Shadow& s, double benefit, double cost) const {
    return {MoveKind::kDemote, s.block, s.tier, s.dirty, s.dirty ? in_.block_bytes : 0,
            benefit,           cost};
  }

  std::vector<Candidate> CandidatesFor(Place tier) {
    std::vector<Candidate> out;
    for (const BlockHeat& h : in_.ranking) {
      const Shadow* s = ShadowOf(h.block);
      if (s != nullptr && (s->busy || Moved(s) || s->tier == tier || s->tier == Place::kTier1)) {
        continue;
      }
      if (s == nullptr && taken_[Index(Place::kTier1)].size() > 0 &&
          std::binary_search(taken_[Index(Place::kTier1)].begin(),
                             taken_[Index(Place::kTier1)].end(), h.block)) {
        continue;
      }
      const double saved = costs_.Saved(h, tier);
      if (saved > 0) out.push_back({saved, &h, s});
    }
    std::sort(out.begin(), out.end(), [](const Candidate& a, const Candidate& b) {
      return a.saved != b.saved ? a.saved > b.saved : a.heat->block < b.heat->block;
    });
    return out;
  }

  void Fill(Place tier) {
    const TierState& state = costs_.tier(tier);
    if (state.slots == 0 || !state.usable || in_.block_bytes == 0) return;
    const std::vector<Resident>& residents = residents_[Index(tier)];
    std::size_t victim = 0;
    std::uint64_t& free = free_[Index(tier)];
    std::vector<std::uint32_t>& taken = taken_[Index(tier)];
    for (const Candidate& c : CandidatesFor(tier)) {
      const Place from = c.shadow == nullptr ? Place::kHome : c.shadow->tier;
      const double now = from == Place::kHome ? 0 : costs_.Saved(*c.heat, from);
      const bool dirty = c.shadow != nullptr && c.shadow->dirty;
      const Cost cost = costs_.Promote(*c.heat, from, dirty, tier);
      const double margin = costs_.Margin(c.heat->heat, tier);
      const double benefit = c.saved - now;
      if (!(benefit > margin * cost.Sum())) continue;
      const Shadow* out = nullptr;
      double evict = 0;
      double lost = 0;
      if (free == 0) {
        while (victim < residents.size() && Moved(ShadowOf(residents[victim].block))) ++victim;
        if (victim < residents.size()) {
          const Resident& r = residents[victim];
          evict = r.dirty ? costs_.WriteHome(tier).Sum() : 0;
          lost = std::max(0.0, r.saved);
          if (costs_.SwapPays(benefit, lost, margin, cost.Sum() + evict)) out = ShadowOf(r.block);
        }
        if (out == nullptr) {
          (tier == Place::kTier1 ? plan_.state.tier1_full : plan_.state.tier2_full) = true;
          ++plan_.state.left_out;
          continue;
        }
      }
      std::vector<Move> moves;
      if (from != Place::kHome) {
        // A shadow moves up by way of home: dropped now, promoted in a round to come. Its place is
        // kept, and nobody is pushed out before.
        moves.push_back(Demote(*c.shadow, benefit, cost.Sum()));
      } else {
        if (out != nullptr) moves.push_back(Demote(*out, benefit - lost, evict));
        moves.push_back({MoveKind::kPromote, c.heat->block, tier, false, in_.block_bytes,
                         benefit - lost, cost.Sum() + evict});
      }
      if (!Add(moves)) {
        if (plan_.state.cut || BudgetLeft() < in_.block_bytes) break;
        continue;
      }
      if (out != nullptr) ++victim;
      if (out == nullptr) --free;
      if (from == Place::kHome) taken.push_back(c.heat->block);
    }
    std::sort(taken.begin(), taken.end());
  }

  /// Shadows that make their block slower than it would be on home.
  void DropUseless() {
    for (const Place t : {Place::kTier1, Place::kTier2}) {
      for (const Resident& r : residents_[Index(t)]) {
        if (r.saved >= 0) break;
        const Shadow* s = ShadowOf(r.block);
        if (Moved(s)) continue;
        const double cost = s->dirty ? costs_.WriteHome(t).Sum() : 0;
        if (-r.saved > set_.margin * cost) (void)Add({Demote(*s, -r.saved, cost)});
      }
    }
  }

  /// Frees slots for blocks that reads fetch: of what was least valued among the clean, which the
  /// fetched ones of before are, too. Each is charged with the fetch that it is for.
  void KeepReserve(Place tier) {
    const TierState& state = costs_.tier(tier);
    std::uint64_t after = state.used;
    for (const Move& m : plan_.moves) {
      if (m.tier != tier || m.kind == MoveKind::kWriteback) continue;
      m.kind == MoveKind::kPromote ? ++after : --after;
    }
    for (const Resident& r : residents_[Index(tier)]) {
      if (after + state.reserve <= state.slots) return;
      const Shadow* s = ShadowOf(r.block);
      if (r.dirty || Moved(s)) continue;
      Move out = Demote(*s, 0, 0);
      out.bytes = in_.block_bytes;
      if (!Add({out})) return;
      --after;
    }
  }

  void WriteHome(bool due, std::uint64_t until) {
    struct Dirty {
      const Shadow* shadow;
      float writes;
    };
    std::vector<Dirty> dirty;
    for (const Shadow& s : in_.shadows) {
      if (!s.dirty || s.busy || s.tier == Place::kHome || Moved(&s)) continue;
      const BlockHeat h = HeatOf(s.block);
      const bool now = s.dirty_windows >= set_.writeback_windows || !costs_.tier(s.tier).usable;
      if (due ? now : costs_.Belongs(h.heat) == Place::kHome) dirty.push_back({&s, h.writes});
    }
    std::sort(dirty.begin(), dirty.end(), [](const Dirty& a, const Dirty& b) {
      return a.writes != b.writes ? a.writes < b.writes : a.shadow->block < b.shadow->block;
    });
    for (const Dirty& d : dirty) {
      if (plan_.state.bytes + in_.block_bytes > until) {
        plan_.state.budget_exhausted = true;
        plan_.state.left_out += 1;
        continue;
      }
      (void)Add({{MoveKind::kWriteback, d.shadow->block, d.shadow->tier, true, in_.block_bytes, 0,
                  costs_.WriteHome(d.shadow->tier).Sum()}});
    }
  }

  void Sort() {
    std::stable_sort(plan_.moves.begin(), plan_.moves.end(), [](const Move& a, const Move& b) {
      return (a.kind == MoveKind::kPromote) < (b.kind == MoveKind::kPromote);
    });
  }

  const PlanInput& in_;
  const PlanSettings& set_;
  Costs costs_;
  std::vector<const BlockHeat*> by_block_;
  std::array<std::vector<Resident>, kPlaces> residents_;
  std::array<std::uint64_t, kPlaces> free_{};
  std::array<std::vector<std::uint32_t>, kPlaces> taken_;  // promoted there by this plan
  std::vector<bool> moved_;                                // by index of in_.shadows
  TierPlan plan_;
};

/// Slots of a tier that are free when the plan is done.
std::uint64_t FreeAfter(const TierState& tier, Place place, const TierPlan& plan) {
  std::uint64_t used = tier.used;
  std::uint64_t freed = 0;
  for (const Move& m : plan.moves) {
    if (m.tier != place) continue;
    used += m.kind == MoveKind::kPromote ? 1 : 0;
    freed += m.kind == MoveKind::kDemote ? 1 : 0;
  }
  return tier.slots + freed > used ? tier.slots + freed - used : 0;
}

/// What a sentence needs of a number: "0.42", "17", "1234".
std::string Short(double v) {
  char text[32];
  std::snprintf(text, sizeof(text), std::fabs(v) < 10 ? "%.2f" : "%.0f", v);
  return text;
}

}  // namespace

const char* PlaceName(Place place) {
  return place == Place::kTier1 ? "tier1" : place == Place::kTier2 ? "tier2" : "home";
}

const char* MoveName(MoveKind kind) {
  return kind == MoveKind::kPromote  ? "promote"
         : kind == MoveKind::kDemote ? "demote"
                                     : "writeback";
}

TierPlan PlanMoves(const PlanInput& input, const PlanSettings& settings) {
  return Planner(input, settings).Run();
}

Explanation ExplainBlock(const PlanInput& input, const PlanSettings& settings, const TierPlan& plan,
                         std::uint32_t block) {
  const Planner planner(input, settings);
  const Costs& costs = planner.costs();
  const BlockHeat h = planner.HeatOf(block);
  const Shadow* shadow = planner.ShadowOf(block);
  Explanation e;
  e.block = block;
  e.place = shadow == nullptr ? Place::kHome : shadow->tier;
  e.dirty = shadow != nullptr && shadow->dirty;
  e.busy = shadow != nullptr && shadow->busy;
  e.belongs = costs.Belongs(h.heat);
  e.heat = h.heat;
  e.accesses = h.accesses;
  e.writes = h.writes;
  e.threshold1 = settings.tier1_heat;
  e.threshold2 = settings.tier2_heat;
  e.read_ms[0] = input.home.read_ms;
  e.write_ms[0] = input.home.write_ms;
  const double here = e.place == Place::kHome ? 0 : costs.Saved(h, e.place);
  double best = -1e300;
  for (const Place t : {Place::kTier1, Place::kTier2}) {
    const auto i = static_cast<std::size_t>(t);
    const TierState& tier = costs.tier(t);
    if (tier.slots == 0) continue;
    e.read_ms[i] = tier.speed.read_ms;
    e.write_ms[i] = tier.speed.write_ms;
    e.saved_ms[i] = costs.Saved(h, t);
    if (t == e.place || (e.place == Place::kTier1 && t == Place::kTier2)) continue;
    const Cost cost = costs.Promote(h, e.place, e.dirty, t);
    e.cost_ms[i] = cost.Sum();
    const Resident* least = nullptr;
    double victim = 0;
    if (FreeAfter(tier, t, plan) == 0) {
      least = planner.Least(t, plan);
      victim = least != nullptr ? std::max(0.0, least->saved) : planner.LeastPromoted(t, plan);
    }
    const double evict = least != nullptr && least->dirty ? costs.WriteHome(t).Sum() : 0;
    const double net = e.saved_ms[i] - here - victim - cost.Sum() - evict;
    if (net <= best) continue;
    best = net;
    e.best = t;
    e.margin = costs.Margin(h.heat, t);
    e.victim_ms = victim;
    e.evict_ms = evict;
    e.benefit_ms = e.saved_ms[i] - here;
    e.best_cost_ms = cost.Sum() + evict;
    e.transfer_ms = cost.transfer;
    e.interference_ms = cost.interference;
    e.wear_ms = cost.wear;
    e.writeback_ms = cost.writeback;
  }
  const auto move = std::find_if(plan.moves.begin(), plan.moves.end(),
                                 [&](const Move& m) { return m.block == block; });
  const std::string sum =
      "it is expected to save " + Short(e.benefit_ms) + " ms on " + PlaceName(e.best);
  const std::string need = "moving it costs " + Short(e.best_cost_ms) +
                           " ms, which has to be earned " + Short(e.margin) + " times";
  e.decision = "stay";
  if (move != plan.moves.end()) {
    e.decision = MoveName(move->kind);
    if (move->kind == MoveKind::kPromote) {
      e.why = "It goes to " + std::string(PlaceName(move->tier)) + ": " + Short(move->benefit_ms) +
              " ms saved for " + Short(move->cost_ms) + " ms.";
    } else if (move->kind == MoveKind::kWriteback) {
      e.why = shadow != nullptr && shadow->dirty_windows >= settings.writeback_windows
                  ? "It has been dirty for " + std::to_string(shadow->dirty_windows) +
                        " windows and goes home; its shadow stays."
                  : "It is dirty and belongs on home; its shadow stays until the slot is needed.";
    } else if (e.best == Place::kTier1 && e.place == Place::kTier2 && e.benefit_ms > 0) {
      e.why = "It leaves tier2 to go to tier1 in the next round: " + sum + ", " + need + ".";
    } else {
      e.why = "A block that saves more needs its slot; this one saves " + Short(here) + " ms.";
    }
  } else if (e.busy) {
    e.decision = "wait";
    e.why = "Its shadow is on the way; it is looked at again when that is done.";
  } else if (!input.may_promote) {
    e.why = "The policy is off: nothing is promoted.";
  } else if (e.best == Place::kHome) {
    e.why = e.place == Place::kHome ? "The volume has no tier that could hold it."
                                    : "It is where it saves most.";
  } else if (!costs.tier(e.best).usable) {
    e.why = std::string(PlaceName(e.best)) + " is missing or failed; nothing is promoted to it.";
  } else if (!(e.benefit_ms > e.margin * (e.best_cost_ms - e.evict_ms))) {
    e.why = "Not worth the move: " + sum + ", " + need + ".";
  } else if (e.victim_ms > 0 &&
             !costs.SwapPays(e.benefit_ms, e.victim_ms, e.margin, e.best_cost_ms)) {
    e.why = std::string(PlaceName(e.best)) + " is full: " + sum +
            ", and the least valued block there saves " + Short(e.victim_ms) + " ms.";
  } else if (plan.state.budget_exhausted) {
    e.decision = "wait";
    e.why = "It is worth the move, but the budget of bytes is used up.";
  } else {
    e.decision = "wait";
    e.why = "It is worth the move, but has to wait for a slot or for the next round.";
  }
  return e;
}

}  // namespace shadow
