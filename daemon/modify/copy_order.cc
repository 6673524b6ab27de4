// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/copy_order.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

namespace shadow {
namespace {

/// Steps of expected writes: below 1/8, then doubling up to 1024 and more. Coarse, so that
/// neighbours stay together.
constexpr int kWriteSteps = 15;
constexpr int kOrderTiers = 3;

int StepOf(float writes) {
  if (!(writes >= 0.125F)) return 0;
  return std::min(kWriteSteps - 1,
                  4 + static_cast<int>(std::floor(std::log2(std::min(writes, 1e6F)))));
}

/// Coldest first: home alone, tier 2, tier 1; by rising writes within each.
std::size_t BucketOf(const WarmBlock& w) {
  const int tier = w.tier == 1 ? 2 : w.tier == 2 ? 1 : 0;
  return static_cast<std::size_t>(tier * kWriteSteps + StepOf(w.writes));
}

/// The same as HeatOrder, last first. To compare with.
class HottestOrder final : public CopyOrder {
 public:
  explicit HottestOrder(std::shared_ptr<const HeatSource> source) : heat_(std::move(source)) {}
  std::vector<BlockRange> Order(std::vector<BlockRange> todo) override {
    std::vector<BlockRange> ordered = heat_.Order(std::move(todo));
    std::reverse(ordered.begin(), ordered.end());
    return ordered;
  }
  [[nodiscard]] bool Changed() const override { return heat_.Changed(); }
  [[nodiscard]] std::uint64_t BatchBlocks() const override { return heat_.BatchBlocks(); }

 private:
  HeatOrder heat_;
};

/// Every block for itself, the same in every run. To compare with.
class RandomOrder final : public CopyOrder {
 public:
  std::vector<BlockRange> Order(std::vector<BlockRange> todo) override {
    std::vector<BlockRange> ordered;
    for (const BlockRange& range : todo) {
      for (std::uint64_t i = 0; i < range.count; ++i) ordered.push_back({range.first + i, 1});
    }
    std::shuffle(ordered.begin(), ordered.end(), random_);
    return ordered;
  }

 private:
  std::mt19937_64 random_{1};
};

}  // namespace

std::unique_ptr<CopyOrder> MakeCopyOrder(const std::string& name,
                                         std::shared_ptr<const HeatSource> source) {
  if (name == "heat") return std::make_unique<HeatOrder>(std::move(source));
  if (name == "ascending") return std::make_unique<AscendingOrder>();
  if (name == "hottest") return std::make_unique<HottestOrder>(std::move(source));
  if (name == "random") return std::make_unique<RandomOrder>();
  return nullptr;
}

std::vector<BlockRange> HeatOrder::Order(std::vector<BlockRange> todo) {
  if (!source_) return todo;
  version_ = source_->Version();
  const std::vector<WarmBlock> warm = source_->Warm();
  std::array<std::vector<BlockRange>, kOrderTiers * kWriteSteps> buckets;
  auto next = warm.begin();
  for (const BlockRange& range : todo) {
    const std::uint64_t end = range.first + range.count;
    std::uint64_t at = range.first;
    while (next != warm.end() && next->block < at) ++next;
    for (; next != warm.end() && next->block < end; ++next) {
      if (next->block < at) continue;  // said twice
      AppendRange(at, next->block - at, &buckets[0]);
      AppendRange(next->block, 1, &buckets[BucketOf(*next)]);
      at = std::uint64_t{next->block} + 1;
    }
    AppendRange(at, end - at, &buckets[0]);
  }
  todo.clear();
  for (const auto& bucket : buckets) {
    for (const BlockRange& range : bucket) AppendRange(range.first, range.count, &todo);
  }
  return todo;
}

bool HeatOrder::Changed() const { return source_ && source_->Version() != version_; }

std::uint64_t HeatOrder::BatchBlocks() const {
  return source_ && source_->Version() != 0 ? 2048 : CopyOrder::BatchBlocks();
}

}  // namespace shadow
