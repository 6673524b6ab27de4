// SPDX-License-Identifier: Apache-2.0
// Which shadows are made, dropped and written home in a round, and why: pure functions.
//
// A move is done only if what it is expected to save is more than what it costs (docs/placement.md
// has the formulae). Milliseconds are milliseconds of waiting or of a busy device, MiB are 2^20
// bytes. Nothing here is owned, blocks or fails; input that makes no sense (a tier of no slots, a
// speed of 0) makes no moves.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "daemon/place/policy.h"

namespace shadow {

/// Where a block is read from.
enum class Place : std::uint8_t { kHome = 0, kTier1 = 1, kTier2 = 2 };
inline constexpr int kPlaces = 3;
/// "home", "tier1", "tier2".
[[nodiscard]] const char* PlaceName(Place place);

/// A shadow as the kernel's `tiers` message has it.
struct Shadow {
  std::uint32_t block = 0;
  Place tier = Place::kTier1;
  bool dirty = false;  // only the shadow is current
  bool busy = false;   // promoting, cleaning or dropping: left alone
  /// Windows that it has been dirty at a stretch, as far as we saw.
  std::uint32_t dirty_windows = 0;
};

/// What a leg does, as measured on this machine.
struct LegSpeed {
  double read_ms = 0, write_ms = 0;        // one small random access
  double read_mib_s = 0, write_mib_s = 0;  // sequential
};

struct TierState {
  std::uint64_t slots = 0;  // 0: the volume has no such tier
  std::uint64_t used = 0;   // slots that hold a shadow or are not free yet
  bool write_back = false;  // writes to its blocks go to the shadow alone
  bool usable = true;       // false: missing or failed; nothing is promoted to it
  LegSpeed speed;
  std::uint64_t reserve = 0;  // slots to be kept free for blocks that reads fetch
};

/// The settings of a volume's placement. All have defaults that are meant to be left alone.
struct PlanSettings {
  double tier1_heat = 0.7;  // belongs on tier 1 from this heat on, 0..1
  double tier2_heat = 0.3;  // belongs on tier 2 from this heat on; below: on home
  /// A move must be worth this many times its cost.
  double margin = 1.5;
  /// The same for a block that only fills a tier, being less hot than what belongs there.
  double fill_margin = 3;
  /// To push a shadow out, a block must also save so much more than that one: 0.25 is a quarter.
  double hysteresis = 0.25;
  /// Wear of a fast device, in ms for each MiB written to it.
  double wear_ms_per_mib = 1;
  /// A dirty shadow goes home after so many windows, or when it belongs on home.
  std::uint32_t writeback_windows = 120;
  /// At most so many moves are planned in a round.
  std::size_t most_moves = 4096;
};

struct PlanInput {
  std::span<const BlockHeat> ranking;  // any order; each block at most once
  std::span<const Shadow> shadows;     // ascending by block, each once; all that there are
  std::uint64_t block_bytes = 0;
  LegSpeed home;
  TierState tier1, tier2;
  std::uint64_t rate = 0;      // bytes/s that moves may take now; 0: as fast as the devices
  double foreground_iops = 0;  // of the application now
  double foreground_ms = 0;    // how much longer one of these takes while a block moves
  std::uint64_t budget = 0;    // bytes that may still be moved now
  bool may_promote = true;     // false: policy off; shadows stay, dirty ones go home
};

enum class MoveKind : std::uint8_t { kWriteback, kDemote, kPromote };
[[nodiscard]] const char* MoveName(MoveKind kind);  // "writeback", "demote", "promote"

struct Move {
  MoveKind kind = MoveKind::kPromote;
  std::uint32_t block = 0;
  Place tier = Place::kTier1;  // promote: where to; else where the shadow is
  bool was_dirty = false;      // demote: the kernel writes it home first, which is in `bytes`
  std::uint64_t bytes = 0;
  double benefit_ms = 0, cost_ms = 0;
};

/// What a plan could not do.
struct PlanState {
  std::uint64_t promotes = 0, demotes = 0, writebacks = 0;
  std::uint64_t bytes = 0;                      // of all moves, and of fetches to freed slots
  bool budget_exhausted = false;                // a move that pays was left out for want of budget
  bool tier1_full = false, tier2_full = false;  // one was left out for want of a worthwhile swap
  bool cut = false;                             // at most_moves
  std::uint64_t left_out = 0;                   // moves that pay and were left out, for any reason
};

/// Moves in the order they are to be done: writebacks and demotes first. A promote may need the
/// slot of a demote before it: send promotes when the tier queue of those has run empty.
struct TierPlan {
  std::vector<Move> moves;
  PlanState state;
};

[[nodiscard]] TierPlan PlanMoves(const PlanInput& input, const PlanSettings& settings);

/// Everything that decides about one block, in the units of docs/placement.md.
struct Explanation {
  std::uint32_t block = 0;
  Place place = Place::kHome;  // where it is read now
  bool dirty = false, busy = false;
  Place belongs = Place::kHome;     // by heat and thresholds
  float heat = 0;                   // 0..1
  double accesses = 0, writes = 0;  // expected, discounted
  double threshold1 = 0, threshold2 = 0;
  std::array<double, kPlaces> read_ms{}, write_ms{};  // by Place; 0: no such tier
  std::array<double, kPlaces> saved_ms{};  // expected, if it were there instead of on home
  std::array<double, kPlaces> cost_ms{};   // of moving it there from where it is
  // The parts of the cost of moving it to `best`; `evict_ms`: writing home what it pushes out.
  double transfer_ms = 0, interference_ms = 0, wear_ms = 0, writeback_ms = 0, evict_ms = 0;
  double margin = 0;     // benefit must be more than margin x cost
  double victim_ms = 0;  // what the block that it would push out saves; 0: a slot is free
  double benefit_ms = 0, best_cost_ms = 0;  // of the best move there is
  Place best = Place::kHome;                // where that would put it
  std::string decision;                     // "stay", "promote", "demote", "writeback", "wait"
  std::string why;                          // one sentence
};

/// What PlanMoves() thinks of one block. `plan` is what it said to this input.
[[nodiscard]] Explanation ExplainBlock(const PlanInput& input, const PlanSettings& settings,
                                       const TierPlan& plan, std::uint32_t block);

}  // namespace shadow
