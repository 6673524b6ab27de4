// SPDX-License-Identifier: GPL-2.0-only
// What a user may see: the model every read, every leg and every restart is held against.
//
// Per cell: the contents it may have now, and those it may have after a power cut. A write that is
// under way may be seen or not; so may one that failed, but all copies agree when it is answered,
// and the first read decides; an acknowledged one is seen; an acknowledged flush, or FUA, forbids
// what was there before. Ids of operations grow, so "written since the flush" is a comparison.
#ifndef TESTS_SIM_TRUTH_H
#define TESTS_SIM_TRUTH_H

#include "tests/sim/base.h"

namespace sim {

class ValueSet {
 public:
  static constexpr u32 kMax = 8;
  ValueSet() = default;
  explicit ValueSet(Value v) : n_(1), v_{v} {}
  bool Has(Value v) const {
    for (u32 i = 0; i < n_; i++)
      if (v_[i] == v) return true;
    return false;
  }
  void Add(Value v) {
    if (!Has(v) && n_ < kMax) v_[n_++] = v;
  }
  u32 size() const { return n_; }
  Value operator[](u32 i) const { return v_[i]; }

 private:
  u32 n_ = 0;
  std::array<Value, kMax> v_{};
};

/// What a read has to remember from its start.
struct ReadStart {
  u32 id = 0;
  std::array<ValueSet, kCellsPerBlock> allowed;
  bool vague[kCellsPerBlock] = {};  // nothing is known of the cell since a restart
  bool wild[kCellsPerBlock] = {};   // it was given up
  bool busy[kCellsPerBlock] = {};   // something was under way there
};

/// What a flush promises when it is acknowledged.
struct FlushStart {
  u32 id = 0;
  std::array<ValueSet, kCells> allowed;
  CellMask vague = 0, wild = 0;
};

class Truth {
 public:
  void Reset(Value (*content)(u32 cell));
  /// New capacity: reads as zeroes, and nothing else, from now on and after any crash.
  void Born(CellMask cells);

  u32 NextId() { return next_id_++; }
  /// Cells a user may write: nothing under way there, and not too much uncertain.
  CellMask Writable() const { return ~busy_ & ~crowded_; }
  /// A write, or a discard (@id 0 stands for zeroes), is under way. @steady: the phase is. A write
  /// and a discard of its block at the same time may come in either order, as on any device; in the
  /// steady phase nobody counts writes, so one may even land after a read has found the discard.
  void Issue(CellMask cells, u32 id, bool zero, bool discard, bool steady);
  /// @sure: its content is what is there now, unless something else was under way there. @stuck:
  /// what became of it could not be written down.
  void Answer(CellMask cells, u32 id, bool zero, bool discard, bool ok, bool sure, bool fua,
              bool steady, bool stuck);

  /// What became of a write that failed, and was answered as @stuck, was written down after all.
  void Decided(CellMask cells, u32 id);

  void StartFlush(FlushStart& f);
  void EndFlush(const FlushStart& f);
  void StartRead(u32 block, ReadStart& r) const;
  /// True: @v may be what a read that began at @r finds. Then it is what later reads find.
  bool EndRead(const ReadStart& r, u32 cell, Value v);

  bool AllowsAfterCrash(u32 cell, Value v) const;
  /// The newest data was given up on purpose: whatever it once was may be seen, until it is
  /// written.
  void Forgotten(CellMask cells);
  /// All current copies must agree here.
  bool Settled(u32 cell) const {
    return !cells_[cell].out && !cells_[cell].failed && !cells_[cell].differ;
  }
  void PowerCut();

 private:
  struct Cell {
    ValueSet now;    // unless vague
    ValueSet crash;  // after a power cut, with all written since @crash_from
    u32 crash_from;
    u32 last_zero;     // id of the last operation that writes zeroes
    u32 last_issue;    // of the last one that writes anything
    u32 last_discard;  // id at the begin or end of the last discard
    u8 out, discards_out;
    bool overlap;     // two operations at once: the outcome is either
    bool failed;      // an answered request did while no metadata could be written: the next table
                      // may find what was before, whatever was read until then
    u32 failed_by;    // its id
    bool differ;      // copies may: likewise, after a power cut, or a write raced a discard
    bool raced;       // the operations under way are a write and a discard
    bool vague;       // since a power cut nobody has looked
    u32 wild_from;    // id when it was given up
    u32 wild_end;     // id when it was written again
    bool wild;        // given up: anything that was once written
    bool wild_crash;  // likewise after a power cut
  };
  void Crowd(u32 cell);
  bool WasOnce(u32 cell, Value v) const {
    return v == kZero || (CellOf(v) == cell && IdOf(v) < next_id_);
  }
  std::array<Cell, kCells> cells_;
  CellMask busy_ = 0, crowded_ = 0;
  u32 next_id_ = 1;
};

}  // namespace sim

#endif  // TESTS_SIM_TRUTH_H
