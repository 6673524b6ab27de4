// SPDX-License-Identifier: Apache-2.0
// The feature engine as bytes and back. The caller frames and checksums; here every size and index
// is checked, so that a damaged snapshot is refused and never followed. See engine.h.
#include <algorithm>
#include <cmath>

#include "pam/features/engine.h"
#include "pam/model/bytes.h"

namespace shadow::pam {
namespace {

constexpr std::uint64_t kMostBlocks = 1ull << 31;
constexpr std::int64_t kFarUs = std::int64_t{1} << 62;  // no clock says more

Error Damaged(const char* what) {
  return MakeError(Code::kDataLoss, std::string("the snapshot's ") + what + " is damaged",
                   "start without it: the state is learned again within a day");
}

bool Sane(float x) { return std::isfinite(x) && x >= 0; }

}  // namespace

void FeatureEngine::Save(std::string* out, const std::function<void(std::string*)>& spill) const {
  Put(out, options_.window_us);
  Put(out, options_.start_us);
  Put(out, static_cast<std::uint8_t>(options_.wall_clock ? 1 : 0));
  Put(out, now_);
  Put(out, ops_ewma_);
  Put(out, bytes_ewma_);
  Put(out, spike_ops_);
  Put(out, spike_bytes_);
  Put(out, static_cast<std::uint64_t>(states_.size()));
  for (std::size_t i = 0; i < states_.size(); ++i) {
    Put(out, states_[i]);
    if (spill && i % 4096 == 0) spill(out);
  }
  Put(out, static_cast<std::uint64_t>(regions_.size()));
  for (std::size_t i = 0; i < regions_.size(); ++i) {
    Put(out, regions_[i].id);
    Put(out, regions_[i].last);
    Put(out, regions_[i].fast);
    Put(out, regions_[i].slow);
    Put(out, regions_[i].seen);
  }
  PutVector(out, active_);
  PutVector(out, events_);
  PutVector(out, marked_);
  Put(out, ring_first_);
  for (std::uint32_t w = ring_first_; w < now_; ++w) {
    PutVector(out, rings_[w % rings_.size()].bytes);
    if (spill) spill(out);
  }
}

Status FeatureEngine::Load(std::string_view* in) {
  FeatureEngine fresh(options_);
  std::int64_t window_us = 0;
  std::int64_t start_us = 0;
  std::uint8_t wall_clock = 0;
  std::uint64_t blocks = 0;
  if (!Get(in, &window_us) || !Get(in, &start_us) || !Get(in, &wall_clock) ||
      !Get(in, &fresh.now_) || !Get(in, &fresh.ops_ewma_) || !Get(in, &fresh.bytes_ewma_) ||
      !Get(in, &fresh.spike_ops_) || !Get(in, &fresh.spike_bytes_) || !Get(in, &blocks)) {
    return Damaged("head");
  }
  if (window_us != options_.window_us) {
    return MakeError(Code::kInvalidArgument, "the snapshot is of another window length",
                     "use the same --window, or start without the snapshot");
  }
  if (!Sane(fresh.ops_ewma_) || !Sane(fresh.bytes_ewma_) || !std::isfinite(fresh.spike_ops_) ||
      !std::isfinite(fresh.spike_bytes_) || blocks > kMostBlocks ||
      blocks > in->size() / sizeof(BlockState) || fresh.now_ > 0xf0000000u || wall_clock > 1 ||
      start_us < -kFarUs || start_us > kFarUs) {
    return Damaged("head");
  }
  if (wall_clock == 1) fresh.SetClock(start_us);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    BlockState s;
    if (!Get(in, &s)) return Damaged("block state");
    bool good = s.last < fresh.now_;
    for (const float x : s.count_slow) good = good && Sane(x);
    for (const float x : s.hit_slow) good = good && Sane(x);
    for (const std::uint16_t h : s.count_fast) good = good && h <= 0x7bff;
    for (const std::uint16_t h : s.hit_fast) good = good && h <= 0x7bff;
    good = good && s.writes <= 0x7bff && s.gap <= 0x7bff && s.now <= 0x7bff;
    if (!good || fresh.Find(s.block) != kNone) return Damaged("block state");
    bool added = false;
    fresh.states_[fresh.FindOrAdd(s.block, &added)] = s;
  }
  std::uint64_t regions = 0;
  if (!Get(in, &regions) || regions > blocks) return Damaged("region table");
  for (std::uint64_t i = 0; i < regions; ++i) {
    Region r;
    if (!Get(in, &r.id) || !Get(in, &r.last) || !Get(in, &r.fast) || !Get(in, &r.slow) ||
        !Get(in, &r.seen)) {
      return Damaged("region table");
    }
    if (r.last >= fresh.now_ || !Sane(r.fast) || !Sane(r.slow) || r.seen > 64 ||
        r.id >= (1u << 26) || fresh.FindRegion(r.id) != kNone) {
      return Damaged("region table");
    }
    const std::uint32_t index = fresh.TouchRegion(r.id * 64, 0, false);
    fresh.regions_[index] = r;
  }
  for (std::size_t i = 0; i < fresh.states_.size(); ++i) {
    if (fresh.FindRegion(fresh.states_[i].block / 64) == kNone) return Damaged("region table");
  }
  const auto index_fits = [&](std::uint32_t i) { return i < fresh.states_.size(); };
  if (!GetVector(in, &fresh.active_, blocks) || !GetVector(in, &fresh.events_, blocks * 8) ||
      !GetVector(in, &fresh.marked_, blocks) ||
      !std::all_of(fresh.active_.begin(), fresh.active_.end(), index_fits) ||
      !std::all_of(fresh.marked_.begin(), fresh.marked_.end(), index_fits) ||
      fresh.events_.size() != fresh.active_.size() * kEventInputs) {
    return Damaged("list of active blocks");
  }
  for (const float x : fresh.events_) {
    if (!std::isfinite(x)) return Damaged("list of active blocks");
  }
  if (!Get(in, &fresh.ring_first_) || fresh.ring_first_ > fresh.now_ ||
      fresh.now_ - fresh.ring_first_ > fresh.rings_.size()) {
    return Damaged("history");
  }
  for (std::uint32_t w = fresh.ring_first_; w < fresh.now_; ++w) {
    auto& bytes = fresh.rings_[w % fresh.rings_.size()].bytes;
    if (!GetVector(in, &bytes, 5 * blocks)) return Damaged("history");
    std::uint64_t index = 0;
    std::uint64_t value = 0;
    int shift = 0;
    for (const std::uint8_t byte : bytes) {  // every index it names must exist
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      shift += 7;
      if (shift > 35) return Damaged("history");
      if ((byte & 0x80) != 0) continue;
      index += value;
      value = 0;
      shift = 0;
      if (index >= blocks) return Damaged("history");
    }
    if (shift != 0) return Damaged("history");
    fresh.ring_bytes_ += bytes.size();
  }
  *this = std::move(fresh);
  return Ok();
}

}  // namespace shadow::pam
