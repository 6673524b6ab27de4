// SPDX-License-Identifier: Apache-2.0
// The library of the offline tools: every flipped bit is found and named, what is known is put
// right, what is not known is left alone, and a dump turns back into the same bytes.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "tools/metadata/dump.h"

namespace shadow::metadata {
namespace {

using Kind = Finding::Kind;

struct Options {
  std::uint32_t phase = SHADOW_MIGRATING;
  std::uint32_t flags = 0;
  std::uint64_t generation = 6;
  std::uint64_t blocks = 5000;  // two pages
};

Bytes Make(const Options& o = {}) {
  shadow_superblock sb{};
  sb.generation = o.generation;
  sb.flags = o.flags;
  sb.phase = o.phase;
  sb.block_sectors = 128;
  sb.epoch = 3;
  sb.nr_sectors = sb.old_sectors = sb.tracked_sectors = o.blocks * 128;
  strcpy(sb.uuid, "test-volume");
  sb.legs[0] = {true, sb.nr_sectors, "LV-a"};
  if (o.phase != SHADOW_STEADY) sb.legs[1] = {true, sb.nr_sectors, "LV-b"};
  Bytes b(512 * shadow_metadata_sectors(o.blocks));
  shadow_sb_encode(&sb, b.data() + (sb.generation & 1) * kPage);
  if (o.generation > 1) {
    sb.generation--;
    shadow_sb_encode(&sb, b.data() + (sb.generation & 1) * kPage);
  }
  for (std::uint32_t n = 0; n < shadow_nr_pages(o.blocks); n++)
    for (unsigned copy = 0; copy < 2; copy++) {
      std::uint8_t* p = b.data() + Image::PageOffset(n, copy);
      memset(shadow_page_homes(p), SHADOW_HOLE, SHADOW_BLOCKS_PER_PAGE);
      for (std::uint32_t i = 0; i < SHADOW_BLOCKS_PER_PAGE; i++)
        if (n * std::uint64_t{SHADOW_BLOCKS_PER_PAGE} + i < o.blocks)
          shadow_page_homes(p)[i] = i % 7 == 0 ? SHADOW_MIRRORED : SHADOW_ORIGIN;
      if (copy) shadow_page_homes(p)[1] = SHADOW_TARGET;
      const shadow_page_header h{10 + 2 * n + copy, shadow_uuid_tag("test-volume"), n, 3};
      shadow_page_seal(p, &h);
    }
  return b;
}

Report CheckOf(const Bytes& b, Assume assume = Assume::kNothing) {
  return Check(Image(b), b.size(), assume);
}

/// A device that holds what the image says.
Bytes BytesOf(const Image& image) {
  Bytes b = image.head();
  b.resize(image.needed_bytes());
  std::copy(image.slots().begin(), image.slots().end(),
            b.begin() + static_cast<std::ptrdiff_t>(image.slots_at()));
  return b;
}

Bytes Repaired(Bytes b, const Report& r) {
  for (const auto& w : r.repairs)
    std::copy(w.data.begin(), w.data.end(), b.begin() + static_cast<std::ptrdiff_t>(w.offset));
  return b;
}

void Spoil(Bytes& b, std::size_t offset) { memset(b.data() + offset, 0xa5, 512); }

/// Rewrites the newest superblock.
void Change(Bytes& b, const std::function<void(shadow_superblock&)>& change) {
  const Image image(b);
  shadow_superblock sb = *image.newest();
  change(sb);
  shadow_sb_encode(&sb, b.data() + image.newest_place() * kPage);
}

void ChangePage(Bytes& b, unsigned copy,
                const std::function<void(std::uint8_t*, shadow_page_header&)>& change) {
  std::uint8_t* p = b.data() + Image::PageOffset(0, copy);
  shadow_page_header h;
  ASSERT_EQ(shadow_page_decode(p, shadow_uuid_tag("test-volume"), 0, &h), SHADOW_FORMAT_OK);
  change(p, h);
  shadow_page_seal(p, &h);
}

TEST(Check, FindsNothingWhereNothingIsWrong) {
  for (const std::uint32_t phase : {SHADOW_STEADY, SHADOW_MIGRATING, SHADOW_GRACE})
    for (const std::uint32_t flags : {0u, SHADOW_SB_CLEAN})
      for (const std::uint64_t generation : {1, 2, 7}) {
        const Report r = CheckOf(Make({phase, flags, generation, 100}));
        EXPECT_TRUE(r.Clean()) << ReportText(r);
        EXPECT_TRUE(r.repairs.empty());
      }
}

// Every bit of every superblock and page; repair gives back exactly what was there.
TEST(Check, FindsNamesAndRepairsEverySingleFlippedBit) {
  const Bytes good = Make({SHADOW_GRACE, SHADOW_SB_CLEAN, 6, 100});
  std::vector<std::size_t> places = {0, kPage, Image::PageOffset(0, 0), Image::PageOffset(0, 1)};
  for (const std::size_t place : places)
    for (std::size_t bit = 0; bit < kPage * 8; bit++) {
      // all of the first kilobyte, then one bit of each byte: the rest is alike
      if (bit >= 8192 && bit % 8 != (bit / 8) % 8) continue;
      Bytes b = good;
      b[place + bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
      const Report r = CheckOf(b);
      ASSERT_FALSE(r.Clean()) << place << " bit " << bit;
      const std::string name =
          "bit " + std::to_string(bit % 8) + " of byte " + std::to_string(bit / 8) + " is flipped";
      ASSERT_NE(ReportText(r).find(name), std::string::npos) << ReportText(r);
      ASSERT_EQ(Repaired(b, r), good) << place << " bit " << bit;
    }
}

TEST(Check, FindsEveryFlippedBitInABlankPlaceToo) {
  const Bytes good = Make({SHADOW_STEADY, SHADOW_SB_CLEAN, 1, 100});
  for (std::size_t bit = 0; bit < kPage * 8; bit += 61) {
    Bytes b = good;
    b[bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    ASSERT_FALSE(CheckOf(b).Clean()) << bit;
  }
}

TEST(Check, ABlankDeviceIsNoVolume) {
  const Report r = CheckOf(Bytes(2 * kPage));
  EXPECT_TRUE(r.Clean());
  EXPECT_NE(ReportText(r).find("blank"), std::string::npos);
}

TEST(Check, ATornPageIsRewrittenFromItsTwin) {
  for (unsigned copy = 0; copy < 2; copy++) {
    Bytes b = Make();
    Spoil(b, Image::PageOffset(1, copy) + 1024);
    const Report r = CheckOf(b);
    EXPECT_TRUE(r.Has(Kind::kRepair));
    EXPECT_FALSE(r.Has(Kind::kUncertain) || r.Has(Kind::kFatal)) << ReportText(r);
    const Bytes fixed = Repaired(b, r);
    EXPECT_TRUE(CheckOf(fixed).Clean());
    EXPECT_EQ(memcmp(fixed.data() + Image::PageOffset(1, 0), fixed.data() + Image::PageOffset(1, 1),
                     kPage),
              0);
  }
}

TEST(Check, ADamagedCopyAfterACleanStopIsNotGuessed) {
  Bytes b = Make({SHADOW_MIGRATING, SHADOW_SB_CLEAN, 6, 5000});
  Spoil(b, Image::PageOffset(1, 1));
  const Report r = CheckOf(b);
  ASSERT_TRUE(r.Has(Kind::kUncertain));
  EXPECT_TRUE(r.repairs.empty());
  EXPECT_EQ(r.findings[0].first, 4032u);
  EXPECT_EQ(r.findings[0].blocks, 968u);
  EXPECT_TRUE(CheckOf(b, Assume::kOrigin).repairs.empty());
  EXPECT_TRUE(CheckOf(Repaired(b, CheckOf(b, Assume::kValid))).Clean());
}

TEST(Check, TwoDamagedCopiesNeedAnAssumption) {
  Bytes b = Make();
  Spoil(b, Image::PageOffset(0, 0) + 512);
  Spoil(b, Image::PageOffset(0, 1) + 512);
  const Report r = CheckOf(b);
  ASSERT_TRUE(r.Has(Kind::kUncertain));
  EXPECT_TRUE(r.repairs.empty());
  EXPECT_NE(ReportText(r).find("blocks 0 to 4031"), std::string::npos) << ReportText(r);
  EXPECT_TRUE(CheckOf(b, Assume::kValid).repairs.empty());
  for (const auto assume : {Assume::kOrigin, Assume::kTarget}) {
    const Bytes fixed = Repaired(b, CheckOf(b, assume));
    EXPECT_TRUE(CheckOf(fixed).Clean()) << ReportText(CheckOf(fixed));
    EXPECT_EQ(shadow_page_homes_const(fixed.data() + Image::PageOffset(0, 0))[9],
              assume == Assume::kOrigin ? SHADOW_ORIGIN : SHADOW_TARGET);
  }
  Bytes steady = Make({SHADOW_STEADY, 0, 6, 100});
  Spoil(steady, Image::PageOffset(0, 0));
  Spoil(steady, Image::PageOffset(0, 1));
  EXPECT_TRUE(CheckOf(steady, Assume::kTarget).repairs.empty());  // there is no target
}

TEST(Check, ADamagedSuperblockIsRewrittenFromTheOther) {
  for (unsigned place = 0; place < 2; place++) {
    Bytes b = Make({SHADOW_GRACE, 0, 6, 100});
    Spoil(b, place * kPage + 64);
    const Report r = CheckOf(b);
    EXPECT_TRUE(r.Has(Kind::kRepair));
    const Bytes fixed = Repaired(b, r);
    EXPECT_TRUE(CheckOf(fixed).Clean()) << ReportText(CheckOf(fixed));
    EXPECT_EQ(Image(fixed).newest()->generation, place ? 7u : 6u);
    EXPECT_EQ(Image(fixed).newest()->phase, SHADOW_GRACE + 0u);
  }
  Bytes b = Make();
  Spoil(b, 0);
  Spoil(b, kPage);
  EXPECT_TRUE(CheckOf(b).Has(Kind::kFatal));
  EXPECT_TRUE(CheckOf(b, Assume::kOrigin).repairs.empty());
}

TEST(Check, PagesOfALaterModificationProveALostSuperblock) {
  Bytes b = Make();
  ChangePage(b, 1, [](std::uint8_t*, shadow_page_header& h) { h.epoch = 4; });
  Spoil(b, kPage);
  const Report r = CheckOf(b);
  EXPECT_TRUE(r.Has(Kind::kFatal)) << ReportText(r);
  EXPECT_TRUE(r.repairs.empty());
}

TEST(Check, NeedsCheckIsClearedOnlyIfTheRestIsFine) {
  Bytes b = Make({SHADOW_GRACE, SHADOW_SB_NEEDS_CHECK, 6, 100});
  const Bytes fixed = Repaired(b, CheckOf(b));
  EXPECT_TRUE(CheckOf(fixed).Clean());
  EXPECT_EQ(Image(fixed).newest()->flags, 0u);
  EXPECT_EQ(Image(fixed).newest()->generation, 7u);
  Spoil(b, Image::PageOffset(0, 0));
  Spoil(b, Image::PageOffset(0, 1));
  EXPECT_TRUE(CheckOf(b).repairs.empty());
}

TEST(Check, CrossChecks) {
  const struct {
    const char* what;
    std::function<void(Bytes&)> damage;
  } cases[] = {
      {"generations", [](Bytes& b) { Change(b, [](auto& s) { s.generation += 2; }); }},
      {"other place", [](Bytes& b) { Change(b, [](auto& s) { s.generation = 9; }); }},
      {"tracked length", [](Bytes& b) { Change(b, [](auto& s) { s.tracked_sectors += 128; }); }},
      {"origin was smaller", [](Bytes& b) { Change(b, [](auto& s) { s.legs[0].sectors = 1; }); }},
      {"target was smaller", [](Bytes& b) { Change(b, [](auto& s) { s.legs[1].sectors = 1; }); }},
      {"identities", [](Bytes& b) { Change(b, [](auto& s) { strcpy(s.legs[1].id, "LV-a"); }); }},
      {"different volumes", [](Bytes& b) { Change(b, [](auto& s) { s.block_sectors = 256; }); }},
      {"beyond the end",
       [](Bytes& b) {
         ChangePage(b, 1, [](std::uint8_t* p, auto&) { shadow_page_homes(p)[4031] = 0; });
       }},
      {"one generation, but differ",
       [](Bytes& b) {
         ChangePage(b, 1, [](std::uint8_t*, shadow_page_header& h) { h.generation = 10; });
       }},
      {"regions that do not exist",
       [](Bytes& b) {
         ChangePage(b, 1, [](std::uint8_t* p, auto&) { shadow_page_intent(p)[31] = 0x80; });
       }},
      {"beyond the old end",
       [](Bytes& b) { Change(b, [](auto& s) { s.old_sectors = 50 * 128; }); }},
      {"stopped in order",
       [](Bytes& b) {
         Change(b, [](auto& s) { s.flags = SHADOW_SB_CLEAN; });
         ChangePage(b, 1, [](std::uint8_t* p, auto&) { shadow_page_intent(p)[0] = 1; });
       }},
  };
  for (const auto& c : cases) {
    Bytes b = Make({SHADOW_MIGRATING, 0, 6, 100});
    c.damage(b);
    const Report r = CheckOf(b);
    EXPECT_TRUE(r.Has(Kind::kFatal)) << c.what;
    EXPECT_NE(ReportText(r).find(c.what), std::string::npos) << c.what << ":\n" << ReportText(r);
    EXPECT_TRUE(r.repairs.empty()) << c.what;
  }
}

TEST(Check, ATruncatedDeviceIsSaid) {
  Bytes b = Make();
  b.resize(Image::PageOffset(1, 0) + 100);
  EXPECT_TRUE(CheckOf(b).Has(Kind::kFatal));
  b.resize(100);
  EXPECT_FALSE(CheckOf(b).Clean());
}

TEST(Check, RandomDamageNeverCrashesIt) {
  std::uint32_t x = 99;
  const auto random = [&] { return (x = x * 1664525 + 1013904223) >> 8; };
  for (int round = 0; round < 2000; round++) {
    Bytes b = Make({SHADOW_MIGRATING, 0, 6, 100});
    for (std::uint32_t n = random() % 40 + 2; n; n--) b[random() % b.size()] = random() & 0xff;
    if (random() % 4 == 0) b.resize(random() % b.size());
    const Report r = CheckOf(b);
    (void)DumpText(Image(b));
    if (const auto back = ImageFromJson(DumpJson(Image(b))); back.ok()) {
      ASSERT_TRUE(back->newest());
    }
    for (const auto& w : r.repairs) ASSERT_LE(w.offset + w.data.size(), b.size());
  }
}

TEST(Dump, TurnsBackIntoTheSameBytes) {
  for (const std::uint64_t generation : {1, 2, 9})
    for (const std::uint32_t phase : {SHADOW_STEADY, SHADOW_MIGRATING, SHADOW_GRACE}) {
      Bytes b = Make({phase, SHADOW_SB_NEEDS_CHECK, generation, 5000});
      ChangePage(b, 1, [](std::uint8_t* p, auto&) { shadow_page_intent(p)[3] = 0x42; });
      const auto back = ImageFromJson(DumpJson(Image(b)));
      ASSERT_TRUE(back.ok()) << back.error().ToString();
      EXPECT_EQ(BytesOf(*back), b);
    }
}

TEST(Dump, OfADamagedCopyRestoresItsTwin) {
  Bytes b = Make();
  Spoil(b, Image::PageOffset(0, 1));
  const auto back = ImageFromJson(DumpJson(Image(b)));
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(CheckOf(BytesOf(*back)).Clean());
  Spoil(b, Image::PageOffset(0, 0));
  EXPECT_FALSE(ImageFromJson(DumpJson(Image(b))).ok());
}

TEST(Dump, BadOnesAreRefusedWithASentence) {
  const std::string good = DumpJson(Image(Make()));
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"dm-shadow metadata dump", "x"},
           {"\"version\": 1", "\"version\": 2"},
           {"\"version\": 1", "\"version\": 15555555555555555555555555"},
           {"\"version\": 1", "\"version\": -1"},
           {"\"block_sectors\": 128", "\"block_sectors\": 4294967424"},
           {"\"block_sectors\": 128", "\"block_sectors\": 128.5"},
           {"migrating", "moving"},
           {"\"mirrored\"", "\"copying\""},
           {"\"origin\"", "7"},
           {"\"block_sectors\": 128", "\"block_sectors\": 129"},
           {"\"epoch\"", "\"Epoch\""},
           {"test-volume", std::string(64, 'x')},
           {"[", "{"}}) {
    std::string bad = good;
    const auto at = bad.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bad.replace(at, from.size(), to);
    const auto r = ImageFromJson(bad);
    ASSERT_FALSE(r.ok()) << from;
    EXPECT_EQ(r.error().message.find("not a usable dump: "), 0u);
  }
  EXPECT_FALSE(ImageFromJson("").ok());
  EXPECT_FALSE(ImageFromJson("[]").ok());
}

TEST(Dump, IsReadable) {
  const std::string text = DumpText(Image(Make({SHADOW_GRACE, SHADOW_SB_CLEAN, 6, 10})));
  EXPECT_NE(text.find("volume test-volume: 1280 sectors"), std::string::npos) << text;
  EXPECT_NE(text.find("  0+1:mirrored\n  1+1:target\n  2+5:origin\n  7+1:mirrored\n"),
            std::string::npos)
      << text;
}

// --- tiers ---

constexpr std::uint64_t kTierSlots = 100;

/// A steady volume with tier1; `words` are those of block 0, 1, ... in both copies of slot page 0.
Bytes MakeTiered(const std::vector<std::uint32_t>& words, std::uint32_t flags = 0) {
  const Options o{.phase = SHADOW_STEADY, .flags = flags};
  Bytes b = Make(o);
  std::uint64_t slot_end = shadow_slot_end(b.size() / 512);
  while (!shadow_slots_fit(slot_end, o.blocks)) slot_end += 16;
  b.resize(512 * slot_end);
  for (unsigned place = 0; place < 2; place++) {
    shadow_superblock sb;
    EXPECT_EQ(shadow_sb_decode(b.data() + place * kPage, &sb), SHADOW_FORMAT_OK);
    sb.slot_end = slot_end;
    sb.legs[SHADOW_LEG_TIER1] = {true, kTierSlots * sb.block_sectors, "LV-fast"};
    shadow_sb_encode(&sb, b.data() + place * kPage);
  }
  for (std::uint32_t n = 0; n < shadow_nr_slot_pages(o.blocks); n++)
    for (unsigned copy = 0; copy < 2; copy++) {
      std::uint8_t* p = b.data() + 512 * shadow_slot_page_sector(slot_end, n, copy);
      memset(p, 0, kPage);
      for (std::uint32_t i = 0; n == 0 && i < words.size(); i++)
        shadow_slot_page_set(p, i, words[i]);
      const shadow_page_header h{30 + 2 * n + copy, shadow_uuid_tag("test-volume"), n, 0};
      shadow_slot_page_seal(p, &h);
    }
  return b;
}

std::uint32_t On(shadow_leg tier, std::uint32_t slot, enum shadow_life life = SHADOW_CLEAN) {
  return shadow_word(tier, slot, life);
}

TEST(Tiers, WhatIsWholeIsCleanAndADumpTurnsBack) {
  const Bytes b = MakeTiered({0, On(SHADOW_LEG_TIER1, 5), On(SHADOW_LEG_TIER1, 99, SHADOW_DIRTY)});
  EXPECT_TRUE(CheckOf(b).Clean()) << ReportText(CheckOf(b));
  const auto back = ImageFromJson(DumpJson(Image(b)));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(BytesOf(*back), b);
  EXPECT_NE(DumpText(Image(b)).find("block 2 in slot 99 of tier1, dirty"), std::string::npos);
}

/// `b` on a device that was so long when the volume got its first tier: first part, slot pages.
std::pair<Bytes, Bytes> OnALongDevice(const Bytes& b, std::uint64_t sectors) {
  const Image near(b);
  Bytes device = near.head();
  for (unsigned place = 0; place < 2; place++) {
    shadow_superblock sb;
    EXPECT_EQ(shadow_sb_decode(device.data() + place * kPage, &sb), SHADOW_FORMAT_OK);
    sb.slot_end = sectors;
    shadow_sb_encode(&sb, device.data() + place * kPage);
  }
  return {device, near.slots()};
}

TEST(Tiers, SlotPagesFarBehindTheStatesTakeNoMemoryBetween) {
  const std::uint64_t sectors = std::uint64_t{1} << 50;
  const auto [device, slots] =
      OnALongDevice(MakeTiered({0, On(SHADOW_LEG_TIER1, 5)}, SHADOW_SB_CLEAN), sectors);
  const Image image(device, slots);
  EXPECT_EQ(image.needed_bytes(), 512 * sectors);
  EXPECT_TRUE(Check(image, 512 * sectors).Clean());
  EXPECT_FALSE(Check(image, 512 * sectors - 1).Clean());
  const auto back = ImageFromJson(DumpJson(image));
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(back->head(), device);
  EXPECT_EQ(back->slots(), slots);
  EXPECT_EQ(back->slots_at(), image.slots_at());
}

TEST(Tiers, SlotPagesBehindWhatADeviceCanHaveAreNone) {
  const auto [device, slots] =
      OnALongDevice(MakeTiered({0}), SHADOW_MAX_SLOT_END + 2 * SHADOW_PAGE_SECTORS);
  EXPECT_EQ(Image(device, slots).newest(), nullptr);
}

TEST(Tiers, EveryFlippedBitOfASlotPageIsNamedAndPutRight) {
  const Bytes whole = MakeTiered({On(SHADOW_LEG_TIER1, 5)}, SHADOW_SB_CLEAN);
  const Image image(whole);
  const std::uint64_t at = image.SlotPageOffset(0, 1);
  for (std::size_t bit = 0; bit < kPage * 8; bit += 5) {
    Bytes b = whole;
    b[at + bit / 8] ^= static_cast<std::uint8_t>(1u << (bit % 8));
    const Report r = CheckOf(b);
    ASSERT_FALSE(r.Clean()) << bit;
    ASSERT_FALSE(r.Has(Kind::kUncertain) || r.Has(Kind::kFatal)) << bit << ReportText(r);
    ASSERT_EQ(Repaired(b, r), whole) << bit;
  }
}

TEST(Tiers, ShadowsThatCannotBeAreErrors) {
  const std::pair<std::vector<std::uint32_t>, const char*> cases[] = {
      {{On(SHADOW_LEG_TIER1, 5), 0, On(SHADOW_LEG_TIER1, 5)}, "Blocks 0 and 2 share slot 5"},
      {{On(SHADOW_LEG_TIER1, kTierSlots)}, "slot 100, which tier1 does not have"},
      {{On(SHADOW_LEG_TIER2, 1)}, "tier2, which is not attached"},
  };
  for (const auto& [words, sentence] : cases) {
    const Report r = CheckOf(MakeTiered(words));
    EXPECT_TRUE(r.Has(Kind::kFatal)) << sentence;
    EXPECT_NE(ReportText(r).find(sentence), std::string::npos) << ReportText(r);
  }
}

TEST(Tiers, WhatBothCopiesLostIsUncertain) {
  Bytes b = MakeTiered({On(SHADOW_LEG_TIER1, 5, SHADOW_DIRTY)});
  const Image image(b);
  for (unsigned copy = 0; copy < 2; copy++)
    std::fill_n(b.begin() + static_cast<std::ptrdiff_t>(image.SlotPageOffset(0, copy)) + 100, 50,
                7);
  for (const Assume assume : {Assume::kNothing, Assume::kOrigin, Assume::kTarget, Assume::kValid}) {
    const Report r = CheckOf(b, assume);
    EXPECT_TRUE(r.Has(Kind::kUncertain));
    EXPECT_TRUE(r.repairs.empty());
    EXPECT_NE(ReportText(r).find("newest data of blocks 0 to 1007 is on a tier"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace shadow::metadata
