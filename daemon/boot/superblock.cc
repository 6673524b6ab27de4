// SPDX-License-Identifier: Apache-2.0
#include "daemon/boot/superblock.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "kernel/core/shadow_state.h"
#include "kernel/core/shadow_tier.h"
#include "tools/metadata/image.h"

namespace shadow {
namespace {

constexpr std::size_t kSuperblockBytes = std::size_t{SHADOW_NR_SUPERBLOCKS} * SHADOW_PAGE_SIZE;
constexpr std::array<const char*, SHADOW_NR_LEGS> kRoles = {"origin", "target", "tier1", "tier2"};

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};

Error Failed(const std::string& path, const char* what) {
  const Code code =
      errno == ENOENT || errno == ENXIO || errno == ENODEV ? Code::kNotFound : Code::kIoError;
  return MakeError(code, path + " cannot be " + what + ": " + std::strerror(errno) + ".");
}

// Of which leg the block's only copy is; SHADOW_LEG_NONE: of none.
int SoleLeg(const shadow_superblock& sb, std::uint8_t byte, bool old_page, bool in_flight) {
  const auto home = static_cast<enum shadow_home>(byte);
  if (home == SHADOW_HOLE) return SHADOW_LEG_NONE;
  if (old_page || sb.phase == SHADOW_STEADY || home == SHADOW_ORIGIN) return SHADOW_LEG_ORIGIN;
  if (home == SHADOW_TARGET) return SHADOW_LEG_TARGET;
  // Mirrored. Where a write was under way only the authority counts.
  if (!in_flight) return SHADOW_LEG_NONE;
  return sb.phase == SHADOW_GRACE ? SHADOW_LEG_TARGET : SHADOW_LEG_ORIGIN;
}

Error Damaged(const std::string& path) {
  return MakeError(Code::kDataLoss, "The metadata on " + path + " is damaged.",
                   "look at it with shadow_check " + path);
}

}  // namespace

std::optional<shadow_superblock> NewestSuperblock(const void* first_8k) {
  const auto* bytes = static_cast<const std::uint8_t*>(first_8k);
  std::optional<shadow_superblock> newest;
  for (std::size_t place = 0; place < SHADOW_NR_SUPERBLOCKS; ++place) {
    shadow_superblock sb{};
    if (shadow_sb_decode(bytes + place * SHADOW_PAGE_SIZE, &sb) != SHADOW_FORMAT_OK) continue;
    if (!newest || sb.generation > newest->generation) newest = sb;
  }
  return newest;
}

Result<std::optional<shadow_superblock>> ReadSuperblock(const std::string& path) {
  // The kernel writes past the page cache: what that holds may be old.
  int fd = open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == EINVAL) fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failed(path, "opened");
  const std::unique_ptr<void, FreeDeleter> buffer(std::aligned_alloc(4096, kSuperblockBytes));
  ssize_t got = -1;
  if (buffer) got = pread(fd, buffer.get(), kSuperblockBytes, 0);
  const int error = errno;
  close(fd);
  errno = error;
  if (got < 0) return Failed(path, "read");
  if (got < static_cast<ssize_t>(kSuperblockBytes)) return std::optional<shadow_superblock>();
  return NewestSuperblock(buffer.get());
}

const char* RoleName(int leg) { return kRoles.at(static_cast<std::size_t>(leg)); }

std::vector<LegEntry> LegsOf(const shadow_superblock& sb) {
  const std::string raw = sb.name;
  const bool plain = !raw.empty() && std::all_of(raw.begin(), raw.end(), [](unsigned char c) {
    return std::isgraph(c) != 0;
  });
  std::vector<LegEntry> legs;
  for (int leg = 0; leg < SHADOW_NR_LEGS; ++leg) {
    const shadow_leg_record& record = sb.legs[leg];
    if (!record.present || record.id[0] == '\0') continue;
    legs.push_back({record.id, RoleName(leg), sb.uuid, plain ? raw : "?"});
  }
  return legs;
}

