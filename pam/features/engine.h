// SPDX-License-Identifier: Apache-2.0
// The feature state of a volume: what is remembered of every block ever touched, and the features
// asked of it. The same code serves training (replay) and the on-line model, so they cannot differ.
//
// One thread. Fed one closed window after the other; a query answers "as of the end of the last
// closed window" and can therefore not see the future. Idle blocks cost nothing per window: their
// averages decay when they are asked. Memory: sizeof(BlockState) a block, an index of 4 bytes at a
// load of 0.4 to 0.8, and rings bounded by MemoryBudget. Units: windows for times, accesses for
// counts.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "pam/features/chunked.h"
#include "pam/features/fastmath.h"
#include "pam/window/windowing.h"

namespace shadow::pam {

/// The query features, in the order Query() writes them. All log1p unless said otherwise.
enum Feature : std::uint8_t {
  kCount1,
  kCount5,
  kCount30,
  kCount240,
  kCount1440,  // EWMA of counts, half-life in minutes
  kHit1,
  kHit5,
  kHit30,
  kHit240,
  kHit1440,  // EWMA of the indicator "was accessed"
  kIdle,     // windows since the last access (0: in this one)
  kGap,      // windows between the last two accesses
  kPhase,    // (idle + 1) / gap
  kNow,      // accesses in the window just closed
  kWrites,   // EWMA of writes, 30 min
  kLeft1,
  kLeft5,
  kLeft240,
  kLeftIdle,  // the neighbour before
  kRight1,
  kRight5,
  kRight240,
  kRightIdle,  // and after
  kRegion5,
  kRegion60,       // EWMA of accesses of the 64-block region
  kHourAgo,        // 0/1: accessed one hour before the window asked about
  kHourHits,       // share of the last 23 hours in which it was accessed at this minute
  kYesterday,      // 0/1: accessed at this time yesterday
  kYesterdayNear,  // accesses yesterday from 2 windows before to 5 after this time, log1p
  kWeekAgo,        // 0/1
  kPeriod,   // best share of hits on the multiples of a period of 2..31 windows that is due now
  kDensity,  // accessed windows of the last 64, / 64
  kSameRun,  // windows in a row accessed (0 if not now), log1p, at most 64
  kSpikeOps,
  kSpikeBytes,  // log ratio of the volume's operations / bytes to their own EWMA (5 min)
  kSinDay,
  kCosDay,
  kSinWeek,
  kCosWeek,  // wall clock; 0 unless known and three days are recorded
  kProfile0,
  kProfile1,  // embedding of the user profile / volume metadata; 0 if none
  kFeatures
};

/// Inputs of one LSTM step (an active window of a block).
enum EventInput : std::uint8_t {
  kEvGap,
  kEvCount,
  kEvWriteShare,
  kEvVolume,
  kEvRegion,
  kEvLeft,
  kEvRight,
  kEvValid,
  kEventInputs
};

inline constexpr int kHidden = 32;

struct EngineOptions {
  std::int64_t window_us = 60'000'000;
  std::int64_t start_us = 0;  // wall time of window 0, meaningful if wall_clock
  bool wall_clock = false;
  std::array<float, 2> profile{};  // caller's embedding of profile and metadata, each within -1..1
  /// Bytes the rings of past windows may take for each known block, above a floor of 1 MiB.
  std::uint32_t ring_bytes_per_block = 8;
};

/// All that is kept of one block. Half floats are stored as bits (fastmath.h).
struct BlockState {
  std::uint64_t recent = 0;  // bit i: accessed i windows before `last`
  std::uint32_t block = 0;
  std::uint32_t last = 0;             // window of the last access
  std::array<float, 2> count_slow{};  // 240, 1440 min, as of `last`
  std::array<float, 2> hit_slow{};
  std::array<std::uint16_t, 3> count_fast{};  // 1, 5, 30 min
  std::array<std::uint16_t, 3> hit_fast{};
  std::uint16_t writes = 0;  // half, 30 min
  std::uint16_t gap = 0;     // half, windows; 0 if accessed in one window only
  std::uint16_t now = 0;     // half, accesses in `last`
  std::uint16_t mark = 0;    // what the rings say about the coming window (see kMark*)
};

class FeatureEngine {
 public:
  explicit FeatureEngine(const EngineOptions& options);

  /// Takes the next window's accesses (ascending by block). New blocks are added in that order.
  void Close(const Window& window);

