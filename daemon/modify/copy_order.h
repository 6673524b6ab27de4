// SPDX-License-Identifier: Apache-2.0
// In which order blocks are copied. An interface, because later the predictive access model
// decides: coldest first, hottest last. Until then ascending, which joins neighbours best.
#pragma once

#include <vector>

#include "daemon/dm/blocks.h"

namespace shadow {

class CopyOrder {
 public:
  virtual ~CopyOrder() = default;
  /// Orders (and may split) `todo`, which is ascending and without overlaps. Every block of it must
  /// come back exactly once: what is left out is asked for again later.
  virtual std::vector<BlockRange> Order(std::vector<BlockRange> todo) = 0;
};

class AscendingOrder final : public CopyOrder {
 public:
  std::vector<BlockRange> Order(std::vector<BlockRange> todo) override { return todo; }
};

}  // namespace shadow
