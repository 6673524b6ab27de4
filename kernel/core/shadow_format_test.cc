// SPDX-License-Identifier: GPL-2.0-only
// The metadata format: what is written is read back, every flipped bit is found, nothing out of
// range is believed, and images of earlier versions (tests/golden/) are read for ever.
#include "kernel/core/shadow_format.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "kernel/core/shadow_tier.h"

#ifndef SHADOW_GOLDEN_DIR
#define SHADOW_GOLDEN_DIR "tests/golden"
#endif

namespace {

using Buffer = std::array<u8, SHADOW_PAGE_SIZE>;

shadow_superblock Example() {
  shadow_superblock sb{};
  sb.generation = 0x1122334455667788;
  sb.flags = SHADOW_SB_CLEAN;
  sb.phase = SHADOW_MIGRATING;
  sb.block_sectors = 512;
  sb.epoch = 7;
  sb.nr_sectors = 3145728;
  sb.old_sectors = 2097152;
  sb.tracked_sectors = 3145728;
  strcpy(sb.uuid, "6c1e0f2a");
  sb.legs[SHADOW_LEG_ORIGIN] = {true, 2097152, "LV-aaaa"};
  sb.legs[SHADOW_LEG_TARGET] = {true, 3145728, "LV-bbbb"};
  sb.logical_block = 4096;
  sb.policy = SHADOW_READ_BALANCE;
  sb.writeback = 1u << SHADOW_LEG_TIER2;
  strcpy(sb.name, "db0");
  return sb;
}

Buffer Encoded(const shadow_superblock& sb) {
  Buffer b;
  shadow_sb_encode(&sb, b.data());
  return b;
}

/// Refused for another reason than its checksum: sealed again after the change.
shadow_format_error Changed(const std::function<void(shadow_superblock&)>& change) {
  shadow_superblock sb = Example(), out;
  change(sb);
  return shadow_sb_decode(Encoded(sb).data(), &out);
}

void Reseal(Buffer& b) {
  const u32 crc = shadow_crc32c(~0u, b.data() + 12, SHADOW_PAGE_SIZE - 12);
  for (int i = 0; i < 4; i++) b[8 + i] = static_cast<u8>(crc >> (8 * i));
}

constexpr u64 kTag = 0xfeedfacecafebeef;

Buffer Page(u32 number = 3) {
  Buffer b{};
  static constexpr u8 kHomes[] = {SHADOW_ORIGIN, SHADOW_MIRRORED, SHADOW_TARGET, SHADOW_HOLE};
  for (u32 i = 0; i < SHADOW_BLOCKS_PER_PAGE; i++) shadow_page_homes(b.data())[i] = kHomes[i % 4];
  shadow_page_intent(b.data())[5] = 0x81;
  const shadow_page_header h{42, kTag, number, 7};
  shadow_page_seal(b.data(), &h);
  return b;
}

shadow_format_error DecodePage(const Buffer& b, u64 tag = kTag, u32 number = 3) {
  shadow_page_header h;
  return shadow_page_decode(b.data(), tag, number, &h);
}

bool Equal(const shadow_superblock& a, const shadow_superblock& b) {
  bool same = a.generation == b.generation && a.flags == b.flags && a.phase == b.phase &&
              a.block_sectors == b.block_sectors && a.epoch == b.epoch &&
              a.nr_sectors == b.nr_sectors && a.old_sectors == b.old_sectors &&
              a.tracked_sectors == b.tracked_sectors && !strcmp(a.uuid, b.uuid) &&
              a.logical_block == b.logical_block && a.policy == b.policy &&
              a.writeback == b.writeback && !strcmp(a.name, b.name);
  for (int i = 0; i < SHADOW_NR_LEGS; i++)
    same = same && a.legs[i].present == b.legs[i].present &&
           a.legs[i].sectors == b.legs[i].sectors && !strcmp(a.legs[i].id, b.legs[i].id);
  return same;
}

TEST(Crc32c, IsTheKernels) {
  // RFC 3720, B.4, without the final inversion
  EXPECT_EQ(~shadow_crc32c(~0u, "123456789", 9), 0xe3069283u);
  const std::vector<u8> zeroes(32), ones(32, 0xff);
  EXPECT_EQ(~shadow_crc32c(~0u, zeroes.data(), 32), 0x8a9136aau);
  EXPECT_EQ(~shadow_crc32c(~0u, ones.data(), 32), 0x62a8ab43u);
}

TEST(Superblock, ComesBackAsItWas) {
  shadow_superblock out;
  ASSERT_EQ(shadow_sb_decode(Encoded(Example()).data(), &out), SHADOW_FORMAT_OK);
  EXPECT_TRUE(Equal(Example(), out));
}

RC_GTEST_PROP(SuperblockProperty, ComesBackAsItWas, ()) {
  shadow_superblock sb = Example();
  sb.generation = *rc::gen::arbitrary<u64>();
  sb.flags = *rc::gen::inRange(0u, 4u);
  sb.phase = *rc::gen::inRange(0u, 3u);
  sb.block_sectors = 128u << *rc::gen::inRange(0, 9);
  sb.epoch = *rc::gen::arbitrary<u32>();
  sb.nr_sectors = *rc::gen::inRange<u64>(1, 128ull * SHADOW_MAX_BLOCKS);
  sb.old_sectors = *rc::gen::inRange<u64>(1, 128ull * SHADOW_MAX_BLOCKS);
  sb.tracked_sectors = std::max(sb.nr_sectors, sb.old_sectors);
  const auto id = *rc::gen::container<std::string>(rc::gen::inRange<char>('!', '~'));
  RC_PRE(!id.empty());
  strcpy(sb.uuid, id.substr(0, SHADOW_ID_MAX).c_str());
  strcpy(sb.legs[0].id, sb.uuid);
  sb.legs[1] = {sb.phase != SHADOW_STEADY, *rc::gen::arbitrary<u64>(), ""};
  sb.logical_block = *rc::gen::element(0u, 512u, 4096u, 65536u);
  sb.policy = *rc::gen::inRange<u8>(0, SHADOW_NR_POLICIES);
  sb.writeback = *rc::gen::element<u8>(0, 4, 8, 12);
  strcpy(sb.name, id.substr(0, SHADOW_NAME_MAX).c_str());
  shadow_superblock out;
  RC_ASSERT(shadow_sb_decode(Encoded(sb).data(), &out) == SHADOW_FORMAT_OK);
  RC_ASSERT(Equal(sb, out));
}

TEST(Superblock, EveryFlippedBitIsFound) {
  Buffer b = Encoded(Example());
  shadow_superblock out;
  for (size_t bit = 0; bit < b.size() * 8; bit++) {
    b[bit / 8] ^= static_cast<u8>(1u << (bit % 8));
    ASSERT_NE(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_OK) << "bit " << bit;
    b[bit / 8] ^= static_cast<u8>(1u << (bit % 8));
  }
  EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_OK);
}

