// SPDX-License-Identifier: Apache-2.0
// Where a file system ends, from its superblock. Pure; the bytes are not trusted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace shadow {

/// Enough of the device's start to find every superblock we know.
inline constexpr std::size_t kSuperblockBytes = (64 << 10) + 4096;

/// Bytes from the device's start to the end of a file system of `type` ("ext2", "ext3", "ext4",
/// "xfs", "btrfs") whose first bytes are `start`; 0 if that cannot be told.
[[nodiscard]] std::uint64_t FilesystemEnd(const std::string& type,
                                          const std::vector<std::uint8_t>& start);

/// "ext2", "ext3" or "ext4".
[[nodiscard]] bool IsExt(const std::string& type);

/// Whether resize2fs would refuse this ext file system until e2fsck -f has run: it was used since,
/// was not unmounted in good order, or has errors.
[[nodiscard]] bool ExtNeedsCheck(const std::vector<std::uint8_t>& start);

/// blocks * size; 0 if that is more than any device has.
[[nodiscard]] std::uint64_t BytesOf(std::uint64_t blocks, std::uint64_t size);

}  // namespace shadow