  /// Passes over windows of which nothing is known, as if nobody had accessed anything.
  void Skip(std::uint32_t windows);
  /// Wall time at which window 0 began.
  void SetClock(std::int64_t start_us) {
    options_.start_us = start_us;
    options_.wall_clock = true;
  }

  /// Windows closed so far; features speak about window now() (the one not seen yet).
  [[nodiscard]] std::uint32_t now() const { return now_; }
  /// Blocks known; they are numbered 0..size()-1 in the order of their first access.
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(states_.size()); }
  [[nodiscard]] const BlockState& state(std::uint32_t index) const { return states_[index]; }
  /// Index of a block, or kNone.
  static constexpr std::uint32_t kNone = 0xffffffffu;
  [[nodiscard]] std::uint32_t Find(std::uint32_t block) const;

  /// Indices of the blocks active in the window closed last, ascending by block.
  [[nodiscard]] const std::vector<std::uint32_t>& active() const { return active_; }
  /// LSTM inputs of active()[i]; shape [kEventInputs].
  [[nodiscard]] std::span<const float> event(std::size_t i) const {
    return std::span(events_).subspan(i * kEventInputs, kEventInputs);
  }
  /// Blocks whose rings say something about the coming window (they deserve a fresh score).
  [[nodiscard]] const std::vector<std::uint32_t>& marked() const { return marked_; }

  /// Writes the kFeatures features of a block.
  void Query(std::uint32_t index, float* out) const;
  /// Windows since the last access (0: in the window closed last).
  [[nodiscard]] std::uint32_t Idle(std::uint32_t index) const {
    return now_ - 1 - states_[index].last;
  }
  /// Class of a block that was never seen: 0 its left neighbour was accessed in the last window;
  /// else its 64-block region was accessed 1 in the last window, 2 within 5 min, 3 within an hour,
  /// 4 ever, 5 never.
  [[nodiscard]] int UnseenClass(std::uint32_t block) const;
  static constexpr int kRegionClasses = 6;
  /// How many never-seen blocks of a volume of `blocks` blocks are in each class.
  [[nodiscard]] std::array<std::uint64_t, kRegionClasses> UnseenPerClass(
      std::uint64_t blocks) const;

  [[nodiscard]] std::size_t Bytes() const;
  [[nodiscard]] const EngineOptions& options() const { return options_; }

  /// Everything as bytes and back (the caller adds magic, version, checksum). Load refuses what
  /// does not fit with kDataLoss.
  /// `spill` may take the bytes so far, see recorder.h. Load takes the clock over as well, if the
  /// saved one knew the time.
  void Save(std::string* out, const std::function<void(std::string*)>& spill = {}) const;
  Status Load(std::string_view* in);

 private:
  struct Region {
    std::uint32_t id = kNone;
    std::uint32_t last = 0;
    float fast = 0;         // 5 min
    float slow = 0;         // 60 min
    std::uint8_t seen = 0;  // known blocks, 1..64
  };
  struct Ring {  // delta-coded sorted indices of one window's active blocks
    std::vector<std::uint8_t> bytes;
  };

  std::uint32_t FindOrAdd(std::uint32_t block, bool* added);
  void Rehash(std::size_t slots);
  [[nodiscard]] std::uint32_t FindRegion(std::uint32_t id) const;
  std::uint32_t TouchRegion(std::uint32_t block, float weight, bool new_block);
  void RehashRegions(std::size_t slots);
  void Update(std::uint32_t index, const Access& access, bool added);
  void PushRing();
  void MarkPeriods();
  void MarkFrom(std::uint32_t window, std::uint16_t add, std::uint16_t field_mask);
  void QueryNeighbour(std::uint32_t block, std::uint32_t guess, float* out) const;

  EngineOptions options_;
  std::uint32_t per_minute_, per_hour_, per_day_, per_week_;
  DecayTable d1_, d5_, d30_, d60_, d240_, d1440_;
  std::uint32_t now_ = 0;
  Chunked<BlockState> states_;
  std::vector<std::uint32_t> slots_;  // open addressing, linear probing; kNone is empty
  Chunked<Region, 256> regions_;
  std::vector<std::uint32_t> region_slots_;
  std::vector<std::uint32_t> active_;
  std::vector<float> events_;
  std::vector<std::uint32_t> marked_;
  std::vector<Ring> rings_;       // window w at w % rings_.size()
  std::uint32_t ring_first_ = 0;  // oldest window still kept
  std::size_t ring_bytes_ = 0;
  float ops_ewma_ = 0, bytes_ewma_ = 0;
  float spike_ops_ = 0, spike_bytes_ = 0;
};

}  // namespace shadow::pam