TEST(Superblock, BlankAndForeignAreToldApart) {
  Buffer b{};
  shadow_superblock out;
  EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_BLANK);
  b[4095] = 1;
  EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_MAGIC);
  b = Encoded(Example());
  b[100] ^= 1;
  EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_CHECKSUM);
}

TEST(Superblock, AnotherVersionOrUnknownFeatureIsNotTouched) {
  shadow_superblock out;
  for (const int offset : {12, 28}) {
    Buffer b = Encoded(Example());
    b[offset] ^= 2;
    Reseal(b);
    EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_VERSION_UNKNOWN) << offset;
  }
}

TEST(Superblock, FieldsOutOfRangeAreRefused) {
  using Sb = shadow_superblock;
  EXPECT_EQ(Changed([](Sb&) {}), SHADOW_FORMAT_OK);
  const std::function<void(Sb&)> bad[] = {
      [](Sb& s) { s.phase = SHADOW_NR_PHASES; },
      [](Sb& s) { s.flags = 4; },
      [](Sb& s) { s.flags = 0x80000000; },
      [](Sb& s) { s.block_sectors = 0; },
      [](Sb& s) { s.block_sectors = 64; },
      [](Sb& s) { s.block_sectors = 65536; },
      [](Sb& s) { s.block_sectors = 513; },
      [](Sb& s) { s.nr_sectors = 0; },
      [](Sb& s) { s.old_sectors = 0; },
      [](Sb& s) { s.tracked_sectors = s.nr_sectors - 1; },
      [](Sb& s) { s.tracked_sectors = ~0ull; },
      [](Sb& s) { s.nr_sectors = s.tracked_sectors + 1; },
      [](Sb& s) { s.tracked_sectors = 512ull * SHADOW_MAX_BLOCKS + 1; },
      [](Sb& s) { s.legs[SHADOW_LEG_ORIGIN].present = false; },
      [](Sb& s) { s.legs[SHADOW_LEG_TARGET].present = false; },
      [](Sb& s) { s.legs[SHADOW_LEG_TIER1].present = true; },
      [](Sb& s) { s.legs[SHADOW_LEG_TIER2].present = true; },
      [](Sb& s) { s.phase = SHADOW_STEADY; },  // with a target
      [](Sb& s) { s.uuid[0] = '\0'; },
      [](Sb& s) { s.logical_block = 256; },
      [](Sb& s) { s.logical_block = 4095; },
      [](Sb& s) { s.logical_block = 131072; },
      [](Sb& s) { s.policy = SHADOW_NR_POLICIES; },
      [](Sb& s) { s.writeback = 1u << SHADOW_LEG_TARGET; },
      [](Sb& s) { s.writeback = 16; },
  };
  for (size_t i = 0; i < std::size(bad); i++) EXPECT_EQ(Changed(bad[i]), SHADOW_FORMAT_FIELD) << i;
  EXPECT_EQ(Changed([](Sb& s) { s.tracked_sectors = 512ull * SHADOW_MAX_BLOCKS; }),
            SHADOW_FORMAT_OK);
}

