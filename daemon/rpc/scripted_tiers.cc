// SPDX-License-Identifier: Apache-2.0
// The tiers of the scripted engine: figures that look like a real volume's and never change by
// themselves.
#include <algorithm>

#include "daemon/rpc/scripted_engine.h"

namespace shadow::rpc {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

const char* NameOf(TierLevel level) { return level == TierLevel::kTier1 ? "tier1" : "tier2"; }

std::size_t At(TierLevel level) { return static_cast<std::size_t>(level); }

Error NoVolumeOf(const std::string& name) {
  return MakeError(Code::kNotFound, "There is no volume " + name + ".",
                   "`shadowctl volume list` shows the volumes.");
}

Error NoTiers(const std::string& name) {
  return MakeError(Code::kFailedPrecondition, "The volume " + name + " has no tiers.",
                   "Add one with `shadowctl tier add`.");
}

/// Heat of a block by where it lies on the volume, `at` being 0..1.
float HeatAt(double at, std::uint64_t block) {
  double heat = 0;
  if (at >= 0.05 && at < 0.08) heat = 0.94;
  if (at >= 0.08 && at < 0.14) heat = 0.52;
  if (at >= 0.40 && at < 0.55) heat = 0.36;
  if (at >= 0.70 && at < 0.72) heat = 0.81;
  if (at >= 0.90) heat = 0.05;
  if (heat == 0) return 0;
  return static_cast<float>(heat - 0.04 * static_cast<double>(block / 64 % 5) / 5);
}

std::string ContentOf(const AddTierRequest& r) {
  return r.volume + '|' + NameOf(r.level) + '|' + r.to + '|' + std::to_string(r.size_bytes) + '|' +
         std::to_string(static_cast<int>(r.write_back));
}

}  // namespace

void ScriptedEngine::SetMaps(std::vector<TierRun> runs, std::vector<HeatCell> cells) {
  const std::lock_guard lock(mutex_);
  runs_ = std::move(runs);
  cells_ = std::move(cells);
}

Result<TierInfo*> ScriptedEngine::FindTier(const std::string& volume, TierLevel level) {
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  if (const auto it = tiers_.find(volume); it != tiers_.end()) {
    for (TierInfo& tier : it->second.tiers) {
      if (tier.level == level) return &tier;
    }
  }
  return MakeError(Code::kNotFound, "The volume " + volume + " has no " + NameOf(level) + ".",
                   "`shadowctl tier list " + volume + "` shows its tiers.");
}

/// The kernel's view of the tiers follows from ours.
void ScriptedEngine::ShowTiers(const std::string& volume) {
  VolumeInfo& v = volumes_.at(volume);
  v.kernel.tiers = {};
  const auto it = tiers_.find(volume);
  if (it == tiers_.end()) return;
  for (const TierInfo& tier : it->second.tiers) {
    v.kernel.tiers.at(At(tier.level)) =
        KernelTier{tier.health, tier.write_back, tier.size_bytes / v.block_bytes,
                   tier.used_bytes / v.block_bytes, tier.dirty_bytes / v.block_bytes};
  }
  if (it->second.tiers.empty()) tiers_.erase(it);
}

