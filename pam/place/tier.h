// SPDX-License-Identifier: Apache-2.0
// A fast tier that is filled by value: a block is moved in when what it will save, less what the
// block it pushes out would have saved, is more than the move costs.
//
// One thread, for the simulators. `Stats` (accesses of every block, decayed at several half-lives,
// and what the model said) is shared by all tiers of a simulation; a tier only holds its content.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <string>
#include <vector>

#include "pam/place/simulate.h"
#include "pam/place/streams.h"

namespace shadow::pam::internal {

inline constexpr int kStatHalfLives = 4;
inline constexpr std::array<double, kStatHalfLives> kStatMinutes = {0.5, 10, 240, 1440};
enum StatHalfLife : int { kSeconds30, kMinutes10, kHours4, kDay1 };

/// Decayed counts per block and the model's expectations; blocks are dense indices here.
class Stats {
 public:
  explicit Stats(std::size_t blocks) : blocks_(blocks) {}
  void Access(std::uint32_t block, double minute);
  void Expect(std::uint32_t block, double future) {
    blocks_[block].future = static_cast<float>(future);
  }
  /// EWMA of accesses as of `minute`.
  [[nodiscard]] double Ewma(std::uint32_t block, int half_life, double minute) const;
  [[nodiscard]] double Future(std::uint32_t block) const { return blocks_[block].future; }
  /// Minute of the last access.
  [[nodiscard]] double Last(std::uint32_t block) const { return blocks_[block].minute; }
  [[nodiscard]] bool Known(std::uint32_t block) const { return blocks_[block].minute >= 0; }
  [[nodiscard]] std::size_t size() const { return blocks_.size(); }
  bool model_known = false;  // Expect() was called: `Future` means something

 private:
  struct Block {
    double minute = -1;
    std::array<float, kStatHalfLives> ewma{};
    float future = 0;
  };
  std::vector<Block> blocks_;
};

/// How a tier values blocks and when it moves them. In two parts: what the running burst still
/// brings, and what the block is worth in the long run. The second part is bent, because a block
/// that is pushed out comes back for the price of a move and some misses whenever it is wanted:
/// without it no burst, however large, would ever displace a block that is warm all day.
struct TierRule {
  std::string name;
  double seconds30 = 0;    // weight of the EWMA with a half-life of 30 s, the burst
  double minutes10 = 0;    // the same, 10 min
  double bend = 0;         // accesses; of the EWMA over a day, x, bend * log1p(x / bend) counts.
                           // 0: the value is not in two parts but the EWMA over 4 hours
  double model_share = 0;  // without parts: weight of the model's expectation, the rest is EWMA
  bool lru = false;        // promotes every block it misses, pushing out the one unused the longest
  bool by_rank = false;    // ignores the move cost (naive)
  bool streams = false;    // moves blocks in ahead of sequential streams, too
  /// Decides at each access, not at the end of a window.
  [[nodiscard]] bool reactive() const { return bend > 0 || lru; }
};

class Link {
 public:
  explicit Link(const SimOptions& o) : options_(o) {}
  /// When a block moved now serves hits, in ms; negative if the backlog is full.
  double Start(double now_ms, double block_mib);

 private:
  SimOptions options_;
  double free_ms_ = 0;
};

class Tier {
 public:
  /// streams: needed by rules that look ahead; else it may be null.
  Tier(TierRule rule, std::size_t capacity, double block_mib, const Stats& stats,
       const SimOptions& options, const Streams* streams = nullptr);
  /// Latency of an access, ms. stats and streams must have taken it in already.
  double Access(std::uint32_t block, double minute);
  /// End of a window: places by value, or looks afresh at who is worth least.
  void Rebalance(double minute);
  /// Another rule from here on; the content stays.
  void SetRule(const TierRule& rule) {
    rule_ = rule;
    Look();
  }
  [[nodiscard]] const TierRule& rule() const { return rule_; }
  [[nodiscard]] std::uint64_t moves() const { return moves_; }
  /// Values from outside instead of the rule's (the clairvoyant); [blocks] or empty.
  std::vector<double> override_value;

 private:
  [[nodiscard]] double Value(std::uint32_t block, double minute) const;
  [[nodiscard]] bool Worth(double value, double lost) const;
  bool Promote(std::uint32_t block, double minute);
  void Drop(std::uint32_t block);
  /// Moves `block` in, pushing out another one if need be, if that is worth it. A victim's loss
  /// counts no more than `most`.
  bool MoveIn(std::uint32_t block, double value, double minute,
              double most = std::numeric_limits<double>::infinity());
  [[nodiscard]] double Threshold() const {
    return options_.move_ms / (options_.slow_ms - options_.fast_ms);
  }
  /// A visit to `block` began: moves what is worth it of the stream, from here on.
  void LookAhead(std::uint32_t block, double minute);
  /// A block that a stream has left behind, or kNone.
  std::uint32_t LeftBehind(double minute);
  void Look() {
    victims_.clear();
    next_victim_ = 0;
  }

  TierRule rule_;
  std::size_t capacity_;
  double block_mib_;
  const Stats& stats_;
  SimOptions options_;
  const Streams* streams_;
  Link link_;
  std::vector<double> ready_ms_;  // [blocks]; < 0: not in the tier
  std::vector<std::uint32_t> content_;
  std::vector<std::uint32_t> where_;    // [blocks]: place in content_
  std::vector<std::uint32_t> victims_;  // least valued first, as of the last look
  std::size_t next_victim_ = 0;
  std::deque<std::uint32_t> ahead_;  // moved in for a stream, oldest first
  std::vector<double> for_stream_;   // [blocks]: minute it was; < 0: it was not
  std::uint64_t moves_ = 0;
};

}  // namespace shadow::pam::internal