TEST(Superblock, StringsEndOrAreRefused) {
  shadow_superblock out;
  for (const int offset : {96, 160 + 16, 160 + 96 + 16}) {
    Buffer b = Encoded(Example());
    memset(b.data() + offset, 'x', 63);
    Reseal(b);
    EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_OK) << offset;
    b[offset + 63] = 'x';
    Reseal(b);
    EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_FIELD) << offset;
  }
  Buffer b = Encoded(Example());
  memset(b.data() + 560, 'n', 127);
  Reseal(b);
  EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_OK);
  EXPECT_EQ(strlen(out.name), SHADOW_NAME_MAX);
  b[560 + 127] = 'n';
  Reseal(b);
  EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_FIELD);
  b = Encoded(Example());
  b[160] = 2;  // "present" is 0 or 1
  Reseal(b);
  EXPECT_EQ(shadow_sb_decode(b.data(), &out), SHADOW_FORMAT_FIELD);
}

TEST(Superblock, RandomBytesAreNeverBelieved) {
  Buffer b = Encoded(Example());
  shadow_superblock out;
  u32 x = 12345;
  for (int round = 0; round < 20000; round++) {
    Buffer c = b;
    for (int n = 0; n < 4; n++) {
      x = x * 1664525 + 1013904223;
      c[(x >> 16) % 544] = static_cast<u8>(x >> 8);
    }
    Reseal(c);  // as somebody malicious would
    if (shadow_sb_decode(c.data(), &out) != SHADOW_FORMAT_OK) continue;
    ASSERT_LE(shadow_nr_blocks(out.tracked_sectors, out.block_sectors), SHADOW_MAX_BLOCKS);
    ASSERT_LE(strlen(out.uuid), SHADOW_ID_MAX + 0u);
  }
}

TEST(StatePage, ComesBackAsItWas) {
  const Buffer b = Page();
  shadow_page_header h;
  ASSERT_EQ(shadow_page_decode(b.data(), kTag, 3, &h), SHADOW_FORMAT_OK);
  EXPECT_EQ(h.generation, 42u);
  EXPECT_EQ(h.tag, kTag);
  EXPECT_EQ(h.number, 3u);
  EXPECT_EQ(h.epoch, 7u);
  EXPECT_EQ(shadow_page_homes_const(b.data())[6], SHADOW_TARGET);
  EXPECT_EQ(shadow_page_intent_const(b.data())[5], 0x81);
}

