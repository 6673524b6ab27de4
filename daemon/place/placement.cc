// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/placement.h"

#include <algorithm>
#include <cmath>

#include "daemon/place/ranking.h"

namespace shadow {
namespace {

constexpr std::size_t kLeastRanked = 4096;
constexpr std::size_t kMostRanked = 800'000;  // an answer of the worker holds so many

/// The ranked blocks that decide anything: all slots, those that would like to have one, and some.
std::size_t RankedFor(const TierWorld& world) {
  const std::size_t slots = world.tier1.slots + world.tier2.slots;
  return std::clamp<std::size_t>(slots + slots / 8 + kLeastRanked, kLeastRanked, kMostRanked);
}

void Merge(const AccessWindow& part, AccessWindow* into) {
  if (into->length_us == 0) into->start_us = part.start_us;
  into->length_us += part.length_us;
  into->ops += part.ops;
  into->bytes += part.bytes;
  into->lost += part.lost;
  std::vector<BlockAccess> both;
  both.reserve(into->blocks.size() + part.blocks.size());
  auto a = into->blocks.begin();
  for (const BlockAccess& b : part.blocks) {
    for (; a != into->blocks.end() && a->block < b.block; ++a) both.push_back(*a);
    if (a != into->blocks.end() && a->block == b.block) {
      both.push_back({b.block, a->count + b.count, a->writes + b.writes});
      ++a;
    } else {
      both.push_back(b);
    }
  }
  both.insert(both.end(), a, into->blocks.end());
  into->blocks = std::move(both);
}

}  // namespace

Placement::Placement(const PlacementSettings& settings, std::uint64_t blocks,
                     std::uint64_t block_bytes, PamVolume pam, const Clock& clock)
    : settings_(settings),
      blocks_(blocks),
      block_bytes_(block_bytes),
      pam_(std::move(pam)),
      clock_(clock),
      budget_(static_cast<double>(settings.budget_per_minute)),
      earned_(static_cast<double>(settings.free_bytes)),
      budget_us_(clock.MonotonicUs()) {
  pam_.blocks = blocks;
}

Result<std::unique_ptr<Placement>> Placement::Make(const PlacementSettings& settings,
                                                   std::uint64_t blocks, std::uint64_t block_bytes,
                                                   const PamVolume& pam, const Clock& clock) {
  if (settings.window_us <= 0 || blocks == 0 || blocks > 0xfffffffeU || block_bytes == 0) {
    return MakeError(Code::kInvalidArgument,
                     "Placement needs a window, and a volume of 1 to 4,294,967,294 blocks.");
  }
  std::unique_ptr<Placement> p(new Placement(settings, blocks, block_bytes, pam, clock));
  SHADOW_TRY(p->SetPolicy(settings.policy));
  return p;
}

Status Placement::SetPolicy(const std::string& name) {
  SHADOW_ASSIGN(std::unique_ptr<PlacementPolicy> made,
                MakePolicy(name, history_, settings_.policies, pam_));
  policy_ = std::move(made);
  settings_.policy = name;
  return Ok();
}

Status Placement::Configure(const PlacementSettings& settings, std::uint64_t blocks) {
  if (blocks == 0 || blocks > 0xfffffffeU) {
    return MakeError(Code::kInvalidArgument,
                     "Placement needs a volume of 1 to 4,294,967,294 blocks.");
  }
  pam_.blocks = blocks;
  if (settings.policy != settings_.policy) {
    SHADOW_TRY(SetPolicy(settings.policy));
  } else if (blocks != blocks_) {
    policy_->Resize(blocks);
  }
  const std::lock_guard lock(mutex_);
  const std::int64_t window = settings_.window_us;
  settings_ = settings;
  settings_.window_us = window;
  blocks_ = blocks;
  const double most = static_cast<double>(settings_.budget_per_minute);
  budget_ = std::min(budget_, most);
  return Ok();
}

void Placement::Earn(const AccessWindow& part) {
  const std::int64_t now = clock_.MonotonicUs();
  const double minute = static_cast<double>(settings_.budget_per_minute);
  budget_ = std::min(minute, budget_ + minute * static_cast<double>(now - budget_us_) / 60e6);
  budget_us_ = now;
  const double most = static_cast<double>(settings_.free_bytes) + minute;
  earned_ = std::min(most, earned_ + settings_.served_share * static_cast<double>(part.bytes));
}

void Placement::AddPart(const AccessWindow& part) {
  Earn(part);
  status_.served_bytes += part.bytes;
  status_.lost += part.lost;
  const double windows =
      static_cast<double>(part.length_us) / static_cast<double>(settings_.window_us);
  const double seconds = static_cast<double>(part.length_us) / 1e6;
  if (seconds > 0) {
    const double keep = std::exp2(-std::max(0.0, windows));
    iops_ = iops_ * keep + (1 - keep) * static_cast<double>(part.ops) / seconds;
  }
  AccessWindow good;
  const AccessWindow* use = &part;
  if (!part.blocks.empty() && part.blocks.back().block >= blocks_) {
    good = part;
    std::erase_if(good.blocks, [this](const BlockAccess& a) { return a.block >= blocks_; });
    use = &good;
  }
  touched_.clear();
  for (const BlockAccess& a : use->blocks) touched_.push_back(a.block);
  Merge(*use, &window_);
  const std::lock_guard lock(mutex_);
  history_.Add(*use, windows);
}

PlanInput Placement::Input() const {
  PlanInput in;
  in.ranking = asked_;
  in.shadows = world_.shadows;
  in.block_bytes = block_bytes_;
  in.home = world_.home;
  in.tier1 = world_.tier1;
  in.tier2 = world_.tier2;
  in.rate = world_.rate;
  in.foreground_iops = world_.foreground_iops > 0 ? world_.foreground_iops : iops_;
  // Unmeasured: half of what one block keeps home busy.
  in.foreground_ms = world_.foreground_ms;
  if (in.foreground_ms < 0) {
    const double mib = static_cast<double>(block_bytes_) / (1 << 20);
    in.foreground_ms = world_.home.read_mib_s > 0 ? mib / world_.home.read_mib_s * 1000 / 2 : 0;
  }
  in.budget = static_cast<std::uint64_t>(std::max(0.0, std::min(budget_, earned_)));
  in.may_promote = settings_.policy != "off";
  return in;
}

TierPlan Placement::Plan(const TierWorld& world, std::vector<BlockHeat> ranking) {
  const std::uint64_t window = status_.rounds;
  TierWorld copy = world;
  std::unordered_map<std::uint32_t, std::uint64_t> since;
  for (Shadow& s : copy.shadows) {
    if (!s.dirty) continue;
    const auto at = dirty_since_.find(s.block);
    const std::uint64_t first = at == dirty_since_.end() ? window : at->second;
    since.emplace(s.block, first);
    s.dirty_windows = static_cast<std::uint32_t>(window - first);
  }
  dirty_since_ = std::move(since);
  {
    const std::lock_guard lock(mutex_);
    world_ = std::move(copy);
    asked_ = std::move(ranking);
    ++version_;
  }
  plan_ = PlanMoves(Input(), settings_.plan);
  budget_ -= static_cast<double>(plan_.state.bytes);
  earned_ -= static_cast<double>(plan_.state.bytes);
  status_.moved_bytes += plan_.state.bytes;
  status_.plan = plan_.state;
  return plan_;
}

TierPlan Placement::React(const TierWorld& world) {
  if (!settings_.reactive || settings_.policy == "off" || settings_.policy == "lru" ||
      touched_.empty()) {
    return {};
  }
  ++status_.reactions;
  std::vector<BlockHeat> ranking = asked_;
  std::sort(ranking.begin(), ranking.end(),
            [](const BlockHeat& a, const BlockHeat& b) { return a.block < b.block; });
  const auto known = static_cast<std::ptrdiff_t>(ranking.size());
  for (const std::uint32_t block : touched_) {
    const BlockHistory* b = history_.Find(block);
    if (b == nullptr) continue;
    const double worth = settings_.reactive_worth * history_.Count(*b, kHalf2);
    const auto at =
        std::lower_bound(ranking.begin(), ranking.begin() + known, block,
                         [](const BlockHeat& h, std::uint32_t wanted) { return h.block < wanted; });
    BlockHeat h = EwmaHeat(history_, *b, settings_.policies);
    if (at != ranking.begin() + known && at->block == block) h = *at;
    if (worth > h.accesses) {
      h.accesses = static_cast<float>(worth);
      h.writes = static_cast<float>(worth * History::WriteShare(*b));
    }
    if (at != ranking.begin() + known && at->block == block) {
      *at = h;
    } else {
      ranking.push_back(h);
    }
  }
  touched_.clear();
  return Plan(world, std::move(ranking));
}

TierPlan Placement::Round(const TierWorld& world) {
  const std::int64_t start = clock_.MonotonicUs();
  policy_->Observe(window_);
  window_ = {};
  touched_.clear();
  ++status_.rounds;
  std::vector<BlockHeat> ranking = policy_->Rank(RankedFor(world));
  TierPlan plan = Plan(world, std::move(ranking));
  status_.round_us = clock_.MonotonicUs() - start;
  return plan;
}

Explanation Placement::Explain(std::uint32_t block) const {
  return ExplainBlock(Input(), settings_.plan, plan_, block);
}

PlacementStatus Placement::GetStatus() const {
  PlacementStatus s = status_;
  s.policy = policy_->State();
  s.budget_left = static_cast<std::uint64_t>(std::max(0.0, std::min(budget_, earned_)));
  if (s.plan.budget_exhausted) {
    s.note = "The budget of bytes is used up; " + std::to_string(s.plan.left_out) +
             " moves that pay have to wait.";
  } else if (s.plan.tier1_full || s.plan.tier2_full) {
    s.note = std::string(s.plan.tier1_full ? "tier1" : "tier2") +
             " is full of blocks that are worth as much as those that would like to be there.";
  } else if (!s.policy.reason.empty()) {
    s.note = s.policy.reason;
  }
  return s;
}

std::vector<WarmBlock> Placement::Warm() const {
  const std::lock_guard lock(mutex_);
  std::vector<WarmBlock> warm;
  warm.reserve(history_.size());
  for (std::size_t i = 0; i < history_.size(); ++i) {
    const BlockHeat h = EwmaHeat(history_, history_.at(i), settings_.policies);
    const double idle_s =
        history_.Idle(history_.at(i)) * static_cast<double>(settings_.window_us) / 1e6;
    warm.push_back({h.block, 3, h.heat, h.writes, static_cast<float>(idle_s)});
  }
  const auto before = [](const WarmBlock& a, const WarmBlock& b) { return a.block < b.block; };
  std::sort(warm.begin(), warm.end(), before);
  const auto find = [&](std::uint32_t block) {
    const auto at = std::lower_bound(warm.begin(), warm.end(), WarmBlock{block}, before);
    return at != warm.end() && at->block == block ? &*at : nullptr;
  };
  for (const BlockHeat& h : asked_) {
    if (WarmBlock* w = find(h.block); w != nullptr) {
      w->heat = h.heat;
      w->writes = h.writes;
    }
  }
  // Without tiers a block's tier is where its heat would put it.
  if (world_.tier1.slots == 0 && world_.tier2.slots == 0) {
    for (WarmBlock& w : warm) {
      w.tier = w.heat >= settings_.plan.tier1_heat   ? 1
               : w.heat >= settings_.plan.tier2_heat ? 2
                                                     : 3;
    }
  }
  for (const Shadow& s : world_.shadows) {
    if (WarmBlock* w = find(s.block); w != nullptr) w->tier = static_cast<std::uint8_t>(s.tier);
  }
  return warm;
}

bool Placement::Watching() const {
  const std::lock_guard lock(mutex_);
  return history_.now() > 0;
}

std::uint64_t Placement::Version() const {
  const std::lock_guard lock(mutex_);
  return version_;
}

}  // namespace shadow
