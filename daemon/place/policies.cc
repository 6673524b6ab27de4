// SPDX-License-Identifier: Apache-2.0
// ewma, lru and off; pam is in pam_policy.cc.
#include "daemon/place/policies.h"

#include <algorithm>
#include <cmath>

#include "daemon/place/ranking.h"

namespace shadow {

std::vector<BlockHeat> TopBlocks(std::vector<BlockHeat> all, std::size_t most) {
  const auto before = [](const BlockHeat& a, const BlockHeat& b) {
    return a.accesses != b.accesses ? a.accesses > b.accesses : a.block < b.block;
  };
  if (all.size() > most) {
    std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(most), all.end(),
                     before);
    all.resize(most);
    all.shrink_to_fit();
  }
  std::sort(all.begin(), all.end(), before);
  return all;
}

BlockHeat EwmaHeat(const History& history, const BlockHistory& b, const PolicySettings& settings) {
  const double expected = history.Expected(b, settings.half_life);
  return {b.block, static_cast<float>(history.Heat(b, settings.horizon_windows)),
          static_cast<float>(expected), static_cast<float>(expected * History::WriteShare(b))};
}

std::vector<BlockHeat> RankEwma(const History& history, const PolicySettings& settings,
                                std::size_t most) {
  std::vector<BlockHeat> all;
  all.reserve(history.size());
  for (std::size_t i = 0; i < history.size(); ++i) {
    const BlockHeat h = EwmaHeat(history, history.at(i), settings);
    if (h.accesses > 1e-3F) all.push_back(h);
  }
  return TopBlocks(std::move(all), most);
}

namespace {

/// What a block that was used just now is worth under lru, in accesses.
constexpr double kLruWorth = 8;

class Ewma final : public PlacementPolicy {
 public:
  Ewma(const History& history, const PolicySettings& settings)
      : history_(history), settings_(settings) {}
  void Observe(const AccessWindow& /*window*/) override { ++windows_; }
  std::vector<BlockHeat> Rank(std::size_t most) override {
    return RankEwma(history_, settings_, most);
  }
  [[nodiscard]] PolicyState State() const override {
    return {"ewma", "ewma", "", windows_, history_.size(), history_.Bytes()};
  }

 private:
  const History& history_;
  PolicySettings settings_;
  std::uint64_t windows_ = 0;
};

class Lru final : public PlacementPolicy {
 public:
  Lru(const History& history, const PolicySettings& settings)
      : history_(history), settings_(settings) {}
  void Observe(const AccessWindow& /*window*/) override { ++windows_; }
  std::vector<BlockHeat> Rank(std::size_t most) override {
    std::vector<BlockHeat> all;
    all.reserve(history_.size());
    for (std::size_t i = 0; i < history_.size(); ++i) {
      const BlockHistory& b = history_.at(i);
      const double recent = std::exp2(-history_.Idle(b) / kDiscountWindows);
      const double worth = kLruWorth * recent;
      all.push_back({b.block, static_cast<float>(recent), static_cast<float>(worth),
                     static_cast<float>(worth * History::WriteShare(b))});
    }
    return TopBlocks(std::move(all), most);
  }
  [[nodiscard]] PolicyState State() const override {
    return {"lru", "lru", "", windows_, history_.size(), history_.Bytes()};
  }

 private:
  const History& history_;
  PolicySettings settings_;
  std::uint64_t windows_ = 0;
};

class Off final : public PlacementPolicy {
 public:
  void Observe(const AccessWindow& /*window*/) override { ++windows_; }
  std::vector<BlockHeat> Rank(std::size_t /*most*/) override { return {}; }
  [[nodiscard]] PolicyState State() const override { return {"off", "off", "", windows_, 0, 0}; }

 private:
  std::uint64_t windows_ = 0;
};

}  // namespace

std::unique_ptr<PlacementPolicy> MakeEwma(const History& history, const PolicySettings& settings) {
  return std::make_unique<Ewma>(history, settings);
}

std::unique_ptr<PlacementPolicy> MakeLru(const History& history, const PolicySettings& settings) {
  return std::make_unique<Lru>(history, settings);
}

std::unique_ptr<PlacementPolicy> MakeOff() { return std::make_unique<Off>(); }

Result<std::unique_ptr<PlacementPolicy>> MakePolicy(const std::string& name, const History& history,
                                                    const PolicySettings& settings,
                                                    const PamVolume& volume) {
  if (name == "pam") return MakePam(history, settings, volume);
  if (name == "ewma") return MakeEwma(history, settings);
  if (name == "lru") return MakeLru(history, settings);
  if (name == "off") return MakeOff();
  return MakeError(Code::kInvalidArgument, "There is no placement policy '" + name + "'.",
                   "use pam, ewma, lru or off");
}

}  // namespace shadow