TEST(StatePage, EveryFlippedBitIsFound) {
  Buffer b = Page();
  for (size_t bit = 0; bit < b.size() * 8; bit++) {
    b[bit / 8] ^= static_cast<u8>(1u << (bit % 8));
    ASSERT_NE(DecodePage(b), SHADOW_FORMAT_OK) << "bit " << bit;
    b[bit / 8] ^= static_cast<u8>(1u << (bit % 8));
  }
  EXPECT_EQ(DecodePage(b), SHADOW_FORMAT_OK);
}

TEST(StatePage, ATornWriteIsFound) {
  const Buffer old = Page();
  Buffer fresh = Page();
  const shadow_page_header h{43, kTag, 3, 7};
  for (u32 i = 0; i < SHADOW_BLOCKS_PER_PAGE; i++) shadow_page_homes(fresh.data())[i] = SHADOW_TARGET;
  shadow_page_seal(fresh.data(), &h);
  for (size_t sectors = 1; sectors < SHADOW_PAGE_SECTORS; sectors++) {
    Buffer torn = old;
    memcpy(torn.data(), fresh.data(), sectors * 512);
    EXPECT_NE(DecodePage(torn), SHADOW_FORMAT_OK) << sectors;
  }
}

TEST(StatePage, OfAnotherVolumeOrPlaceIsRefused) {
  EXPECT_EQ(DecodePage(Page(3), kTag, 4), SHADOW_FORMAT_OTHER_VOLUME);
  EXPECT_EQ(DecodePage(Page(3), kTag + 1, 3), SHADOW_FORMAT_OTHER_VOLUME);
  EXPECT_EQ(DecodePage(Buffer{}), SHADOW_FORMAT_BLANK);
  Buffer b{};
  b[4000] = 1;
  EXPECT_EQ(DecodePage(b), SHADOW_FORMAT_MAGIC);
}

TEST(StatePage, OnlyFourHomesAreOnDisk) {
  for (unsigned home = 0; home < 256; home++) {
    Buffer b = Page();
    shadow_page_homes(b.data())[4031] = static_cast<u8>(home);
    const shadow_page_header h{42, kTag, 3, 7};
    shadow_page_seal(b.data(), &h);
    const bool ok = home == SHADOW_ORIGIN || home == SHADOW_MIRRORED || home == SHADOW_TARGET ||
                    home == SHADOW_HOLE;
    EXPECT_EQ(DecodePage(b), ok ? SHADOW_FORMAT_OK : SHADOW_FORMAT_FIELD) << home;
  }
}

TEST(Places, AreWhatTheDocumentSays) {
  EXPECT_EQ(shadow_nr_blocks(1, 128), 1u);
  EXPECT_EQ(shadow_nr_blocks(128, 128), 1u);
  EXPECT_EQ(shadow_nr_blocks(129, 128), 2u);
  EXPECT_EQ(shadow_nr_blocks(~0ull, 128), (~0ull >> 7) + 1);
  EXPECT_EQ(shadow_nr_pages(1), 1u);
  EXPECT_EQ(shadow_nr_pages(4032), 1u);
  EXPECT_EQ(shadow_nr_pages(4033), 2u);
  EXPECT_EQ(shadow_page_sector(0, 0), 128u);
  EXPECT_EQ(shadow_page_sector(0, 1), 136u);
  EXPECT_EQ(shadow_page_sector(1, 0), 144u);
  EXPECT_EQ(shadow_metadata_sectors(4032), 144u);
  EXPECT_EQ(shadow_metadata_sectors(4194304), 128u + 1041 * 16);  // 1 TiB of 256 KiB blocks
  EXPECT_LE(shadow_page_sector(shadow_nr_pages(SHADOW_MAX_BLOCKS), 0), 1ull << 32);
}

TEST(Names, OfErrorsNeverRunOut) {
  for (int e = SHADOW_FORMAT_OK; e <= SHADOW_FORMAT_OTHER_VOLUME; e++)
    EXPECT_STRNE(shadow_format_strerror(static_cast<shadow_format_error>(e)), "?");
  EXPECT_STREQ(shadow_format_strerror(static_cast<shadow_format_error>(99)), "?");
}

