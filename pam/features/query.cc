// SPDX-License-Identifier: Apache-2.0
// What the feature engine answers about one block. Reads only. See engine.h.
#include <algorithm>
#include <bit>
#include <cmath>

#include "pam/features/engine.h"
#include "pam/features/marks.h"

namespace shadow::pam {
namespace {

constexpr double kTwoPi = 6.283185307179586;
constexpr int kShortest = 2;
constexpr int kLongest = 31;

/// Bits L-1, 2L-1, ... of a history whose bit 0 is the last closed window: where a block of period
/// L that is due in the coming window was accessed before.
constexpr std::array<std::uint64_t, kLongest + 1> MakeMasks() {
  std::array<std::uint64_t, kLongest + 1> masks{};
  for (int period = kShortest; period <= kLongest; ++period) {
    for (int bit = period - 1; bit < 64; bit += period) masks[period] |= std::uint64_t{1} << bit;
  }
  return masks;
}
constexpr auto kMasks = MakeMasks();

float PeriodScore(std::uint64_t history, float density) {
  float best = 0;
  if ((history & (history - 1)) == 0) return 0;  // fewer than two accesses: no period
  for (int period = kShortest; period <= kLongest; ++period) {
    if ((history >> (period - 1) & 1) == 0) continue;  // not due now: counting would be for nothing
    const std::uint64_t hits = history & kMasks[period];
    const int times = 64 / period;
    const auto all = static_cast<float>(times);
    best = std::max(best, static_cast<float>(std::popcount(hits)) / all);
  }
  return std::max(0.0f, best - density);
}

}  // namespace

void FeatureEngine::QueryNeighbour(std::uint32_t block, std::uint32_t guess, float* out) const {
  // Neighbours are often met one after the other and then have neighbouring numbers; that saves a
  // walk through the index, which costs a cache miss or two.
  const bool guessed = guess < states_.size() && states_[guess].block == block;
  const std::uint32_t index = block == kNone ? kNone : guessed ? guess : Find(block);
  if (index == kNone) {
    out[0] = out[1] = out[2] = 0;
    out[3] = FastLog1p(10'080.0f);  // as if idle for a week
    return;
  }
  const BlockState& s = states_[index];
  const std::uint32_t idle = now_ - 1 - s.last;
  out[0] = FastLog1p(FromHalf(s.hit_fast[0]) * d1_(idle));
  out[1] = FastLog1p(FromHalf(s.hit_fast[1]) * d5_(idle));
  out[2] = FastLog1p(s.hit_slow[0] * d240_(idle));
  out[3] = FastLog1p(static_cast<float>(std::min<std::uint32_t>(idle, 10'080)));
}

void FeatureEngine::Query(std::uint32_t index, float* out) const {
  const BlockState& s = states_[index];
  const std::uint32_t idle = now_ - 1 - s.last;
  const float k1 = d1_(idle);
  const float k5 = d5_(idle);
  const float k30 = d30_(idle);
  const float k240 = d240_(idle);
  const float k1440 = d1440_(idle);
  out[kCount1] = FastLog1p(FromHalf(s.count_fast[0]) * k1);
  out[kCount5] = FastLog1p(FromHalf(s.count_fast[1]) * k5);
  out[kCount30] = FastLog1p(FromHalf(s.count_fast[2]) * k30);
  out[kCount240] = FastLog1p(s.count_slow[0] * k240);
  out[kCount1440] = FastLog1p(s.count_slow[1] * k1440);
  out[kHit1] = FastLog1p(FromHalf(s.hit_fast[0]) * k1);
  out[kHit5] = FastLog1p(FromHalf(s.hit_fast[1]) * k5);
  out[kHit30] = FastLog1p(FromHalf(s.hit_fast[2]) * k30);
  out[kHit240] = FastLog1p(s.hit_slow[0] * k240);
  out[kHit1440] = FastLog1p(s.hit_slow[1] * k1440);
  const auto idle_f = static_cast<float>(idle);
  const float gap = FromHalf(s.gap);
  out[kIdle] = FastLog1p(idle_f);
  out[kGap] = FastLog1p(gap);
  out[kPhase] = gap > 0 ? FastLog1p(std::min((idle_f + 1.0f) / gap, 64.0f)) : 0.0f;
  out[kNow] = idle == 0 ? FastLog1p(FromHalf(s.now)) : 0.0f;
  out[kWrites] = FastLog1p(FromHalf(s.writes) * k30);
  QueryNeighbour(s.block == 0 ? kNone : s.block - 1, index - 1, out + kLeft1);
  QueryNeighbour(s.block + 1, index + 1, out + kRight1);
  const Region& region = regions_[FindRegion(s.block / 64)];
  const std::uint32_t region_idle = now_ - 1 - region.last;
  out[kRegion5] = FastLog1p(region.fast * d5_(region_idle));
  out[kRegion60] = FastLog1p(region.slow * d60_(region_idle));
  const std::uint16_t mark = s.mark;
  const std::uint32_t hours = std::clamp<std::uint32_t>(now_ / per_hour_, 1, 23);
  out[kHourAgo] = (mark & kMarkHourAgo) != 0 ? 1.0f : 0.0f;
  out[kHourHits] = static_cast<float>(mark & kMarkHours) / static_cast<float>(hours);
  out[kYesterday] = (mark & kMarkYesterday) != 0 ? 1.0f : 0.0f;
  const auto near = (mark & kMarkNear) / kMarkNearOne;
  out[kYesterdayNear] = FastLog1p(static_cast<float>(near));
  out[kWeekAgo] = (mark & kMarkWeek) != 0 ? 1.0f : 0.0f;
  const std::uint64_t history = idle < 64 ? s.recent << idle : 0;
  const float density = static_cast<float>(std::popcount(history)) / 64.0f;
  out[kDensity] = density;
  out[kPeriod] = PeriodScore(history, density);
  out[kSameRun] = FastLog1p(static_cast<float>(std::countr_one(history)));
  out[kSpikeOps] = std::clamp(spike_ops_, -4.0f, 4.0f);
  out[kSpikeBytes] = std::clamp(spike_bytes_, -4.0f, 4.0f);
  out[kSinDay] = out[kCosDay] = out[kSinWeek] = out[kCosWeek] = 0;
  if (options_.wall_clock && now_ >= 3 * per_day_) {
    const double t = static_cast<double>(options_.start_us) * 1e-6 +
                     static_cast<double>(now_) * static_cast<double>(options_.window_us) * 1e-6;
    const double day = kTwoPi * std::fmod(t, 86'400.0) / 86'400.0;
    const double week = kTwoPi * std::fmod(t, 604'800.0) / 604'800.0;
    out[kSinDay] = static_cast<float>(std::sin(day));
    out[kCosDay] = static_cast<float>(std::cos(day));
    out[kSinWeek] = static_cast<float>(std::sin(week));
    out[kCosWeek] = static_cast<float>(std::cos(week));
  }
  out[kProfile0] = options_.profile[0];
  out[kProfile1] = options_.profile[1];
}

int FeatureEngine::UnseenClass(std::uint32_t block) const {
  if (block > 0) {
    const std::uint32_t left = Find(block - 1);
    if (left != kNone && now_ > 0 && states_[left].last == now_ - 1) return 0;
  }
  const std::uint32_t r = FindRegion(block / 64);
  if (r == kNone) return 5;
  const std::uint32_t idle = now_ - 1 - regions_[r].last;
  if (idle == 0) return 1;
  if (idle < 5 * per_minute_) return 2;
  return idle < per_hour_ ? 3 : 4;
}

std::array<std::uint64_t, FeatureEngine::kRegionClasses> FeatureEngine::UnseenPerClass(
    std::uint64_t blocks) const {
  std::array<std::uint64_t, kRegionClasses> out{};
  std::uint64_t covered = 0;
  for (std::size_t i = 0; i < regions_.size(); ++i) {
    const Region& r = regions_[i];
    const std::uint64_t first = std::uint64_t{r.id} * 64;
    if (first >= blocks) continue;
    const std::uint64_t size = std::min<std::uint64_t>(64, blocks - first);
    covered += size;
    if (r.seen >= size) continue;
    const std::uint32_t idle = now_ - 1 - r.last;
    const int c = idle == 0 ? 1 : idle < 5 * per_minute_ ? 2 : idle < per_hour_ ? 3 : 4;
    out[static_cast<std::size_t>(c)] += size - r.seen;
  }
  out[5] = blocks > covered ? blocks - covered : 0;
  for (const std::uint32_t index : active_) {  // right neighbours are a class of their own
    const std::uint32_t right = states_[index].block + 1;
    if (right >= blocks || Find(right) != kNone) continue;
    const std::uint32_t r = FindRegion(right / 64);
    if (r == kNone) {
      --out[5];
    } else {
      const std::uint32_t idle = now_ - 1 - regions_[r].last;
      --out[idle == 0 ? 1u : idle < 5 * per_minute_ ? 2u : idle < per_hour_ ? 3u : 4u];
    }
    ++out[0];
  }
  return out;
}

}  // namespace shadow::pam