ShadowTable TableFor(const shadow_superblock& sb, const std::string& metadata,
                     const LegPaths& paths) {
  ShadowTable table;
  table.sectors = sb.nr_sectors;
  table.metadata = metadata;
  table.block_sectors = sb.block_sectors;
  table.origin = {paths[SHADOW_LEG_ORIGIN], sb.legs[SHADOW_LEG_ORIGIN].id};
  if (sb.legs[SHADOW_LEG_TARGET].present) {
    table.target = TableLeg{paths[SHADOW_LEG_TARGET], sb.legs[SHADOW_LEG_TARGET].id};
  }
  for (std::size_t i = 0; i < table.tiers.size(); ++i) {
    const std::size_t leg = SHADOW_LEG_TIER1 + i;
    if (!sb.legs[leg].present) continue;
    table.tiers.at(i) =
        TableTier{{paths.at(leg), sb.legs[leg].id}, (sb.writeback & (1U << leg)) != 0};
  }
  if (sb.policy != SHADOW_READ_TARGET && sb.policy < SHADOW_NR_POLICIES) {
    table.read_policy = shadow_policy_name(static_cast<shadow_policy>(sb.policy));
  }
  return table;
}

std::uint64_t SectorsNeeded(const shadow_superblock& sb, int leg) {
  switch (leg) {
    case SHADOW_LEG_ORIGIN:
      // With a target the origin has what was there before, and nothing beyond.
      return sb.legs[SHADOW_LEG_TARGET].present ? std::min(sb.old_sectors, sb.nr_sectors)
                                                : sb.nr_sectors;
    case SHADOW_LEG_TARGET:
      return sb.nr_sectors;
    default:
      return 0;
  }
}

Result<std::uint64_t> OnlyCopies(const std::string& path, int leg) {
  SHADOW_ASSIGN(const metadata::Device device, metadata::Device::Open(path, false));
  SHADOW_ASSIGN(const metadata::Image image, device.Read());
  const shadow_superblock* sb = image.newest();
  if (sb == nullptr) return Damaged(path);
  const bool clean = (sb->flags & SHADOW_SB_CLEAN) != 0;
  std::uint64_t only = 0;
  std::vector<bool> hole(image.nr_blocks());
  for (std::uint32_t n = 0; n < shadow_nr_pages(image.nr_blocks()); ++n) {
    const auto copy = n < image.nr_pages() ? image.Pick(n) : std::nullopt;
    if (!copy) return Damaged(path);
    const bool old_page = image.page(n, *copy).header.epoch < sb->epoch;
    const metadata::Bytes bytes = image.PageBytes(n, *copy);
    const std::uint8_t* homes = shadow_page_homes_const(bytes.data());
    const std::uint8_t* intent = shadow_page_intent_const(bytes.data());
    const std::uint64_t first = std::uint64_t{n} * SHADOW_BLOCKS_PER_PAGE;
    const std::uint64_t count =
        std::min<std::uint64_t>(SHADOW_BLOCKS_PER_PAGE, image.nr_blocks() - first);
    for (std::uint64_t i = 0; i < count; ++i) {
      const auto region = static_cast<std::size_t>(i >> SHADOW_REGION_SHIFT);
      const bool in_flight = !clean && (intent[region >> 3] >> (region & 7) & 1) != 0;
      hole[first + i] = homes[i] == SHADOW_HOLE;
      if (SoleLeg(*sb, homes[i], old_page, in_flight) == leg) ++only;
    }
  }
  if (leg < SHADOW_LEG_TIER1 || !sb->legs[leg].present) return only;
  if (image.nr_slot_pages() < shadow_nr_slot_pages(image.nr_blocks())) return Damaged(path);
  for (std::uint32_t n = 0; n < image.nr_slot_pages(); ++n) {
    const auto copy = image.PickSlotPage(n);
    if (!copy) return Damaged(path);
    const metadata::Bytes bytes = image.SlotPageBytes(n, *copy);
    const std::uint64_t first = std::uint64_t{n} * SHADOW_WORDS_PER_PAGE;
    for (std::uint32_t i = 0; i < SHADOW_WORDS_PER_PAGE && first + i < hole.size(); ++i) {
      const std::uint32_t word = shadow_slot_page_word(bytes.data(), i);
      if (word == 0 || hole[first + i]) continue;
      if (shadow_life(word) == SHADOW_DIRTY && shadow_word_leg(word) == leg) ++only;
    }
  }
  return only;
}

}  // namespace shadow