Result<TierInfo> ScriptedEngine::AddTier(const AddTierRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("AddTier", request.volume + " " + NameOf(request.level) + " " + request.to));
  const auto volume = volumes_.find(request.volume);
  if (volume == volumes_.end()) return NoVolumeOf(request.volume);
  if (const auto it = requests_.find(request.request_id); it != requests_.end()) {
    if (it->second.content == ContentOf(request)) {
      SHADOW_ASSIGN(const TierInfo* again, FindTier(request.volume, request.level));
      return *again;
    }
    return MakeError(Code::kAlreadyExists,
                     "The request id " + request.request_id + " was used for another request.",
                     "Use a new id for a new request.");
  }
  if (!volume->second.modification_id.empty()) {
    return MakeError(Code::kFailedPrecondition,
                     "The volume " + request.volume + " is being modified (" +
                         volume->second.modification_id + ").",
                     "Wait for it, or abort it; then add the tier.");
  }
  if (FindTier(request.volume, request.level).ok()) {
    return MakeError(Code::kAlreadyExists,
                     "The volume " + request.volume + " has a " + NameOf(request.level) + ".",
                     "Remove it first to replace it.");
  }
  const bool is_device = request.to.starts_with('/');
  if (!is_device && request.to != "hdd" && request.to != "nvme") {
    return MakeError(Code::kNotFound, "There is no storage class " + request.to + ".",
                     "`shadowctl class list` shows the classes.");
  }
  if (request.size_bytes > 500 * kGiB) {
    return MakeError(Code::kOutOfSpace, "The class " + request.to + " has 500 GiB free.",
                     "Ask for less, or extend the volume group with vgextend.");
  }
  TierInfo tier;
  tier.level = request.level;
  tier.state = "active";
  tier.health = request.volume == "broken" ? "failed" : "ok";
  tier.storage_class = is_device ? "" : request.to;
  tier.device =
      is_device ? request.to
                : "/dev/" + request.to + "/shadow." + request.volume + "." + NameOf(request.level);
  tier.size_bytes = request.size_bytes == 0 ? 8 * kGiB : request.size_bytes;
  tier.used_bytes = tier.size_bytes / 4 * 3;
  tier.write_back = request.write_back;
  tier.dirty_bytes = tier.write_back ? tier.size_bytes / 16 : 0;
  tier.reads = request.level == TierLevel::kTier1 ? 1'204'551 : 98'310;
  tier.writes = request.level == TierLevel::kTier1 ? 310'022 : 4'077;
  TiersInfo& info = tiers_[request.volume];
  info.tiers.push_back(tier);
  std::sort(info.tiers.begin(), info.tiers.end(),
            [](const TierInfo& a, const TierInfo& b) { return a.level < b.level; });
  PlacementInfo& p = info.placement;
  p.ruling = "pam";
  p.source = "blktrace";
  if (tier.health == "failed") {
    p.ruling = "ewma";
    p.source = "access";
    p.lost = 812;
    p.failures = 3;
    p.notes = {"The model is not trained yet: 9 of 15 windows were seen; EWMA ranks meanwhile.",
               "The block trace lost events; access bits are used instead."};
  }
  p.windows = 1440;
  p.known_blocks = 31'200;
  p.state_bytes = 5'990'400;
  p.budget_left_bytes = 600 * kMiB;
  p.moved_bytes = 42 * kGiB;
  p.served_bytes = 310 * kGiB;
  p.queued_blocks = 12;
  p.round_us = 184'000;
  p.promoted = 96'021;
  p.demoted = 71'310;
  p.written_back = 20'114;
  ShowTiers(request.volume);
  if (!request.request_id.empty()) {
    requests_[request.request_id] = {ContentOf(request), request.volume};
  }
  return tier;
}

Result<TierInfo> ScriptedEngine::RemoveTier(const RemoveTierRequest& request) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("RemoveTier", request.volume + " " + NameOf(request.level) +
                                     (request.forget ? " forget" : "") +
                                     (request.lost ? " lost" : "")));
  SHADOW_ASSIGN(TierInfo * tier, FindTier(request.volume, request.level));
  if (!request.forget) {
    tier->state = "removing";
    return *tier;
  }
  if (tier->dirty_bytes > 0 && !request.lost) {
    return MakeError(
        Code::kFailedPrecondition,
        "The newest data of " +
            std::to_string(tier->dirty_bytes / volumes_.at(request.volume).block_bytes) +
            " blocks are only on " + NameOf(request.level) + ".",
        "Remove it without --forget to write them home, or give them up with --lost.");
  }
  TierInfo gone;
  gone.level = request.level;
  gone.state = "removed";
  std::vector<TierInfo>& list = tiers_.at(request.volume).tiers;
  list.erase(list.begin() + (tier - list.data()));
  ShowTiers(request.volume);
  return gone;
}

Result<TierInfo> ScriptedEngine::SetTierMode(const std::string& volume, TierLevel level,
                                             bool write_back) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("SetTierMode",
                   volume + " " + NameOf(level) + (write_back ? " writeback" : " writethrough")));
  SHADOW_ASSIGN(TierInfo * tier, FindTier(volume, level));
  tier->write_back = write_back;
  const TierInfo now = *tier;
  ShowTiers(volume);
  return now;
}

