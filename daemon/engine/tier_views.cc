// SPDX-License-Identifier: Apache-2.0
// What is told of tiers, heat and placement. Reads the store, the kernel and the keepers; changes
// nothing.
#include <algorithm>

#include "daemon/engine/engine_impl.h"
#include "daemon/modify/tables.h"

namespace shadow {
TierInfo EngineImpl::TierInfoOf(const TierRecord& record, TierLevel level,
                                const KernelStatus* kernel) {
  TierInfo info;
  info.level = level;
  info.state = record.phase == TierPhase::kAdding   ? "adding"
               : record.phase == TierPhase::kActive ? "active"
                                                    : "removing";
  info.device = record.leg.device;
  info.storage_class = record.leg.storage_class;
  info.size_bytes = record.size_bytes;
  info.write_back = record.write_back;
  if (kernel == nullptr || !kernel->tiers.at(IndexOf(level))) return info;
  const KernelTier& k = *kernel->tiers.at(IndexOf(level));
  info.health = k.health;
  if (k.slots != 0) info.size_bytes = k.slots * kernel->block_bytes;
  info.used_bytes = k.used * kernel->block_bytes;
  info.dirty_bytes = k.dirty * kernel->block_bytes;
  info.write_back = k.write_back;
  info.reads = kernel->tier_reads.at(IndexOf(level));
  info.writes = kernel->tier_writes.at(IndexOf(level));
  return info;
}

Result<TierInfo> EngineImpl::TierNow(const std::string& volume, TierLevel level) {
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(volume));
  const TierRecord& record = tiers.tiers.at(IndexOf(level));
  if (record.phase == TierPhase::kNone) return NoSuchTier(volume, level);
  const auto status = ReadStatus(*deps_.dm, volume);
  return TierInfoOf(record, level, status.ok() ? &status->kernel : nullptr);
}

Result<TiersInfo> EngineImpl::ListTiers(const std::string& name) {
  SHADOW_TRY(FindVolume(name));
  SHADOW_ASSIGN(const TiersRecord tiers, deps_.store->Tiers(name));
  const auto status = ReadStatus(*deps_.dm, name);
  TiersInfo info;
  for (std::size_t i = 0; i < tiers.tiers.size(); ++i) {
    const TierRecord& tier = tiers.tiers.at(i);
    if (tier.phase == TierPhase::kNone) continue;
    info.tiers.push_back(
        TierInfoOf(tier, static_cast<TierLevel>(i), status.ok() ? &status->kernel : nullptr));
  }
  if (const auto keeper = KeeperOf(name)) info.placement = keeper->Info();
  info.placement.policy = tiers.policy;
  if (!status.ok()) return info;
  info.placement.queued_blocks = status->tier_queue;
  info.placement.promoted = status->kernel.promoted + status->kernel.fetched;
  info.placement.demoted = status->kernel.demoted;
  info.placement.written_back = status->kernel.written_back;
  info.placement.failures = status->kernel.tier_failures;
  return info;
}

Result<std::vector<TierRun>> EngineImpl::GetTierMap(const std::string& name) {
  SHADOW_TRY(FindVolume(name));
  return ReadTiers(*deps_.dm, name);
}

Result<std::vector<HeatCell>> EngineImpl::GetHeatMap(const std::string& name,
                                                     std::uint32_t ranges) {
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(name));
  const std::uint64_t blocks = (volume.sectors + volume.block_sectors - 1) / volume.block_sectors;
  if (ranges == 0 || ranges > 4096) {
    return MakeError(Code::kInvalidArgument, "A heat map has 1 to 4096 ranges.", "ask for fewer");
  }
  const auto keeper = KeeperOf(name);
  if (keeper == nullptr) {
    return MakeError(Code::kFailedPrecondition, "The heat of " + name + " is not known.",
                     "it is measured on volumes with tiers: shadowctl tier add");
  }
  const std::uint64_t cells = std::min<std::uint64_t>(ranges, blocks);
  std::vector<HeatCell> map;
  for (std::uint64_t i = 0; i < cells; ++i) {
    // i * blocks fits: at most 4096 * 2^44.
    const std::uint64_t first = i * blocks / cells;
    map.push_back({{first, (i + 1) * blocks / cells - first}, 0, 0});
  }
  std::size_t at = 0;
  for (const WarmBlock& warm : keeper->Warm()) {
    if (warm.block >= blocks) break;
    while (map[at].range.first + map[at].range.count <= warm.block) ++at;
    map[at].warmest = std::max(map[at].warmest, warm.heat);
    map[at].mean += warm.heat / static_cast<float>(map[at].range.count);
  }
  return map;
}