TEST(Tag, IsStable) {
  EXPECT_EQ(shadow_uuid_tag(""), 0xcbf29ce484222325u);
  EXPECT_EQ(shadow_uuid_tag("a"), 0xaf63dc4c8601ec8cu);
  EXPECT_NE(shadow_uuid_tag("ab"), shadow_uuid_tag("ba"));
}

// ------------------------------------------------------------- logical blocks

// Every combination of 512 and 4Kn in every role, attached before or new: the volume's size never
// grows, and nothing that is attached is refused.
TEST(LogicalBlock, NeverGrowsAndNeverShutsOut) {
  int refused = 0, taken = 0;
  for (const u32 own : {0u, 512u, 4096u})
    for (unsigned attached = 0; attached < 8; attached++)
      for (unsigned table = 0; table < 81; table++) {
        shadow_superblock sb = Example();
        sb.logical_block = own;
        u32 sizes[SHADOW_NR_LEGS], seen = own, largest_new = 0;
        unsigned digits = table;
        for (u32 leg = 0; leg < SHADOW_NR_LEGS; leg++, digits /= 3) {
          static constexpr u32 kSizes[] = {0, 512, 4096};
          sizes[leg] = kSizes[digits % 3];
          sb.legs[leg].present = leg == SHADOW_LEG_ORIGIN || (attached >> (leg - 1) & 1);
          u32& most = sb.legs[leg].present ? seen : largest_new;
          most = std::max(most, sizes[leg]);
        }
        u32 block;
        const u32 bad = shadow_logical_block(&sb, sizes, &block);
        EXPECT_EQ(block, seen);
        if (seen && largest_new > seen) {
          ASSERT_LT(bad, SHADOW_NR_LEGS + 0u);
          EXPECT_FALSE(sb.legs[bad].present);
          EXPECT_GT(sizes[bad], seen);
          refused++;
        } else {
          EXPECT_EQ(bad, SHADOW_NR_LEGS + 0u);
          taken++;
        }
      }
  EXPECT_GT(refused, 0);
  EXPECT_GT(taken, refused);
  const u32 only[] = {4096, 0, 0, 0};
  u32 block;
  EXPECT_EQ(shadow_logical_block(nullptr, only, &block), SHADOW_NR_LEGS + 0u);
  EXPECT_EQ(block, 4096u);
}

// A whole life: imported on 4Kn with a 4Kn tier, moved to 512, and the tier stays usable.
TEST(LogicalBlock, OutlivesTheLegThatHadIt) {
  shadow_superblock sb = Example();
  sb.phase = SHADOW_STEADY;
  sb.logical_block = 4096;  // of the origin that is gone
  sb.legs[SHADOW_LEG_TARGET] = {};
  u32 block;
  const u32 with_tier[] = {512, 0, 4096, 0};
  EXPECT_EQ(shadow_logical_block(&sb, with_tier, &block), SHADOW_NR_LEGS + 0u);
  EXPECT_EQ(block, 4096u);
  sb.logical_block = 512;
  EXPECT_EQ(shadow_logical_block(&sb, with_tier, &block), SHADOW_LEG_TIER1 + 0u);
}

// ------------------------------------------------------------- golden images

/// "offset: hex..." lines, the rest zero or, in a page, holes: see docs/on-disk-format.md.
std::vector<u8> ReadGolden(const std::string& name) {
  std::ifstream in(std::string(SHADOW_GOLDEN_DIR) + "/" + name);
  std::vector<u8> image;
  std::string line;
  while (std::getline(in, line)) {
    if (line.empty() || line[0] == '#') continue;
    const size_t offset = std::stoul(line, nullptr, 16);
    size_t repeat = 1, at = line.find(':') + 1;
    if (const size_t star = line.find('*'); star != std::string::npos)
      repeat = std::stoul(line.substr(star + 1));
    std::vector<u8> bytes;
    for (; at + 1 < line.size() && line[at] != '*'; at++)
      if (isxdigit(line[at])) {
        bytes.push_back(static_cast<u8>(std::stoul(line.substr(at, 2), nullptr, 16)));
        at++;
      }
    if (image.size() < offset + bytes.size() * repeat) image.resize(offset + bytes.size() * repeat);
    for (size_t r = 0; r < repeat; r++)
      std::copy(bytes.begin(), bytes.end(), image.begin() + static_cast<std::ptrdiff_t>(offset + r * bytes.size()));
  }
  return image;
}

