// SPDX-License-Identifier: Apache-2.0
#include "daemon/fs/superblock.h"

namespace shadow {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 62;

std::uint64_t Little(const std::vector<std::uint8_t>& b, std::size_t at, int bytes) {
  std::uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; --i) value = value << 8 | b[at + static_cast<std::size_t>(i)];
  return value;
}

std::uint64_t Big(const std::vector<std::uint8_t>& b, std::size_t at, int bytes) {
  std::uint64_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | b[at + static_cast<std::size_t>(i)];
  return value;
}

// Fields as in the kernel's fs/ext4/ext4.h, struct ext4_super_block, at byte 1024.
std::uint64_t ExtEnd(const std::vector<std::uint8_t>& b) {
  constexpr std::size_t kAt = 1024;
  constexpr std::uint64_t k64BitFeature = 0x80;
  if (Little(b, kAt + 0x38, 2) != 0xef53) return 0;
  const std::uint64_t shift = Little(b, kAt + 0x18, 4);
  if (shift > 6) return 0;
  std::uint64_t blocks = Little(b, kAt + 0x04, 4);
  if ((Little(b, kAt + 0x60, 4) & k64BitFeature) != 0) blocks |= Little(b, kAt + 0x150, 4) << 32;
  return BytesOf(blocks, std::uint64_t{1024} << shift);
}

// Fields as in the kernel's fs/xfs/libxfs/xfs_format.h, struct xfs_dsb; big endian.
std::uint64_t XfsEnd(const std::vector<std::uint8_t>& b) {
  if (Big(b, 0, 4) != 0x58465342) return 0;  // "XFSB"
  const std::uint64_t size = Big(b, 4, 4);
  if (size < 512 || size > 65536) return 0;
  return BytesOf(Big(b, 8, 8), size);
}

// Fields as in the kernel's uapi/linux/btrfs_tree.h, struct btrfs_super_block, at byte 65536; its
// dev_item is this device's, whatever others the file system has.
std::uint64_t BtrfsEnd(const std::vector<std::uint8_t>& b) {
  constexpr std::size_t kAt = 65536;
  constexpr std::uint64_t kMagic = 0x4d5f53665248425fULL;  // "_BHRfS_M"
  if (Little(b, kAt + 0x40, 8) != kMagic) return 0;
  const std::uint64_t bytes = Little(b, kAt + 0xc9 + 8, 8);
  return bytes > kMostBytes ? 0 : bytes;
}

}  // namespace

std::uint64_t BytesOf(std::uint64_t blocks, std::uint64_t size) {
  if (size == 0 || blocks > kMostBytes / size) return 0;
  return blocks * size;
}

bool IsExt(const std::string& type) { return type == "ext2" || type == "ext3" || type == "ext4"; }

// As resize2fs has it (resize/main.c of e2fsprogs): last check before the last mount, or not clean.
bool ExtNeedsCheck(const std::vector<std::uint8_t>& start) {
  constexpr std::size_t kAt = 1024;
  if (start.size() < kSuperblockBytes) return true;
  const std::uint64_t mounted = Little(start, kAt + 0x2c, 4);
  const std::uint64_t checked = Little(start, kAt + 0x40, 4);
  const std::uint64_t state = Little(start, kAt + 0x3a, 2);
  constexpr std::uint64_t kValid = 1;
  constexpr std::uint64_t kErrors = 2;
  return checked < mounted || (state & kValid) == 0 || (state & kErrors) != 0;
}

std::uint64_t FilesystemEnd(const std::string& type, const std::vector<std::uint8_t>& start) {
  if (start.size() < kSuperblockBytes) return 0;
  if (IsExt(type)) return ExtEnd(start);
  if (type == "xfs") return XfsEnd(start);
  if (type == "btrfs") return BtrfsEnd(start);
  return 0;
}

}  // namespace shadow
