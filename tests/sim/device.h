// SPDX-License-Identifier: GPL-2.0-only
// Devices with volatile caches, as the worst of real ones behave.
//
// A write that has ended is seen by every later read, but lies in a cache until a flush that began
// after its end, or unless it was FUA. What a power cut leaves of the cache is chosen cell by cell
// (metadata: sector by sector of a page), so writes are reordered, torn and lost. A flush that
// failed made nothing durable.
#ifndef TESTS_SIM_DEVICE_H
#define TESTS_SIM_DEVICE_H

#include <cstring>

#include "tests/sim/base.h"

namespace sim {

enum class Cut {
  kKeepAll,  // the machine stopped, the devices kept their power: all is seen, and still in the
             // caches
  kLoseAll,  // nothing that was in a cache survives
  kMix,      // any subset
  kPrefix,   // metadata: the older writes, the last of them torn; data: as kMix
};

/// A leg: what each cell may hold after a power cut, oldest first; the last one is what is read.
class DataDevice {
 public:
  void Fill(Value (*content)(u32 cell)) {
    for (u32 c = 0; c < kCells; c++) cells_[c] = {1, {content(c)}, {0}};
    unclean_ = 0;
  }
  Value Read(u32 cell) const { return cells_[cell].value[cells_[cell].n - 1]; }
  void Store(u32 cell, Value v);
  /// A flush that began when sequence() was @upto has ended.
  void Flushed(u64 upto);
  /// FUA: what was stored last in these cells stays.
  void Settle(CellMask cells);
  void PowerCut(Cut how, Random& random);
  u64 sequence() const { return sequence_; }

  bool dead = false;       // has disappeared: every request fails
  bool no_zeroes = false;  // says it does write-zeroes, and rejects them
  u32 identity = 0;        // its leg_id is "D<identity>"

 private:
  static constexpr u32 kDepth = 6;  // older ones are destaged
  struct Cell {
    u32 n;
    Value value[kDepth];
    u64 at[kDepth];
  };
  void Keep(u32 cell, u32 first);
  std::array<Cell, kCells> cells_;
  CellMask unclean_ = 0;  // cells with more than one possible content
  u64 sequence_ = 0;
};

/// Where metadata lies: two superblocks, then two copies of each page, of each slot page.
constexpr u32 kMetaSlots = 2 + 2 * (kPages + kSlotPages);
constexpr u32 PageSlot(u32 page, u32 copy) { return 2 + 2 * page + copy; }

class MetaDevice {
 public:
  using Page = std::array<u8, SHADOW_PAGE_SIZE>;

  void Clear();
  /// A write is on its way; Landed() or Failed() ends it.
  u32 Submit(u32 slot, const void* page);
  void Landed(u32 write);
  /// Reported as failed: some of its sectors may have been written all the same.
  void Failed(u32 write, u8 sectors_written);
  void Read(u32 slot, void* page) const;
  void Flushed(u64 upto);
  void Settle(u32 write);
  void PowerCut(Cut how, Random& random);
  u64 sequence() const { return sequence_; }
  /// One bit of the medium turns; again to repair it.
  void FlipBit(u32 slot, u32 bit) { medium_[slot][bit / 8] ^= static_cast<u8>(1u << (bit % 8)); }
  bool AllDurable() const;

  bool dead = false;

 private:
  static constexpr u32 kSectors = 8, kSectorSize = 512, kWrites = 40;
  struct Write {
    bool used, landed;
    u8 sectors;  // mask of those that count
    u32 slot;
    u64 at;  // landed: order
    Page data;
  };
  void Apply(const Write& w, Page& to) const;
  u32 InOrder(u32 slot, bool all, std::array<u32, kWrites>& out) const;
  void Destage(u32 write);
  std::array<Page, kMetaSlots> medium_;
  std::array<Write, kWrites> writes_;
  u64 sequence_ = 0;
};

}  // namespace sim

#endif  // TESTS_SIM_DEVICE_H
