// SPDX-License-Identifier: Apache-2.0
// State updates of the feature engine: blocks, regions, rings. Queries are in query.cc, saving and
// loading in engine_io.cc. See engine.h.
#include "pam/features/engine.h"

#include <algorithm>
#include <cmath>

#include "pam/features/marks.h"

namespace shadow::pam {
namespace {

constexpr std::size_t kRingFloor = 1u << 20;

std::uint32_t Hash(std::uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

std::uint32_t PerSpan(std::int64_t span_us, std::int64_t window_us) {
  return static_cast<std::uint32_t>(std::max<std::int64_t>(1, span_us / window_us));
}

double HalfLife(double minutes, std::int64_t window_us) {
  return minutes * 60e6 / static_cast<double>(window_us);
}

void PutVarint(std::vector<std::uint8_t>& out, std::uint32_t v) {
  while (v >= 0x80) {
    out.push_back(static_cast<std::uint8_t>(v | 0x80));
    v >>= 7;
  }
  out.push_back(static_cast<std::uint8_t>(v));
}

}  // namespace

FeatureEngine::FeatureEngine(const EngineOptions& options)
    : options_(options),
      per_minute_(PerSpan(60'000'000, options.window_us)),
      per_hour_(PerSpan(3'600'000'000, options.window_us)),
      per_day_(PerSpan(86'400'000'000, options.window_us)),
      per_week_(PerSpan(604'800'000'000, options.window_us)),
      d1_(HalfLife(1, options.window_us)),
      d5_(HalfLife(5, options.window_us)),
      d30_(HalfLife(30, options.window_us)),
      d60_(HalfLife(60, options.window_us)),
      d240_(HalfLife(240, options.window_us)),
      d1440_(HalfLife(1440, options.window_us)),
      slots_(16, kNone),
      region_slots_(16, kNone) {
  // A week of windows where that is a short list, else a day; never more than 100,000 of them.
  const std::uint32_t span = per_week_ <= 12'000 ? per_week_ + 8 : per_day_ + 8;
  rings_.resize(std::min<std::uint32_t>(span, 100'000));
}

std::uint32_t FeatureEngine::Find(std::uint32_t block) const {
  std::size_t at =
      static_cast<std::size_t>((static_cast<std::uint64_t>(Hash(block)) * slots_.size()) >> 32);
  while (slots_[at] != kNone) {
    if (states_[slots_[at]].block == block) return slots_[at];
    if (++at == slots_.size()) at = 0;
  }
  return kNone;
}

void FeatureEngine::Rehash(std::size_t slots) {
  slots_.assign(slots, kNone);
  for (std::uint32_t i = 0; i < states_.size(); ++i) {
    std::size_t at = static_cast<std::size_t>(
        (static_cast<std::uint64_t>(Hash(states_[i].block)) * slots) >> 32);
    while (slots_[at] != kNone) {
      if (++at == slots) at = 0;
    }
    slots_[at] = i;
  }
}

std::uint32_t FeatureEngine::FindOrAdd(std::uint32_t block, bool* added) {
  const std::uint32_t found = Find(block);
  *added = found == kNone;
  if (!*added) return found;
  // Grow by a half, not by two: the load stays between 0.53 and 0.8.
  if ((states_.size() + 1) * 5 > slots_.size() * 4) Rehash(slots_.size() + slots_.size() / 2);
  const auto index = static_cast<std::uint32_t>(states_.size());
  BlockState& s = states_.Add();
  s.block = block;
  std::size_t at =
      static_cast<std::size_t>((static_cast<std::uint64_t>(Hash(block)) * slots_.size()) >> 32);
  while (slots_[at] != kNone) {
    if (++at == slots_.size()) at = 0;
  }
  slots_[at] = index;
  return index;
}

std::uint32_t FeatureEngine::FindRegion(std::uint32_t id) const {
  std::size_t at =
      static_cast<std::size_t>((static_cast<std::uint64_t>(Hash(id)) * region_slots_.size()) >> 32);
  while (region_slots_[at] != kNone) {
    if (regions_[region_slots_[at]].id == id) return region_slots_[at];
    if (++at == region_slots_.size()) at = 0;
  }
  return kNone;
}

void FeatureEngine::RehashRegions(std::size_t slots) {
  region_slots_.assign(slots, kNone);
  for (std::uint32_t i = 0; i < regions_.size(); ++i) {
    std::size_t at =
        static_cast<std::size_t>((static_cast<std::uint64_t>(Hash(regions_[i].id)) * slots) >> 32);
    while (region_slots_[at] != kNone) {
      if (++at == slots) at = 0;
    }
    region_slots_[at] = i;
  }
}

std::uint32_t FeatureEngine::TouchRegion(std::uint32_t block, float weight, bool new_block) {
  const std::uint32_t id = block / 64;
  std::uint32_t r = FindRegion(id);
  if (r == kNone) {
    if ((regions_.size() + 1) * 5 > region_slots_.size() * 4) {
      RehashRegions(region_slots_.size() + region_slots_.size() / 2);
    }
    r = static_cast<std::uint32_t>(regions_.size());
    Region& fresh = regions_.Add();
    fresh.id = id;
    fresh.last = now_;
    std::size_t at = static_cast<std::size_t>(
        (static_cast<std::uint64_t>(Hash(id)) * region_slots_.size()) >> 32);
    while (region_slots_[at] != kNone) {
      if (++at == region_slots_.size()) at = 0;
    }
    region_slots_[at] = r;
  }
  Region& region = regions_[r];
  const std::uint32_t dt = now_ - region.last;
  region.fast = region.fast * d5_(dt) + weight;
  region.slow = region.slow * d60_(dt) + weight;
  region.last = now_;
  if (new_block) ++region.seen;
  return r;
}

void FeatureEngine::Update(std::uint32_t index, const Access& access, bool added) {
  BlockState& s = states_[index];
  const auto count = static_cast<float>(access.count);
  const std::uint32_t gap = added ? 0 : now_ - s.last;
  const DecayTable* fast[3] = {&d1_, &d5_, &d30_};
  for (int i = 0; i < 3; ++i) {
    const float keep = (*fast[i])(gap);
    s.count_fast[i] = ToHalf((added ? 0.0f : FromHalf(s.count_fast[i]) * keep) + count);
    s.hit_fast[i] = ToHalf((added ? 0.0f : FromHalf(s.hit_fast[i]) * keep) + 1.0f);
  }
  const DecayTable* slow[2] = {&d240_, &d1440_};
  for (int i = 0; i < 2; ++i) {
    const float keep = (*slow[i])(gap);
    s.count_slow[i] = (added ? 0.0f : s.count_slow[i] * keep) + count;
    s.hit_slow[i] = (added ? 0.0f : s.hit_slow[i] * keep) + 1.0f;
  }
  s.writes =
      ToHalf((added ? 0.0f : FromHalf(s.writes) * d30_(gap)) + static_cast<float>(access.writes));
  s.recent = (gap < 64 && !added ? s.recent << gap : 0) | 1u;
  s.gap = ToHalf(static_cast<float>(gap));
  s.now = ToHalf(count);
  s.last = now_;
}

void FeatureEngine::Close(const Window& window) {
  if (active_.capacity() > 4 * window.accesses.size() + 4096) {  // after a flood: give it back
    std::vector<std::uint32_t>().swap(active_);
    std::vector<float>().swap(events_);
  }
  active_.clear();
  events_.clear();
  active_.reserve(window.accesses.size());
  const auto ops = static_cast<float>(window.ops);
  const auto bytes = static_cast<float>(window.bytes);
  // Before the averages take this window in, so that the first one is no spike.
  if (now_ == 0) {
    ops_ewma_ = ops;
    bytes_ewma_ = bytes;
  }
  spike_ops_ = std::log((ops + 1.0f) / (ops_ewma_ + 1.0f));
  spike_bytes_ = std::log((bytes + 4096.0f) / (bytes_ewma_ + 4096.0f));
  const float keep = d5_(1);
  ops_ewma_ = ops_ewma_ * keep + ops * (1.0f - keep);
  bytes_ewma_ = bytes_ewma_ * keep + bytes * (1.0f - keep);

  events_.reserve(window.accesses.size() * kEventInputs);
  for (const Access& a : window.accesses) {
    bool added = false;
    const std::uint32_t index = FindOrAdd(a.block, &added);
    const std::uint32_t gap = added ? 0 : now_ - states_[index].last;
    Update(index, a, added);
    TouchRegion(a.block, static_cast<float>(a.count), added);
    active_.push_back(index);
    const auto count = static_cast<float>(a.count);
    float ev[kEventInputs] = {};
    ev[kEvGap] = FastLog1p(static_cast<float>(gap));
    ev[kEvCount] = FastLog1p(count);
    ev[kEvWriteShare] = static_cast<float>(a.writes) / count;
    ev[kEvVolume] = std::clamp(spike_ops_, -4.0f, 4.0f);
    ev[kEvValid] = added ? 0.0f : 1.0f;  // 0: there is no previous access, the gap means nothing
    events_.insert(events_.end(), ev, ev + kEventInputs);
  }
  for (std::size_t i = 0; i < active_.size(); ++i) {  // once the whole window is known
    const std::uint32_t block = window.accesses[i].block;
    float* ev = events_.data() + i * kEventInputs;
    ev[kEvRegion] = FastLog1p(regions_[FindRegion(block / 64)].fast);
    ev[kEvLeft] = i > 0 && window.accesses[i - 1].block + 1 == block ? 1.0f : 0.0f;
    ev[kEvRight] =
        i + 1 < active_.size() && window.accesses[i + 1].block == block + 1 ? 1.0f : 0.0f;
  }
  PushRing();
  ++now_;
  MarkPeriods();
}

void FeatureEngine::Skip(std::uint32_t windows) {
  if (windows == 0) return;
  active_.clear();
  events_.clear();
  spike_ops_ = spike_bytes_ = 0;
  for (std::uint32_t i = 0; i < windows; ++i) {
    PushRing();
    ++now_;
  }
  MarkPeriods();
}

void FeatureEngine::PushRing() {
  Ring& ring = rings_[now_ % rings_.size()];
  ring_bytes_ -= ring.bytes.size();
  std::vector<std::uint32_t> sorted(active_);
  std::sort(sorted.begin(), sorted.end());
  std::vector<std::uint8_t> coded;
  std::uint32_t previous = 0;
  for (const std::uint32_t i : sorted) {
    PutVarint(coded, i - previous);
    previous = i;
  }
  coded.shrink_to_fit();
  ring.bytes = std::move(coded);
  ring_bytes_ += ring.bytes.size();
  if (now_ - ring_first_ + 1 > rings_.size())
    ring_first_ = now_ + 1 - static_cast<std::uint32_t>(rings_.size());
  const std::size_t budget =
      std::max(kRingFloor, states_.size() * std::size_t{options_.ring_bytes_per_block});
  while (ring_bytes_ > budget && ring_first_ < now_) {
    Ring& old = rings_[ring_first_ % rings_.size()];
    ring_bytes_ -= old.bytes.size();
    std::vector<std::uint8_t>().swap(old.bytes);
    ++ring_first_;
  }
}

void FeatureEngine::MarkFrom(std::uint32_t window, std::uint16_t add, std::uint16_t field_mask) {
  if (window < ring_first_ || window >= now_) return;
  const Ring& ring = rings_[window % rings_.size()];
  std::uint32_t index = 0;
  std::uint32_t value = 0;
  int shift = 0;
  for (const std::uint8_t byte : ring.bytes) {
    value |= static_cast<std::uint32_t>(byte & 0x7f) << shift;
    shift += 7;
    if ((byte & 0x80) != 0) continue;
    index += value;
    value = 0;
    shift = 0;
    std::uint16_t& mark = states_[index].mark;
    if (mark == 0) marked_.push_back(index);
    if ((mark & field_mask) != field_mask) mark = static_cast<std::uint16_t>(mark + add);
  }
}

void FeatureEngine::MarkPeriods() {
  for (const std::uint32_t i : marked_) states_[i].mark = 0;
  if (marked_.capacity() > 4 * marked_.size() + 4096) std::vector<std::uint32_t>().swap(marked_);
  marked_.clear();
  for (std::uint32_t k = 1; k <= 23; ++k) {
    const std::uint32_t back = k * per_hour_;
    if (back > now_) break;
    MarkFrom(now_ - back, kMarkHourOne, kMarkHours);
    if (k == 1) MarkFrom(now_ - back, kMarkHourAgo, kMarkHourAgo);
  }
  if (now_ >= per_day_) {
    MarkFrom(now_ - per_day_, kMarkYesterday, kMarkYesterday);
    for (std::uint32_t w = now_ - std::min(now_, per_day_ + 2); w <= now_ - per_day_ + 5; ++w) {
      if (w < now_) MarkFrom(w, kMarkNearOne, kMarkNear);
    }
  }
  if (now_ >= per_week_) MarkFrom(now_ - per_week_, kMarkWeek, kMarkWeek);
}

std::size_t FeatureEngine::Bytes() const {
  return states_.Bytes() + slots_.capacity() * sizeof(slots_[0]) + regions_.Bytes() +
         region_slots_.capacity() * sizeof(region_slots_[0]) + ring_bytes_ +
         rings_.capacity() * sizeof(Ring) + active_.capacity() * sizeof(active_[0]) +
         events_.capacity() * sizeof(events_[0]) + marked_.capacity() * sizeof(marked_[0]);
}

}  // namespace shadow::pam
