// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/tiers.h"

#include "daemon/base/sizes.h"

namespace shadow {

Status GrowMetadata(const Deps& deps, const VolumeRecord& volume, const TiersRecord& tiers,
                    std::uint64_t sectors, bool will_have_tiers) {
  const std::uint64_t blocks = (sectors + volume.block_sectors - 1) / volume.block_sectors;
  const bool tiered = will_have_tiers || tiers.Any();
  const std::uint64_t needed = tiered ? TieredMetadataBytes(blocks) : MetadataBytes(blocks);
  if (tiered && tiers.metadata_end != 0) {
    if (needed <= tiers.metadata_end) return Ok();
    return MakeError(Code::kOutOfSpace,
                     "The metadata of " + volume.name + " has no room for the tiers' slots with " +
                         FormatSize(sectors * kSectorBytes) + ".",
                     "remove the tiers, then make the volume larger, then add them again");
  }
  SHADOW_ASSIGN(const BlockInfo info, deps.blocks->Describe(volume.metadata.device));
  const std::uint64_t good = tiered ? TieredMetadataAllocation(blocks) : MetadataAllocation(blocks);
  const std::uint64_t usable =
      tiered ? info.size_bytes / kSlotAreaAlign * kSlotAreaAlign : info.size_bytes;
  if (usable >= (tiered && volume.metadata.logical_volume ? good : needed)) return Ok();
  if (!volume.metadata.logical_volume) {
    return MakeError(Code::kOutOfSpace,
                     "The metadata device " + volume.metadata.device + " is too small for " +
                         FormatSize(sectors * kSectorBytes) + (tiered ? " and tiers." : "."),
                     "it needs " + FormatSize(needed) + ", and has " + FormatSize(info.size_bytes));
  }
  Status extended = deps.legs->Extend(volume.metadata, good);
  // Without room to grow it still works.
  if (!extended.ok() && usable >= needed) return Ok();
  return extended;
}

Status CheckDrain(const TargetStatus& status, const std::vector<TierRun>& shadows,
                  const std::string& volume) {
  for (const TierRun& run : shadows) {
    const auto& tier = status.kernel.tiers.at(static_cast<std::size_t>(run.tier));
    const bool only_there = run.state == ShadowState::kDirty || run.state == ShadowState::kCleaning;
    if (!only_there || !tier || tier->health != "missing") continue;
    const std::string name = TierName(run.tier);
    return MakeError(Code::kFailedPrecondition,
                     "The newest data of " + std::to_string(tier->dirty) + " blocks of " + volume +
                         " are only on " + name + ", which is missing.",
                     "bring its device back, or give the data up: shadowctl tier remove " + volume +
                         " " + name + " --forget --lost");
  }
  return Ok();
}

}  // namespace shadow