Result<PlacementInfo> ScriptedEngine::SetTierPolicy(const std::string& volume,
                                                    const TierPolicy& policy) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("SetTierPolicy", volume));
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  const auto it = tiers_.find(volume);
  if (it == tiers_.end()) return NoTiers(volume);
  it->second.placement.policy = policy;
  it->second.placement.ruling = policy.policy;
  it->second.placement.notes.clear();
  return it->second.placement;
}

Result<TiersInfo> ScriptedEngine::ListTiers(const std::string& volume) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ListTiers", volume));
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  const auto it = tiers_.find(volume);
  if (it == tiers_.end()) return TiersInfo();
  TiersInfo now = it->second;
  std::vector<TierInfo>& list = it->second.tiers;
  list.erase(
      std::remove_if(list.begin(), list.end(),
                     [](const TierInfo& t) { return t.state == "removing" && t.used_bytes == 0; }),
      list.end());
  for (TierInfo& tier : list) {
    if (tier.state != "removing") continue;
    const std::uint64_t step = std::max<std::uint64_t>(tier.size_bytes / 4, 1);
    tier.used_bytes -= std::min(tier.used_bytes, step);
    tier.dirty_bytes -= std::min(tier.dirty_bytes, step);
  }
  ShowTiers(volume);
  return now;
}

Result<std::vector<HeatCell>> ScriptedEngine::GetHeatMap(const std::string& volume,
                                                         std::uint32_t ranges) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("GetHeatMap", volume + " " + std::to_string(ranges)));
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  if (!tiers_.contains(volume)) return NoTiers(volume);
  if (cells_) return *cells_;
  const std::uint64_t blocks = volumes_.at(volume).kernel.blocks;
  const std::uint64_t cells = std::min<std::uint64_t>(ranges, blocks);
  std::vector<HeatCell> out;
  for (std::uint64_t i = 0; i < cells; ++i) {
    HeatCell cell;
    cell.range.first = i * blocks / cells;
    cell.range.count = (i + 1) * blocks / cells - cell.range.first;
    double sum = 0;
    for (std::uint64_t b = cell.range.first; b < cell.range.first + cell.range.count; ++b) {
      const float heat = HeatAt(static_cast<double>(b) / static_cast<double>(blocks), b);
      cell.warmest = std::max(cell.warmest, heat);
      sum += heat;
    }
    cell.mean = static_cast<float>(sum / static_cast<double>(cell.range.count));
    out.push_back(cell);
  }
  return out;
}

std::vector<TierRun> ScriptedEngine::RunsOf(const std::string& volume) const {
  if (runs_) return *runs_;
  std::vector<TierRun> out;
  const auto it = tiers_.find(volume);
  if (it == tiers_.end()) return out;
  const std::uint64_t blocks = volumes_.at(volume).kernel.blocks;
  const auto has = [&](TierLevel level) {
    return std::any_of(it->second.tiers.begin(), it->second.tiers.end(),
                       [&](const TierInfo& t) { return t.level == level; });
  };
  const auto add = [&](int first, int count, TierLevel level, ShadowState state) {
    if (!has(level)) return;
    out.push_back({{static_cast<std::uint64_t>(first) * blocks / 1000,
                    static_cast<std::uint64_t>(count) * blocks / 1000},
                   level,
                   state});
  };
  add(50, 20, TierLevel::kTier1, ShadowState::kClean);
  add(70, 10, TierLevel::kTier1, ShadowState::kDirty);
  add(80, 50, TierLevel::kTier2, ShadowState::kClean);
  add(400, 100, TierLevel::kTier2, ShadowState::kClean);
  add(500, 2, TierLevel::kTier2, ShadowState::kPromoting);
  add(700, 19, TierLevel::kTier1, ShadowState::kClean);
  add(719, 1, TierLevel::kTier1, ShadowState::kCleaning);
  add(930, 4, TierLevel::kTier2, ShadowState::kDropping);
  return out;
}

Result<std::vector<TierRun>> ScriptedEngine::GetTierMap(const std::string& volume) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("GetTierMap", volume));
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  return RunsOf(volume);
}

