// SPDX-License-Identifier: GPL-2.0-only
// What all parts of the simulator share: the geometry of its volume, data as numbers, randomness.
//
// A volume of at most eight blocks. Their numbers are spread over two metadata pages and five
// write-intent regions, so that both of those boundaries lie inside; the blocks between them are
// holes that nobody touches. A block has four cells, the simulator's sectors: a cell is written as
// a whole or not at all.
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
constexpr u32 kPages = 2;
constexpr u32 kSlotPages = 3;
constexpr u32 kRegions = 5;
constexpr u32 kHomeLegs = SHADOW_NR_HOME_LEGS;
constexpr u32 kLegs = SHADOW_NR_LEGS;
constexpr u32 kBlockSectors = SHADOW_MIN_BLOCK_SECTORS;
constexpr u32 kCellSectors = kBlockSectors / kCellsPerBlock;

/// Block numbers as the metadata and the messages use them.
inline constexpr std::array<u32, kBlocks> kNumber = {0, 1, 15, 16, 4031, 4032, 4033, 4048};
inline constexpr std::array<u8, kBlocks> kRegionOf = {0, 0, 0, 1, 2, 3, 3, 4};
inline constexpr std::array<u8, kBlocks> kPageOf = {0, 0, 0, 0, 0, 1, 1, 1};
/// Slot pages: which of those that hold simulated blocks, and the numbers of these.
inline constexpr std::array<u8, kBlocks> kSlotPageOf = {0, 0, 0, 0, 1, 2, 2, 2};
inline constexpr std::array<u32, kSlotPages> kSlotPageNumber = {0, 3, 4};

/// Block i + 1 is its neighbour on the legs: both may be part of one copy.
constexpr bool Adjoins(u32 i) { return i + 1 < kBlocks && kNumber[i] + 1 == kNumber[i + 1]; }

/// A bit per cell of the volume.
using CellMask = u32;
constexpr CellMask BlockCells(u32 block) {
  return ((1u << kCellsPerBlock) - 1) << (block * kCellsPerBlock);
}
/// The cells below an end given in cells.
constexpr CellMask CellsBelow(u32 end) { return end >= 32 ? ~0u : (1u << end) - 1; }
constexpr u32 BlockOfCell(u32 cell) { return cell / kCellsPerBlock; }
constexpr u32 BlocksFor(u32 cells) { return (cells + kCellsPerBlock - 1) / kCellsPerBlock; }

/// Length in sectors of a volume that ends with so many cells, and back.
constexpr u64 SectorsFor(u32 cells) {
  const u32 last = (cells - 1) / kCellsPerBlock;
  return u64{kNumber[last]} * kBlockSectors + ((cells - 1) % kCellsPerBlock + 1) * kCellSectors;
}
constexpr u32 CellsFor(u64 sectors) {
  const u64 number = (sectors - 1) / kBlockSectors;
  u32 i = 0;
  while (i + 1 < kBlocks && kNumber[i] < number) i++;
  return i * kCellsPerBlock + static_cast<u32>((sectors - 1) % kBlockSectors) / kCellSectors + 1;
}

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
