// SPDX-License-Identifier: GPL-2.0-only
// What all parts of the simulator share: cells, data as numbers, randomness.
//
// Users touch at most eight blocks of a volume (geometry.h). A block has four cells, the
// simulator's sectors: a cell is written as a whole or not at all.
#ifndef TESTS_SIM_BASE_H
#define TESTS_SIM_BASE_H

#include <array>
#include <cstdint>

#include "kernel/core/shadow_format.h"
#include "kernel/core/shadow_state.h"
#include "kernel/core/shadow_tier.h"

namespace sim {

constexpr u32 kBlocks = 8;
constexpr u32 kCellsPerBlock = 4;
constexpr u32 kCells = kBlocks * kCellsPerBlock;
constexpr u32 kLegs = SHADOW_NR_LEGS;
constexpr u32 kBlockSectors = SHADOW_MIN_BLOCK_SECTORS;
constexpr u32 kCellSectors = kBlockSectors / kCellsPerBlock;

/// A bit per cell of the volume.
using CellMask = u32;
constexpr CellMask BlockCells(u32 block) {
  return ((1u << kCellsPerBlock) - 1) << (block * kCellsPerBlock);
}
/// The cells below an end given in cells.
constexpr CellMask CellsBelow(u32 end) { return end >= 32 ? ~0u : (1u << end) - 1; }

/// Content of a cell: zero, or which operation wrote it, and where. Ids grow.
using Value = u32;
constexpr Value kZero = 0;
constexpr u32 kGarbageId = 0x3ffffff;
constexpr Value ValueOf(u32 id, u32 cell) { return id * 64 + cell; }
constexpr u32 IdOf(Value v) { return v / 64; }
constexpr u32 CellOf(Value v) { return v % 64; }

/// Small, fast, and the same everywhere.
class Random {
 public:
  explicit Random(u64 seed = 0) : s_(seed) {}
  u64 Next() {  // splitmix64
    u64 z = (s_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// 0 .. n - 1
  u32 Below(u32 n) { return static_cast<u32>(((Next() >> 32) * n) >> 32); }
  /// True once in n times; never if n is 0.
  bool OneIn(u32 n) { return n && Below(n) == 0; }

 private:
  u64 s_;
};

}  // namespace sim

#endif  // TESTS_SIM_BASE_H