TEST(Golden, SteadyVolume) {
  const auto image = ReadGolden("v1-steady.hex");
  ASSERT_EQ(image.size(), 73728u);
  shadow_superblock sb;
  EXPECT_EQ(shadow_sb_decode(image.data(), &sb), SHADOW_FORMAT_BLANK);  // generation 1 is at 4096
  ASSERT_EQ(shadow_sb_decode(image.data() + 4096, &sb), SHADOW_FORMAT_OK);
  EXPECT_EQ(sb.generation, 1u);
  EXPECT_EQ(sb.flags, SHADOW_SB_CLEAN);
  EXPECT_EQ(sb.phase, SHADOW_STEADY + 0u);
  EXPECT_EQ(sb.block_sectors, 128u);
  EXPECT_EQ(sb.nr_sectors, 1000u);
  EXPECT_STREQ(sb.uuid, "golden-steady");
  EXPECT_STREQ(sb.legs[0].id, "LV-origin");
  EXPECT_EQ(sb.legs[0].sectors, 1024u);
  for (u32 copy = 0; copy < 2; copy++) {
    shadow_page_header h;
    const u8* page = image.data() + 512 * shadow_page_sector(0, copy);
    ASSERT_EQ(shadow_page_decode(page, shadow_uuid_tag(sb.uuid), 0, &h), SHADOW_FORMAT_OK);
    EXPECT_EQ(h.generation, copy + 1u);
    EXPECT_EQ(h.epoch, 1u);
    for (u32 b = 0; b < SHADOW_BLOCKS_PER_PAGE; b++)
      ASSERT_EQ(shadow_page_homes_const(page)[b], b < 8 ? SHADOW_ORIGIN : SHADOW_HOLE);
  }
}

TEST(Golden, MigratingVolume) {
  const auto image = ReadGolden("v1-migrating.hex");
  ASSERT_EQ(image.size(), 73728u);
  shadow_superblock sb, older;
  ASSERT_EQ(shadow_sb_decode(image.data(), &sb), SHADOW_FORMAT_OK);
  ASSERT_EQ(shadow_sb_decode(image.data() + 4096, &older), SHADOW_FORMAT_OK);
  EXPECT_EQ(sb.generation, 4u);
  EXPECT_EQ(older.generation, 3u);
  EXPECT_EQ(sb.flags, 0u);
  EXPECT_EQ(sb.phase, SHADOW_MIGRATING + 0u);
  EXPECT_EQ(sb.epoch, 2u);
  EXPECT_EQ(sb.old_sectors, 4096u);
  EXPECT_EQ(sb.nr_sectors, 6144u);
  EXPECT_STREQ(sb.legs[1].id, "LV-target");
  shadow_page_header h[2];
  for (u32 copy = 0; copy < 2; copy++)
    ASSERT_EQ(shadow_page_decode(image.data() + 512 * shadow_page_sector(0, copy),
                                 shadow_uuid_tag(sb.uuid), 0, &h[copy]),
              SHADOW_FORMAT_OK);
  EXPECT_GT(h[1].generation, h[0].generation);
  const u8* page = image.data() + 512 * shadow_page_sector(0, 1);
  const u8* homes = shadow_page_homes_const(page);
  EXPECT_EQ(homes[0], SHADOW_ORIGIN);
  EXPECT_EQ(homes[1], SHADOW_MIRRORED);
  EXPECT_EQ(homes[2], SHADOW_TARGET);
  EXPECT_EQ(homes[3], SHADOW_HOLE);
  EXPECT_EQ(shadow_page_intent_const(page)[0], 0x01);
}

