// SPDX-License-Identifier: GPL-2.0-only
#include "tests/sim/truth.h"

namespace sim {

namespace {
template <class F>
void ForCells(CellMask cells, F f) {
  for (CellMask m = cells; m; m &= m - 1) f(static_cast<u32>(__builtin_ctz(m)));
}
}  // namespace

void Truth::Reset(Value (*content)(u32 cell)) {
  next_id_ = 2;
  busy_ = crowded_ = 0;
  for (u32 c = 0; c < kCells; c++) {
    cells_[c] = {};
    cells_[c].now = cells_[c].crash = ValueSet(content(c));
    cells_[c].crash_from = next_id_;
  }
}

void Truth::Born(CellMask cells) {
  const u32 id = NextId();
  ForCells(cells, [&](u32 c) {
    // one that was sent before the capacity was given up, and put off, may come to the new one
    if (cells_[c].out) {
      cells_[c].now.Add(kZero);
      cells_[c].last_zero = id;
      return;
    }
    cells_[c] = {};
    cells_[c].now = cells_[c].crash = ValueSet(kZero);
    cells_[c].crash_from = id;
    busy_ &= ~(1u << c);
    crowded_ &= ~(1u << c);
  });
}

void Truth::Crowd(u32 cell) {
  if (cells_[cell].now.size() + 3 > ValueSet::kMax)
    crowded_ |= 1u << cell;
  else
    crowded_ &= ~(1u << cell);
}

void Truth::Issue(CellMask cells, u32 id, bool zero, bool discard, bool steady) {
  ForCells(cells, [&](u32 i) {
    Cell& c = cells_[i];
    if (discard ? c.discards_out < c.out : c.discards_out > 0) c.raced = true;
    if (c.raced && steady) c.differ = true;
    if (c.out++) c.overlap = true;
    c.discards_out += discard;
    if (zero) c.last_zero = id;
    if (discard) c.last_discard = id;
    c.last_issue = id;
    c.now.Add(zero ? kZero : ValueOf(id, i));
    busy_ |= 1u << i;
    Crowd(i);
  });
}

void Truth::Answer(CellMask cells, u32 id, bool zero, bool discard, bool ok, bool sure, bool fua,
                   bool steady, bool stuck) {
  const u32 now = NextId();
  ForCells(cells, [&](u32 i) {
    Cell& c = cells_[i];
    const Value v = zero ? kZero : ValueOf(id, i);
    c.discards_out -= discard;
    if (discard) c.last_discard = now;
    if (!ok && stuck) {
      c.failed = true;
      c.failed_by = id;
    }
    if (c.raced && steady) c.differ = true;
    if (ok && sure && !c.overlap) {
      c.now = ValueSet(v);
      if (c.wild) c.wild_end = now;
      c.failed = c.differ = c.vague = c.wild = false;
      if (fua && c.crash_from < id) {
        c.crash = ValueSet(v);
        c.crash_from = id;
        c.wild_crash = false;
      }
    }
    if (!--c.out) {
      c.overlap = c.raced = false;
      busy_ &= ~(1u << i);
    }
    Crowd(i);
  });
}

void Truth::Decided(CellMask cells, u32 id) {
  ForCells(cells, [&](u32 i) {
    if (cells_[i].failed_by == id) cells_[i].failed = false;
  });
}

void Truth::StartFlush(FlushStart& f) {
  f.id = NextId();
  f.vague = f.wild = 0;
  for (u32 i = 0; i < kCells; i++) {
    f.allowed[i] = cells_[i].now;
    if (cells_[i].vague) f.vague |= 1u << i;
    if (cells_[i].wild) f.wild |= 1u << i;
  }
}

void Truth::EndFlush(const FlushStart& f) {
  for (u32 i = 0; i < kCells; i++) {
    Cell& c = cells_[i];
    // what was given up since it began is no promise of the flush
    if (c.crash_from >= f.id || c.wild_from >= f.id || ((f.vague | f.wild) >> i & 1)) continue;
    c.wild_crash = c.wild;
    c.crash = f.allowed[i];
    c.crash_from = f.id;
  }
}

bool Truth::AllowsAfterCrash(u32 cell, Value v) const {
  const Cell& c = cells_[cell];
  if (c.crash.Has(v) || (c.wild_crash && WasOnce(cell, v))) return true;
  if (v == kZero) return c.last_zero >= c.crash_from;
  return CellOf(v) == cell && IdOf(v) >= c.crash_from && IdOf(v) < next_id_;
}

void Truth::StartRead(u32 block, ReadStart& r) const {
  r.id = next_id_;
  for (u32 i = 0; i < kCellsPerBlock; i++) {
    r.allowed[i] = cells_[block * kCellsPerBlock + i].now;
    r.vague[i] = cells_[block * kCellsPerBlock + i].vague;
    r.wild[i] = cells_[block * kCellsPerBlock + i].wild;
    r.busy[i] = cells_[block * kCellsPerBlock + i].out;
  }
}

bool Truth::EndRead(const ReadStart& r, u32 cell, Value v) {
  Cell& c = cells_[cell];
  const u32 i = cell % kCellsPerBlock;
  if ((c.wild || r.wild[i] || c.wild_end >= r.id) && WasOnce(cell, v)) return true;
  const bool disturbed = r.busy[i] || c.out || c.last_issue >= r.id;
  // Nobody can say what a device returns where it is being trimmed.
  if (c.discards_out || c.last_discard >= r.id) return true;
  const bool before = r.vague[i] ? disturbed || AllowsAfterCrash(cell, v) : r.allowed[i].Has(v);
  const bool since =
      v == kZero ? c.last_zero >= r.id : CellOf(v) == cell && IdOf(v) >= r.id && IdOf(v) < next_id_;
  if (!before && !since) return false;
  if (!disturbed && !c.failed && !c.differ) {
    c.now = ValueSet(v);
    c.vague = false;
    Crowd(cell);
  }
  return true;
}

void Truth::PowerCut() {
  for (auto& c : cells_) {
    c.out = c.discards_out = 0;
    c.overlap = c.raced = false;
    c.differ |= c.failed;
    c.failed = false;
    c.vague = true;
    c.wild |= c.wild_crash;
  }
  busy_ = crowded_ = 0;
}

void Truth::Forgotten(CellMask cells) {
  ForCells(cells, [&](u32 i) {
    cells_[i].wild = cells_[i].wild_crash = true;
    cells_[i].wild_from = next_id_;
  });
}

}  // namespace sim