Result<BlockExplanation> EngineImpl::ExplainBlock(const std::string& name, std::uint64_t block) {
  SHADOW_ASSIGN(const VolumeRecord volume, FindVolume(name));
  const std::uint64_t blocks = (volume.sectors + volume.block_sectors - 1) / volume.block_sectors;
  if (block >= blocks) {
    return MakeError(Code::kInvalidArgument,
                     "The volume " + name + " has no block " + std::to_string(block) + ".",
                     "its last block is " + std::to_string(blocks - 1));
  }
  const auto keeper = KeeperOf(name);
  if (keeper == nullptr) {
    return MakeError(Code::kFailedPrecondition, "Nothing is placed on " + name + ".",
                     "add a tier with shadowctl tier add");
  }
  return keeper->Explain(block);
}

Result<std::vector<VolumeTop>> EngineImpl::Top(const std::string& only) {
  std::vector<std::string> names;
  if (!only.empty()) {
    SHADOW_TRY(FindVolume(only));
    names.push_back(only);
  } else {
    const std::lock_guard<std::mutex> lock(state_);
    for (const auto& [name, volume] : volumes_) names.push_back(name);
  }
  const std::lock_guard<std::mutex> lock(top_mutex_);
  std::vector<VolumeTop> all;
  for (const std::string& name : names) {
    const auto status = ReadStatus(*deps_.dm, name);
    if (!status.ok()) continue;
    TopSeen& seen = top_[name];
    const std::int64_t now = deps_.clock->MonotonicUs();
    VolumeTop top;
    top.name = name;
    if (const RunningPtr running = RunningOn(name))
      top.modification_id = running->runner->Info().id;
    if (seen.meter == nullptr) {
      seen.meter = std::make_unique<LatencyMeter>(*deps_.dm, name, "shadowd-top");
      seen.meter->Start();
    } else {
      const LatencyWindow app = seen.meter->Take();
      const double seconds = static_cast<double>(std::max<std::int64_t>(1, now - seen.at_us)) / 1e6;
      const auto per_s = [&](std::uint64_t n) {
        return static_cast<std::uint64_t>(static_cast<double>(n) / seconds + 0.5);
      };
      const auto since = [](std::uint64_t after, std::uint64_t before) {
        return after >= before ? after - before : after;
      };
      const KernelStatus& k = status->kernel;
      top.interval_ms = (now - seen.at_us) / 1000;
      top.reads_per_s = per_s(app.reads);
      top.writes_per_s = per_s(app.ios - app.reads);
      top.bytes_per_s = per_s(app.bytes);
      top.p50_us = app.p50_us;
      top.p99_us = app.p99_us;
      const auto ratio = [&](std::size_t i) {
        const std::uint64_t hits = since(k.tier_reads.at(i), seen.kernel.tier_reads.at(i));
        return app.reads == 0
                   ? 0.0
                   : std::min(1.0, static_cast<double>(hits) / static_cast<double>(app.reads));
      };
      top.hit_ratio1 = ratio(0);
      top.hit_ratio2 = ratio(1);
      const std::uint64_t moved = since(k.promoted, seen.kernel.promoted) +
                                  since(k.fetched, seen.kernel.fetched) +
                                  since(k.written_back, seen.kernel.written_back);
      top.moved_bytes_per_s = per_s(moved * k.block_bytes);
    }
    seen.at_us = now;
    seen.kernel = status->kernel;
    all.push_back(std::move(top));
  }
  return all;
}

}  // namespace shadow
