// SPDX-License-Identifier: Apache-2.0
// Sequential streams, seen block by block: a visit to a block begins after a second without access,
// and it continues a stream if its left neighbour was accessed within that second.
//
// What a move ahead of a stream is worth is learned on line: for streams of each length, how many
// accesses did the block so many places ahead bring, counted only from when a move started now
// would serve them. So a stream that outruns the link is worth nothing, whatever its size.
//
// One thread, for the simulators. Blocks are dense indices; memory is 32 bytes a block.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace shadow::pam::internal {

class Streams {
 public:
  static constexpr int kAhead = 8;  // places to look ahead, at most
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr double kGapMinutes = 1.0 / 60;

  /// right: the block behind each one, or kNone. move_ms: from the start of a move to its first
  /// hit.
  Streams(std::vector<std::uint32_t> right, double move_ms);
  void Access(std::uint32_t block, double minute);
  /// The last access began a visit.
  [[nodiscard]] bool Began() const { return began_; }
  /// Blocks the stream had visited one after the other before `block` (0: no stream).
  [[nodiscard]] int Length(std::uint32_t block) const { return blocks_[block].length; }
  /// Accesses that the block `ahead` places (0 to kAhead) before the head of a stream can be
  /// expected to bring once it is there, if its move starts when the head's visit begins.
  [[nodiscard]] double Expected(int ahead, int length) const;
  /// The stream for which `block` was moved at `moved` (minute) has gone on, or ended.
  [[nodiscard]] bool Passed(std::uint32_t block, double moved, double minute) const;
  [[nodiscard]] std::uint32_t Right(std::uint32_t block) const { return blocks_[block].right; }

 private:
  static constexpr std::size_t kClasses = 7;
  static std::size_t Class(int length);

  struct Block {
    int length = 0;
    std::uint32_t left = kNone, right = kNone;
    double last = -1, start = -1;  // minutes; of the last access, of the visit
  };
  std::vector<Block> blocks_;
  double move_minutes_;
  bool began_ = false;
  // Of streams by length: visits, and accesses by places ahead; halved every 139 visits.
  std::array<double, kClasses> visits_{};
  std::array<std::array<double, kClasses>, kAhead + 1> accesses_{};
};

}  // namespace shadow::pam::internal