TEST(Golden, VolumeWithTiers) {
  const auto image = ReadGolden("v1-tiers.hex");
  ASSERT_EQ(image.size(), 81920u);
  shadow_superblock sb, older;
  ASSERT_EQ(shadow_sb_decode(image.data(), &sb), SHADOW_FORMAT_OK);
  ASSERT_EQ(shadow_sb_decode(image.data() + 4096, &older), SHADOW_FORMAT_OK);
  EXPECT_EQ(sb.generation, 4u);
  EXPECT_EQ(sb.slot_end, 160u);
  EXPECT_STREQ(sb.legs[SHADOW_LEG_TIER1].id, "LV-fast");
  EXPECT_EQ(sb.legs[SHADOW_LEG_TIER1].sectors, 16 * 128u);
  EXPECT_STREQ(sb.legs[SHADOW_LEG_TIER2].id, "LV-faster");
  EXPECT_EQ(sb.legs[SHADOW_LEG_TIER2].sectors, 100 * 128 + 64u);
  EXPECT_TRUE(older.legs[SHADOW_LEG_TIER1].present);
  EXPECT_FALSE(older.legs[SHADOW_LEG_TIER2].present);
  const u8* pages[2];
  shadow_page_header h[2];
  for (u32 copy = 0; copy < 2; copy++) {
    pages[copy] = image.data() + 512 * shadow_slot_page_sector(sb.slot_end, 0, copy);
    ASSERT_EQ(shadow_slot_page_decode(pages[copy], shadow_uuid_tag(sb.uuid), 0, &h[copy]),
              SHADOW_FORMAT_OK);
  }
  EXPECT_EQ(h[0].generation, 6u);
  EXPECT_EQ(h[1].generation, 8u);
  EXPECT_EQ(shadow_slot_page_word(pages[0], 1), shadow_word(SHADOW_LEG_TIER1, 7, SHADOW_CLEAN));
  const u8* states = image.data() + 512 * shadow_page_sector(0, 0);
  shadow_page_header of_states;
  ASSERT_EQ(shadow_page_decode(states, shadow_uuid_tag(sb.uuid), 0, &of_states), SHADOW_FORMAT_OK);
  const auto loaded = [&](u32 block) {  // after the unclean stop that it is of
    const u32 region = block / 16;
    return shadow_tier_from_disk(shadow_slot_page_word(pages[1], block),
                                 static_cast<enum shadow_home>(shadow_page_homes_const(states)[block]),
                                 SHADOW_MASK_TIERS,
                                 shadow_page_intent_const(states)[region / 8] >> (region % 8) & 1);
  };
  EXPECT_EQ(loaded(0), shadow_word(SHADOW_LEG_TIER1, 0, SHADOW_CLEAN));
  EXPECT_EQ(loaded(1), shadow_word(SHADOW_LEG_TIER1, 7, SHADOW_DIRTY));
  EXPECT_EQ(loaded(2), 0u);
  // Clean, where writes were under way.
  EXPECT_EQ(shadow_slot_page_word(pages[1], 20), shadow_word(SHADOW_LEG_TIER2, 99, SHADOW_CLEAN));
  EXPECT_EQ(loaded(20), 0u);
  // A discard that was cut off.
  EXPECT_EQ(shadow_slot_page_word(pages[1], 46), shadow_word(SHADOW_LEG_TIER1, 15, SHADOW_CLEAN));
  EXPECT_EQ(loaded(46), 0u);
}

TEST(Golden, DescribedVolume) {
  const auto image = ReadGolden("v1-described.hex");
  ASSERT_EQ(image.size(), 81920u);
  shadow_superblock sb, older;
  ASSERT_EQ(shadow_sb_decode(image.data(), &sb), SHADOW_FORMAT_OK);
  ASSERT_EQ(shadow_sb_decode(image.data() + 4096, &older), SHADOW_FORMAT_OK);
  EXPECT_EQ(sb.phase, SHADOW_GRACE + 0u);
  EXPECT_EQ(sb.logical_block, 4096u);
  EXPECT_EQ(sb.policy, SHADOW_READ_BALANCE + 0);
  EXPECT_EQ(sb.writeback, 1u << SHADOW_LEG_TIER1);
  EXPECT_STREQ(sb.name, "db0-described");
  // By a module that did not know the fields.
  EXPECT_EQ(older.phase, SHADOW_MIGRATING + 0u);
  EXPECT_EQ(older.logical_block, 0u);
  EXPECT_EQ(older.policy, SHADOW_READ_TARGET + 0);
  EXPECT_EQ(older.writeback, 0u);
  EXPECT_STREQ(older.name, "");
}

}  // namespace
