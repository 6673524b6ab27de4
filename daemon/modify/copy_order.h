// SPDX-License-Identifier: Apache-2.0
// In which order blocks are copied.
//
// ascending joins neighbours best. heat: blocks that will be written are copied last, because a
// write during or after the copy of a block has to be copied again or mirrored: first blocks that
// live on home alone, then those of tier 2, those of tier 1 last; within a tier by rising expected
// writes, in steps, so that runs stay sequential. Owned and called by one copier.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "daemon/dm/blocks.h"

namespace shadow {

/// A block that somebody knows something of.
struct WarmBlock {
  std::uint32_t block = 0;
  std::uint8_t tier = 3;  // 1, 2: has a shadow there, or belongs there; 3: neither
  float heat = 0;         // probability of an access within the placement horizon, 0..1
  float writes = 0;       // expected, discounted
  float idle_s = std::numeric_limits<float>::max();  // since the last access that was seen
};

/// Who knows how warm blocks are. Thread safe.
class HeatSource {
 public:
  virtual ~HeatSource() = default;
  /// All blocks that are known of, ascending; the others are cold. Empty: nothing is known.
  [[nodiscard]] virtual std::vector<WarmBlock> Warm() const = 0;
  /// Differs whenever Warm() does.
  [[nodiscard]] virtual std::uint64_t Version() const = 0;
  /// False while accesses are not seen: then a block that Warm() does not name may be hot.
  [[nodiscard]] virtual bool Watching() const = 0;
};

class CopyOrder {
 public:
  virtual ~CopyOrder() = default;
  /// Orders (and may split) `todo`, which is ascending and without overlaps. Every block of it must
  /// come back exactly once: what is left out is asked for again later.
  virtual std::vector<BlockRange> Order(std::vector<BlockRange> todo) = 0;
  /// Would Order() say something else than before? Then what is not queued yet is ordered again.
  [[nodiscard]] virtual bool Changed() const { return false; }
  /// Blocks to hand to the kernel ahead of time: those cannot be ordered again.
  [[nodiscard]] virtual std::uint64_t BatchBlocks() const { return 8192; }
};

class AscendingOrder final : public CopyOrder {
 public:
  std::vector<BlockRange> Order(std::vector<BlockRange> todo) override { return todo; }
};

class HeatOrder final : public CopyOrder {
 public:
  /// `source` may be null or know nothing: ascending then.
  explicit HeatOrder(std::shared_ptr<const HeatSource> source) : source_(std::move(source)) {}
  std::vector<BlockRange> Order(std::vector<BlockRange> todo) override;
  [[nodiscard]] bool Changed() const override;
  [[nodiscard]] std::uint64_t BatchBlocks() const override;

 private:
  std::shared_ptr<const HeatSource> source_;
  std::uint64_t version_ = 0;
};

/// By name: "heat" (what is used), and to compare it with (tests/bench): "ascending", "hottest"
/// (heat the other way round), "random" (each block for itself). Null for another name.
[[nodiscard]] std::unique_ptr<CopyOrder> MakeCopyOrder(const std::string& name,
                                                       std::shared_ptr<const HeatSource> source);

}  // namespace shadow
