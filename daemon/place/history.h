// SPDX-License-Identifier: Apache-2.0
// What is remembered of every block ever touched: decaying averages at several half-lives.
//
// All times are windows, so that a replay with shorter windows behaves alike. Owned by the
// placement thread; not thread safe. Memory: sizeof(BlockHistory) and 5 to 11 bytes of index for
// each block ever touched, nothing for the others. Idle blocks cost nothing: averages decay when
// they are asked.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "daemon/place/policy.h"
#include "pam/features/chunked.h"

namespace shadow {

/// Half-lives in windows: 2 min, 10 min, 1 h, 4 h and 24 h at 60 s.
inline constexpr int kHalfLives = 5;
inline constexpr std::array<double, kHalfLives> kHalfLifeWindows = {2, 10, 60, 240, 1440};
enum HalfLife : std::uint8_t { kHalf2, kHalf10, kHalf60, kHalf240, kHalf1440 };
inline constexpr double kDiscountWindows = 30;  // half-life of what "expected accesses" counts

struct BlockHistory {
  std::uint32_t block = 0;
  std::uint32_t last = 0;                 // tick of the last access
  std::array<float, kHalfLives> count{};  // accesses, decayed, as of `last`
  float hits = 0;                         // windows with an access, 4 h
  float writes = 0;                       // 4 h
};

class History {
 public:
  static constexpr std::uint32_t kTicks = 16;  // of a window
  /// Takes accesses of [now, now + windows) in windows since the start; the clock moves on to its
  /// end. Accesses count as if at the end. Parts of a window may be given one after the other.
  void Add(const AccessWindow& part, double windows);

  /// Windows since the start.
  [[nodiscard]] double now() const;
  [[nodiscard]] std::size_t size() const { return blocks_.size(); }
  [[nodiscard]] const BlockHistory& at(std::size_t index) const { return blocks_[index]; }
  /// Null if it was never touched.
  [[nodiscard]] const BlockHistory* Find(std::uint32_t block) const;

  /// Accesses, decayed to now.
  [[nodiscard]] double Count(const BlockHistory& b, int half_life) const;
  /// Windows since the last access.
  [[nodiscard]] double Idle(const BlockHistory& b) const;
  /// Expected discounted accesses, and writes among them, if it goes on at the pace of this
  /// half-life; `share` is that of writes in the long run.
  [[nodiscard]] double Expected(const BlockHistory& b, int half_life) const;
  [[nodiscard]] double WriteShare(const BlockHistory& b) const;
  /// Probability of an access within `windows`.
  [[nodiscard]] double Heat(const BlockHistory& b, double windows) const;
  [[nodiscard]] std::size_t Bytes() const;

 private:
  [[nodiscard]] std::uint32_t FindSlot(std::uint32_t block) const;
  void Rehash(std::size_t slots);
  [[nodiscard]] double Decay(int half_life, std::uint64_t ticks) const;

  pam::Chunked<BlockHistory> blocks_;
  std::vector<std::uint32_t> slots_;  // open addressing; index + 1, 0: empty
  std::uint64_t tick_ = 0;
  double rest_ = 0;  // of a tick
};

}  // namespace shadow
