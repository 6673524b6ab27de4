// SPDX-License-Identifier: GPL-2.0-only
#include "tests/sim/device.h"

#include <algorithm>
#include <cstdlib>

namespace sim {

// ----------------------------------------------------------------------- legs

void DataDevice::Store(u32 cell, Value v) {
  Cell& c = cells_[cell];
  if (c.n == kDepth) Keep(cell, 1);
  c.value[c.n] = v;
  c.at[c.n++] = ++sequence_;
  unclean_ |= 1u << cell;
}

/// Contents before the @first one cannot come back any longer.
void DataDevice::Keep(u32 cell, u32 first) {
  Cell& c = cells_[cell];
  for (u32 i = first; i < c.n; i++) {
    c.value[i - first] = c.value[i];
    c.at[i - first] = c.at[i];
  }
  c.n -= first;
  if (c.n == 1) unclean_ &= ~(1u << cell);
}

void DataDevice::Flushed(u64 upto) {
  for (CellMask m = unclean_; m; m &= m - 1) {
    const u32 cell = static_cast<u32>(__builtin_ctz(m));
    const Cell& c = cells_[cell];
    u32 first = 0;
    while (first + 1 < c.n && c.at[first + 1] <= upto) first++;
    if (first) Keep(cell, first);
  }
}

void DataDevice::Settle(CellMask cells) {
  for (CellMask m = cells & unclean_; m; m &= m - 1) {
    const u32 cell = static_cast<u32>(__builtin_ctz(m));
    Keep(cell, cells_[cell].n - 1);
  }
}

void DataDevice::PowerCut(Cut how, Random& random) {
  if (how == Cut::kKeepAll) return;
  for (CellMask m = unclean_; m; m &= m - 1) {
    Cell& c = cells_[static_cast<u32>(__builtin_ctz(m))];
    u32 kept;
    if (how == Cut::kLoseAll)
      kept = 0;
    else
      kept = random.Below(c.n);
    c.value[0] = c.value[kept];
    c.at[0] = 0;
    c.n = 1;
  }
  unclean_ = 0;
}

// ------------------------------------------------------------------- metadata

void MetaDevice::Clear() {
  for (auto& m : medium_) m.fill(0);
  for (auto& w : writes_) w.used = false;
}

u32 MetaDevice::Submit(u32 slot, const void* page) {
  u32 free = kWrites, oldest = kWrites;
  for (u32 i = 0; i < kWrites; i++) {
    if (!writes_[i].used) free = i;
    if (writes_[i].used && writes_[i].landed &&
        (oldest == kWrites || writes_[i].at < writes_[oldest].at))
      oldest = i;
  }
  if (free == kWrites) {  // the cache is full
    if (oldest == kWrites) std::abort();
    Destage(free = oldest);
  }
  Write& w = writes_[free];
  w.used = true;
  w.landed = false;
  w.sectors = 0xff;
  w.slot = slot;
  w.at = ~0ull;
  std::memcpy(w.data.data(), page, SHADOW_PAGE_SIZE);
  return free;
}

void MetaDevice::Landed(u32 write) {
  writes_[write].landed = true;
  writes_[write].at = ++sequence_;
}

void MetaDevice::Failed(u32 write, u8 sectors_written) {
  writes_[write].sectors = sectors_written;
  Landed(write);
}

void MetaDevice::Apply(const Write& w, Page& to) const {
  for (u32 s = 0; s < kSectors; s++)
    if (w.sectors >> s & 1)
      std::memcpy(&to[std::size_t{s} * kSectorSize], &w.data[std::size_t{s} * kSectorSize],
                  kSectorSize);
}

/// Writes of a slot (all, or those that have ended), oldest first.
u32 MetaDevice::InOrder(u32 slot, bool all, std::array<u32, kWrites>& out) const {
  u32 n = 0;
  for (u32 i = 0; i < kWrites; i++)
    if (writes_[i].used && writes_[i].slot == slot && (all || writes_[i].landed)) out[n++] = i;
  std::sort(out.begin(), out.begin() + n,
            [this](u32 a, u32 b) { return writes_[a].at < writes_[b].at; });
  return n;
}

void MetaDevice::Read(u32 slot, void* page) const {
  std::array<u32, kWrites> order;
  Page now = medium_[slot];
  const u32 n = InOrder(slot, false, order);
  for (u32 i = 0; i < n; i++) Apply(writes_[order[i]], now);
  std::memcpy(page, now.data(), now.size());
}

/// The write, and with it those before it, reach the medium.
void MetaDevice::Destage(u32 write) {
  std::array<u32, kWrites> order;
  const u32 n = InOrder(writes_[write].slot, false, order);
  for (u32 i = 0; i < n; i++) {
    Apply(writes_[order[i]], medium_[writes_[write].slot]);
    writes_[order[i]].used = false;
    if (order[i] == write) break;
  }
}

void MetaDevice::Settle(u32 write) { Destage(write); }

void MetaDevice::Flushed(u64 upto) {
  for (;;) {
    u32 oldest = kWrites;
    for (u32 i = 0; i < kWrites; i++)
      if (writes_[i].used && writes_[i].landed && writes_[i].at <= upto &&
          (oldest == kWrites || writes_[i].at < writes_[oldest].at))
        oldest = i;
    if (oldest == kWrites) return;
    Destage(oldest);
  }
}

bool MetaDevice::AllDurable() const {
  return std::none_of(writes_.begin(), writes_.end(), [](const Write& w) { return w.used; });
}

void MetaDevice::PowerCut(Cut how, Random& random) {
  const auto torn = [&random] {
    return static_cast<u8>(random.OneIn(3) ? 0xff : random.Below(256));
  };
  if (how == Cut::kKeepAll) {  // what was on its way got anywhere; all is still in the cache
    for (u32 i = 0; i < kWrites; i++)
      if (writes_[i].used && !writes_[i].landed) Failed(i, torn());
    return;
  }
  for (u32 slot = 0; slot < kMetaSlots; slot++) {
    std::array<u32, kWrites> order;
    const u32 n = InOrder(slot, true, order);
    if (!n || how == Cut::kLoseAll) continue;
    const u32 kept = how == Cut::kPrefix ? random.Below(n) + 1 : n;
    for (u32 i = 0; i < kept; i++) {
      Write& w = writes_[order[i]];
      if (how == Cut::kMix || !w.landed || i + 1 == kept) w.sectors &= torn();
      Apply(w, medium_[slot]);
    }
  }
  for (auto& w : writes_) w.used = false;
}

}  // namespace sim