Result<BlockExplanation> ScriptedEngine::ExplainBlock(const std::string& volume,
                                                      std::uint64_t block) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ExplainBlock", volume + " " + std::to_string(block)));
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  if (!tiers_.contains(volume)) return NoTiers(volume);
  const std::uint64_t blocks = volumes_.at(volume).kernel.blocks;
  BlockExplanation e;
  e.block = block;
  e.heat = HeatAt(static_cast<double>(block) / static_cast<double>(blocks), block);
  e.place = "home";
  for (const TierRun& run : RunsOf(volume)) {
    if (block < run.range.first || block >= run.range.first + run.range.count) continue;
    e.place = NameOf(run.tier);
    e.dirty = run.state == ShadowState::kDirty;
    e.busy = run.state != ShadowState::kDirty && run.state != ShadowState::kClean;
  }
  e.belongs = e.heat >= 0.7 ? "tier1" : e.heat >= 0.3 ? "tier2" : "home";
  e.best = e.belongs;
  e.accesses = e.heat * 40;
  e.writes = e.heat * 10;
  e.margin = 1.5;
  e.decision = "stay";
  if (e.place == e.belongs) {
    e.why = "It is where it belongs.";
    return e;
  }
  e.transfer_ms = 3.4;
  e.interference_ms = 0.82;
  e.tier1_saves_ms = e.heat * 66;
  e.tier2_saves_ms = e.heat * 60;
  e.wear_ms = 0.25;
  e.cost_ms = 4.47;
  e.benefit_ms = e.heat * 60;
  if (e.busy) {
    e.decision = "wait";
    e.why = "It is being moved.";
  } else if (e.benefit_ms > e.margin * e.cost_ms) {
    e.decision = "promote";
    e.why = "What it saves is worth more than the copy costs.";
  } else {
    e.why = "Cold, but its slot is not needed: a shadow that costs nothing stays.";
  }
  return e;
}

Result<AppTotals> ScriptedEngine::ReadCounters(const std::string& volume) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("ReadCounters", volume));
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  AppTotals totals;
  totals.reads = 1000 * ++counted_[volume];
  totals.read_bytes = totals.reads * 4096;
  totals.read_ns = totals.reads * 200'000;
  totals.counts.assign(BucketBoundsNs().size() + 1, 0);
  totals.counts[32] = totals.reads;
  return totals;
}

Result<std::vector<MapCell>> ScriptedEngine::GetBlockMap(const std::string& volume,
                                                         BlockRange range, std::uint32_t cells) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("GetBlockMap", volume));
  if (!volumes_.contains(volume)) return NoVolumeOf(volume);
  if (cells == 0 || range.count == 0) {
    return MakeError(Code::kInvalidArgument, "A block map needs blocks and parts.");
  }
  std::vector<MapCell> map;
  const std::uint64_t n = std::min<std::uint64_t>(cells, range.count);
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::uint64_t from = i * range.count / n;
    MapCell cell{{range.first + from, (i + 1) * range.count / n - from}, {}};
    const BlockState state = i < n / 2 ? BlockState::kOrigin : BlockState::kHole;
    cell.blocks.at(static_cast<std::size_t>(state)) = cell.range.count;
    map.push_back(cell);
  }
  return map;
}

Result<std::vector<VolumeTop>> ScriptedEngine::Top(const std::string& volume) {
  const std::lock_guard lock(mutex_);
  SHADOW_TRY(Enter("Top", volume));
  if (!volume.empty() && !volumes_.contains(volume)) return NoVolumeOf(volume);
  const std::uint64_t look = looks_++;
  std::vector<VolumeTop> out;
  for (const auto& [name, info] : volumes_) {
    if (!volume.empty() && name != volume) continue;
    VolumeTop top;
    top.name = name;
    top.modification_id = info.modification_id;
    top.interval_ms = look == 0 ? 0 : 1000;
    if (look > 0 && name == "db0") {
      top.reads_per_s = 8200 + look % 7 * 60;
      top.writes_per_s = 2100 + look % 5 * 31;
      top.bytes_per_s = (top.reads_per_s + top.writes_per_s) * 8192;
      top.p50_us = 180;
      top.p99_us = 9400;
      if (tiers_.contains(name)) {
        top.hit_ratio1 = 0.713;
        top.hit_ratio2 = 0.164;
        top.moved_bytes_per_s = 12 * kMiB;
      }
    }
    if (look > 0 && name == "logs") {
      top.writes_per_s = 12;
      top.bytes_per_s = 49'152;
      top.p50_us = 2100;
      top.p99_us = 4000;
    }
    out.push_back(top);
  }
  return out;
}

}  // namespace shadow::rpc
