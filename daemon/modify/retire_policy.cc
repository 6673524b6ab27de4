// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/retire_policy.h"

#include <algorithm>

namespace shadow {

RetirePolicy::RetirePolicy(Retire policy, std::uint64_t blocks,
                           std::shared_ptr<const HeatSource> heat)
    : policy_(policy), heat_(std::move(heat)) {
  if (policy == Retire::kCold) idle_windows_.assign(blocks, 0);
}

void RetirePolicy::OnAccess(const std::vector<AccessRun>& runs) {
  const std::uint64_t size = idle_windows_.size();
  for (const AccessRun& run : runs) {
    const std::uint64_t end = std::min(size, run.range.first + run.range.count);
    for (std::uint64_t b = std::min(size, run.range.first); b < end; ++b) idle_windows_[b] = 0;
  }
}

void RetirePolicy::OnWindowEnd() {
  if (heat_ && !heat_->Watching()) {
    std::fill(idle_windows_.begin(), idle_windows_.end(), 0);
    return;
  }
  for (std::uint8_t& idle : idle_windows_) {
    if (idle < kColdWindows) ++idle;
  }
  if (!heat_ || idle_windows_.empty()) return;
  for (const WarmBlock& w : heat_->Warm()) {
    const bool warm = w.heat >= kColdHeat || w.idle_s * 1000 < static_cast<float>(kWindowMs);
    if (warm && w.block < idle_windows_.size()) idle_windows_[w.block] = 0;
  }
}

std::vector<BlockRange> RetirePolicy::Choose(const std::vector<StateRun>& map) const {
  std::vector<BlockRange> chosen;
  if (policy_ == Retire::kNever) return chosen;
  for (const StateRun& run : map) {
    if (run.state != BlockState::kMirrored) continue;
    if (policy_ == Retire::kEager) {
      AppendRange(run.range.first, run.range.count, &chosen);
      continue;
    }
    const std::uint64_t end =
        std::min<std::uint64_t>(idle_windows_.size(), run.range.first + run.range.count);
    for (std::uint64_t b = run.range.first; b < end; ++b) {
      if (idle_windows_[b] >= kColdWindows) AppendRange(b, 1, &chosen);
    }
  }
  return chosen;
}

}  // namespace shadow
