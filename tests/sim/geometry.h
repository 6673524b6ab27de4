// SPDX-License-Identifier: GPL-2.0-only
// Which blocks of a volume the simulator's users touch: eight, whose numbers are chosen for a run.
//
// Compact: a volume of 18 blocks, with the boundary of a write-intent region inside. Wide: one of
// 4,049 blocks, most of them holes that nobody touches, with the boundary of a metadata page and
// those of slot pages inside. Cells are numbered as the truth numbers them: 4 for each of the
// eight.
#ifndef TESTS_SIM_GEOMETRY_H
#define TESTS_SIM_GEOMETRY_H

#include <array>

#include "tests/sim/base.h"

namespace sim {

class Geometry {
 public:
  explicit Geometry(bool wide = false) : wide_(wide) {}
  u32 Number(u32 i) const { return wide_ ? kWide[i] : kCompact[i]; }
  /// Blocks of the longest volume.
  u32 AllBlocks() const { return Number(kBlocks - 1) + 1; }
  bool wide() const { return wide_; }
  /// Block i + 1 is its neighbour: one request may go to both.
  bool Adjoins(u32 i) const { return i + 1 < kBlocks && Number(i) + 1 == Number(i + 1); }
  /// Length in sectors of a volume that ends with so many cells, and back.
  u64 Sectors(u32 cells) const {
    const u32 last = (cells - 1) / kCellsPerBlock;
    return u64{Number(last)} * kBlockSectors + ((cells - 1) % kCellsPerBlock + 1) * kCellSectors;
  }
  u32 Cells(u64 sectors) const {
    const u64 number = (sectors - 1) / kBlockSectors;
    u32 i = 0;
    while (i + 1 < kBlocks && Number(i) < number) i++;
    return i * kCellsPerBlock + static_cast<u32>((sectors - 1) % kBlockSectors) / kCellSectors + 1;
  }
  /// Where a cell lies on a home leg.
  u32 OnLeg(u32 cell) const {
    return Number(cell / kCellsPerBlock) * kCellsPerBlock + cell % kCellsPerBlock;
  }
  /// The cell that lies there; kCells: none that is touched.
  u32 FromLeg(u32 at) const {
    for (u32 i = 0; i < kBlocks; i++)
      if (Number(i) == at / kCellsPerBlock) return i * kCellsPerBlock + at % kCellsPerBlock;
    return kCells;
  }

 private:
  static constexpr std::array<u32, kBlocks> kCompact = {0, 1, 2, 14, 15, 16, 17, 18};
  static constexpr std::array<u32, kBlocks> kWide = {0, 1, 15, 16, 4031, 4032, 4033, 4048};
  bool wide_;
};

/// A run of cells.
inline CellMask Run(u32 first, u32 n) { return CellsBelow(first + n) & ~CellsBelow(first); }

}  // namespace sim

#endif  // TESTS_SIM_GEOMETRY_H
