// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "daemon/legs/legs.h"

namespace shadow {
namespace {

constexpr std::uint64_t kBlocksPerPage = 4032;
constexpr std::uint64_t kBlocksPerSlotPage = 1008;
constexpr std::uint64_t kPageBytes = 4096;
constexpr std::uint64_t kCopiesOfPage = 2;
constexpr std::uint64_t kPagesStart = std::uint64_t{64} << 10;
constexpr std::uint64_t kRoomToGrow = 4;
constexpr std::uint64_t kLeastBytes = 1 << 20;

}  // namespace

std::uint64_t MetadataBytes(std::uint64_t blocks) {
  const std::uint64_t pages = (blocks + kBlocksPerPage - 1) / kBlocksPerPage;
  return kPagesStart + pages * kCopiesOfPage * kPageBytes;
}

std::uint64_t MetadataAllocation(std::uint64_t blocks) {
  return std::max(kLeastBytes, MetadataBytes(blocks * kRoomToGrow));
}

std::uint64_t TieredMetadataBytes(std::uint64_t blocks) {
  const std::uint64_t pages = (blocks + kBlocksPerSlotPage - 1) / kBlocksPerSlotPage;
  return MetadataBytes(blocks) + pages * kCopiesOfPage * kPageBytes;
}

std::uint64_t TieredMetadataAllocation(std::uint64_t blocks) {
  return std::max(kLeastBytes, TieredMetadataBytes(blocks * kRoomToGrow));
}

}  // namespace shadow
