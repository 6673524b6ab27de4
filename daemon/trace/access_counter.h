// SPDX-License-Identifier: Apache-2.0
// Counts the accesses of one window, block by block.
//
// One thread. Memory follows the distinct blocks of the window: 12 bytes each, half as much again
// for what is not merged yet, and at least 512 KiB. Cannot fail.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/dm/blocks.h"
#include "daemon/place/policy.h"

namespace shadow {

class AccessCounter {
 public:
  /// `block_bytes`: a power of two.
  explicit AccessCounter(std::uint64_t block_bytes);

  /// One request of `length` > 0 bytes: counts once for each block that it touches.
  void AddRequest(std::uint64_t offset, std::uint64_t length, bool write);
  /// One harvest of access bits, ascending: 1 for read, 1 for written.
  void AddHarvest(const std::vector<AccessRun>& runs);
  /// Everything since the last call, ascending by block.
  [[nodiscard]] std::vector<BlockAccess> Take();
  void Clear();

 private:
  void Merge();

  const unsigned shift_;
  std::vector<std::uint64_t> fresh_;  // block * 2 + write
  std::vector<BlockAccess> counted_;  // ascending
};

}  // namespace shadow
