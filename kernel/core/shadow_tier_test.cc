// SPDX-License-Identifier: Apache-2.0
// Shadows: every life, event and route against rules written down independently here; slots against
// a set; slot pages bit by bit.
#include "kernel/core/shadow_tier.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "kernel/core/shadow_format.h"

namespace {

constexpr u32 kSlot = 0x0155aa3;

std::vector<u32> AllWords() {
  std::vector<u32> words{0};
  for (int life = SHADOW_PROMOTING; life < SHADOW_NR_LIVES; life++)
    for (const u32 mark : {0u, SHADOW_WORD_WRITTEN})
      for (const auto tier : {SHADOW_LEG_TIER1, SHADOW_LEG_TIER2})
        words.push_back(shadow_word(tier, kSlot, static_cast<enum shadow_life>(life)) | mark);
  return words;
}

bool OnlyCopy(u32 word) {
  const auto life = shadow_life(word);
  return life == SHADOW_DIRTY || life == SHADOW_CLEANING || life == SHADOW_HOLDING;
}

TEST(Word, KeepsTierAndSlot) {
  for (const auto tier : {SHADOW_LEG_TIER1, SHADOW_LEG_TIER2}) {
    const u32 word = shadow_word(tier, SHADOW_SLOT_MASK, SHADOW_HOLDING);
    EXPECT_EQ(shadow_word_leg(word), tier);
    EXPECT_EQ(shadow_slot(word), SHADOW_SLOT_MASK);
    EXPECT_EQ(shadow_life(word), SHADOW_HOLDING);
  }
}

// What may never happen to a shadow, whatever the event.
TEST(Word, NoTransitionLosesTheOnlyCopyOrMovesIt) {
  int legal = 0;
  for (const u32 word : AllWords())
    for (int e = 0; e < SHADOW_NR_TIER_EVENTS; e++) {
      const auto event = static_cast<shadow_tier_event>(e);
      const auto s = shadow_tier_transition(word, event);
      SCOPED_TRACE(std::string(shadow_life_name(shadow_life(word))) + " event " +
                   std::to_string(e));
      if (!s.legal) {
        EXPECT_EQ(s.next, word);
        EXPECT_EQ(s.actions, 0);
        continue;
      }
      legal++;
      ASSERT_NE(word, 0u) << "a shadow begins with a slot, not with an event";
      if (s.next != 0) {
        EXPECT_EQ(shadow_slot(s.next), shadow_slot(word));
        EXPECT_EQ(shadow_word_leg(s.next), shadow_word_leg(word));
      } else {
        // A slot becomes free only where nothing was recorded, or its end is durable.
        EXPECT_TRUE(shadow_life(word) == SHADOW_PROMOTING ||
                    (shadow_life(word) == SHADOW_DROPPING && (word & SHADOW_WORD_WRITTEN)));
        EXPECT_EQ(shadow_tier_disk(word), 0u);
      }
      if (OnlyCopy(word) && !OnlyCopy(s.next)) {
        // Home took it over, the block is a hole, or it was given up by name.
        EXPECT_TRUE(event == SHADOW_TEV_CLEAN_DONE || event == SHADOW_TEV_DISCARD ||
                    event == SHADOW_TEV_GIVE_UP);
        if (event == SHADOW_TEV_CLEAN_DONE) {
          EXPECT_FALSE(word & SHADOW_WORD_WRITTEN);
        }
      }
      if (!OnlyCopy(word) && OnlyCopy(s.next)) {
        EXPECT_TRUE(event == SHADOW_TEV_DIRTY_DONE || event == SHADOW_TEV_HOME_LOST)
            << "home is stale only after dirty was durable, or because it lost something";
      }
      // A copy that was overtaken by a write never counts.
      if ((event == SHADOW_TEV_PROMOTE_DONE || event == SHADOW_TEV_CLEAN_DONE) &&
          (word & SHADOW_WORD_WRITTEN)) {
        EXPECT_EQ(s.next, word);
        EXPECT_EQ(s.actions, SHADOW_ACT_COPY_AGAIN);
      }
      // What the metadata says changes only with a commit, or ahead of it where the old word is as good.
      const u32 before = shadow_tier_disk(word), after = shadow_tier_disk(s.next);
      if (before != after && !(s.actions & SHADOW_ACT_COMMIT)) {
        EXPECT_TRUE(event == SHADOW_TEV_PROMOTE_DONE || event == SHADOW_TEV_CLEAN_DONE ||
                    event == SHADOW_TEV_DIRTY_FAILED);
      }
    }
  EXPECT_GT(legal, 60);
}

TEST(Word, EveryLifeIsReachedAndLeft) {
  std::set<u32> seen{shadow_word(SHADOW_LEG_TIER1, 7, SHADOW_PROMOTING)};
  for (bool grew = true; grew;) {
    grew = false;
    for (const u32 word : std::set<u32>(seen))
      for (int e = 0; e < SHADOW_NR_TIER_EVENTS; e++) {
        const auto s = shadow_tier_transition(word, static_cast<shadow_tier_event>(e));
        if (s.legal) grew |= seen.insert(s.next).second;
      }
  }
  std::set<int> lives;
  for (const u32 word : seen) lives.insert(shadow_life(word));
  EXPECT_EQ(lives.size(), static_cast<std::size_t>(SHADOW_NR_LIVES));
}

struct Context {
  shadow_ctx ctx;
  shadow_tier_ctx tiers;
};
std::vector<Context> AllContexts() {
  std::vector<Context> all;
  for (int phase = 0; phase < SHADOW_NR_PHASES; phase++)
    for (int policy = 0; policy < SHADOW_NR_POLICIES; policy++)
      for (int missing = 0; missing < (phase == SHADOW_STEADY ? 1 : 3); missing++)
        for (const int tail : {0, 1})
          for (const u8 there : {0x0, 0x4, 0x8, 0xc})
            for (const u8 writeback : {0x0, 0xc}) {
              Context c{};
              c.ctx.phase = static_cast<u8>(phase);
              c.ctx.policy = static_cast<u8>(policy);
              c.ctx.missing = static_cast<u8>(missing);
              c.ctx.tail = tail;
              c.tiers = {there, writeback};
              all.push_back(c);
            }
  return all;
}

TEST(Route, NeverReadsWhatMayBeStaleAndNeverLeavesACopyBehind) {
  for (const Context& c : AllContexts())
    for (int state = 0; state < 256; state++)
      for (const u32 word : AllWords()) {
        const u8 s = static_cast<u8>(state);
        const u8 tier = static_cast<u8>(1u << shadow_word_leg(word));
        const u8 homes = shadow_copies(s, &c.ctx);
        const bool hole = (s & SHADOW_HOME_MASK) >= SHADOW_HOLE;
        const auto read = shadow_tier_route(s, word, SHADOW_OP_READ, &c.ctx, &c.tiers);
        const auto write = shadow_tier_route(s, word, SHADOW_OP_WRITE, &c.ctx, &c.tiers);
        const u8 reads = read.r.legs | read.r.fallback;
        ASSERT_FALSE(read.mark);
        if (hole) {
          ASSERT_EQ(read.r.kind, SHADOW_ROUTE_ZERO) << state << " " << word;
        } else if (OnlyCopy(word)) {
          ASSERT_EQ(reads & ~tier, 0) << "home is stale";
          ASSERT_EQ(read.r.kind == SHADOW_ROUTE_LEG, bool(c.tiers.tiers & tier));
        } else {
          ASSERT_EQ(reads & SHADOW_MASK_BOTH & ~homes, 0);
          if (reads & SHADOW_MASK_TIERS) {
            ASSERT_TRUE(shadow_life(word) == SHADOW_CLEAN || shadow_life(word) == SHADOW_DIRTYING);
          }
        }
        ASSERT_EQ(reads & SHADOW_MASK_TIERS & ~(c.tiers.tiers & tier), 0) << "a tier that is not there";

        const bool goes = write.r.kind == SHADOW_ROUTE_LEG || write.r.kind == SHADOW_ROUTE_MARK ||
                          write.r.kind == SHADOW_ROUTE_BOTH;
        if (!goes) continue;
        ASSERT_FALSE(hole || (s & SHADOW_BUSY));
        if (OnlyCopy(word)) {
          ASSERT_EQ(write.r.legs, tier);
        } else {
          const u8 there = static_cast<u8>(homes & ~c.ctx.missing);
          ASSERT_EQ(write.r.legs & SHADOW_MASK_BOTH, there) << "a home would fall behind";
          // A shadow that is read, or that a crash may bring back, is written, too.
          const bool believed = shadow_life(word) == SHADOW_CLEAN || shadow_life(word) == SHADOW_DROPPING;
          ASSERT_EQ(bool(write.r.legs & tier), believed);
        }
        // Whoever copies the block learns of the write.
        const bool copied = shadow_life(word) == SHADOW_PROMOTING || shadow_life(word) == SHADOW_CLEANING;
        ASSERT_EQ(write.mark, copied && !(word & SHADOW_WORD_WRITTEN));
        ASSERT_TRUE(shadow_life(word) == SHADOW_NONE ||
                    shadow_tier_transition(word, SHADOW_TEV_WRITE).legal);
      }
}

TEST(FromDisk, BelievesOnlyWhatACrashLeftWhole) {
  for (const auto tier : {SHADOW_LEG_TIER1, SHADOW_LEG_TIER2})
    for (const u8 there : {0x0, 0x4, 0x8, 0xc})
      for (const bool dirty_region : {false, true}) {
        const u32 clean = shadow_word(tier, 5, SHADOW_CLEAN), dirty = shadow_word(tier, 5, SHADOW_DIRTY);
        const bool here = there & (1u << tier);
        EXPECT_EQ(shadow_tier_from_disk(clean, SHADOW_HOLE, there, dirty_region), 0u);
        EXPECT_EQ(shadow_tier_from_disk(dirty, SHADOW_HOLE, there, dirty_region), 0u);
        EXPECT_EQ(shadow_tier_from_disk(dirty, SHADOW_ORIGIN, there, dirty_region), dirty);
        EXPECT_EQ(shadow_tier_from_disk(clean, SHADOW_MIRRORED, there, dirty_region),
                  here && !dirty_region ? clean : 0u);
      }
}

TEST(Slots, AgreeWithASet) {
  for (const u32 nr : {1u, 2u, 63u, 64u, 65u, 130u, 1000u, 4095u, 4096u, 4097u, 8262u}) {
    std::vector<u64> bits(shadow_slots_bytes(nr) / 8), full(shadow_slots_full_bytes(nr) / 8);
    shadow_slots s{bits.data(), nr > 64 || nr % 2 ? full.data() : nullptr, nr, 0, 0};
    std::set<u32> taken;
    u64 dice = 88172645463325252ull + nr;
    for (int step = 0; step < 20000; step++) {
      dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
      const auto slot = static_cast<u32>(dice % (nr + 2));
      // mostly full, or mostly empty, in turn
      if (dice >> 40 & 7 ? step / 2000 % 2 : !(step / 2000 % 2)) {
        ASSERT_EQ(shadow_slot_free(&s, slot), taken.erase(slot) == 1);
      } else if (dice >> 50 & 1) {
        ASSERT_EQ(shadow_slot_claim(&s, slot), slot < nr && taken.insert(slot).second);
      } else {
        const u32 got = shadow_slot_take(&s);
        if (taken.size() == nr) {
          ASSERT_EQ(got, SHADOW_NO_SLOT);
        } else {
          ASSERT_LT(got, nr);
          ASSERT_TRUE(taken.insert(got).second);
        }
      }
      ASSERT_EQ(s.used, taken.size());
      ASSERT_EQ(shadow_slot_used_from(&s, slot), !taken.empty() && *taken.rbegin() >= slot);
    }
  }
}

// All slots, and their levels, taken.
struct Full {
  explicit Full(u32 nr)
      : bits(shadow_slots_bytes(nr) / 8), full(shadow_slots_full_bytes(nr) / 8), s{bits.data(), full.data(), nr, 0, 0} {
    for (u32 i = 0; i < nr; i++) EXPECT_EQ(shadow_slot_take(&s), i);
    EXPECT_EQ(shadow_slot_take(&s), SHADOW_NO_SLOT);
  }
  std::vector<u64> bits, full;
  shadow_slots s;
};

TEST(Slots, TheOnlyFreeOneIsFoundWhereverItIs) {
  for (const u32 nr : {64u, 65u, 4096u, 4097u, 8262u, 70000u, 262144u, 262145u}) {
    Full f(nr);
    for (u32 i = 0; i < nr; i += nr > 10000 ? 61 : 1)
      for (const u32 hint : {0u, i, i + 1, nr - 1, nr}) {
        ASSERT_TRUE(shadow_slot_free(&f.s, i));
        f.s.hint = hint;
        ASSERT_EQ(shadow_slot_take(&f.s), i) << nr << " " << hint;
      }
    // and nothing was left behind in any level
    for (u32 i = 0; i < nr; i++) ASSERT_TRUE(shadow_slot_free(&f.s, i));
    for (const u64 word : f.bits) ASSERT_EQ(word, 0u);
    for (const u64 word : f.full) ASSERT_EQ(word, 0u);
  }
}

TEST(Slots, AreTakenInTurn) {
  Full f(8262);
  for (const u32 i : {3u, 70u, 4099u, 8261u}) ASSERT_TRUE(shadow_slot_free(&f.s, i));
  f.s.hint = 71;
  for (const u32 i : {4099u, 8261u, 3u, 70u, SHADOW_NO_SLOT}) EXPECT_EQ(shadow_slot_take(&f.s), i);
}

TEST(Slots, ATierThatWasFullMayGrow) {
  for (const u32 old : {1u, 63u, 64u, 65u, 4096u, 4100u, 262144u})
    for (const u32 more : {1u, 64u, 4096u, 300000u}) {
      Full f(old);
      f.bits.resize(shadow_slots_bytes(old + more) / 8);
      f.full.resize(shadow_slots_full_bytes(old + more) / 8);
      f.s = {f.bits.data(), f.full.data(), old + more, f.s.used, 0};
      EXPECT_FALSE(shadow_slot_used_from(&f.s, old));
      for (u32 i = 0; i < std::min(more, 5000u); i++) ASSERT_EQ(shadow_slot_take(&f.s), old + i);
      EXPECT_TRUE(shadow_slot_used_from(&f.s, old));
    }
}

// As many as there can be. A scan for the free one would look at two million words each time: for minutes.
TEST(Slots, TheLastOneOfVeryManyIsFoundAtOnce) {
  const u32 nr = SHADOW_MAX_SLOTS;
  std::vector<u64> bits(shadow_slots_bytes(nr) / 8, ~0ull), full(shadow_slots_full_bytes(nr) / 8, ~0ull);
  full[0] = 0xff;
  shadow_slots s{bits.data(), full.data(), nr, nr, 0};
  u32 slot = 12345;
  for (int i = 0; i < 1000000; i++) {
    ASSERT_TRUE(shadow_slot_free(&s, slot));
    s.hint = slot + 1;
    ASSERT_EQ(shadow_slot_take(&s), slot);
    slot = (slot * 48271u + 11u) % nr;
  }
}

TEST(SlotPage, EveryFlippedBitIsNoticed) {
  std::vector<u8> page(SHADOW_PAGE_SIZE);
  for (u32 i = 0; i < SHADOW_WORDS_PER_PAGE; i += 3)
    shadow_slot_page_set(page.data(), i,
                         shadow_word(i % 2 ? SHADOW_LEG_TIER2 : SHADOW_LEG_TIER1, i,
                                     i % 4 ? SHADOW_CLEAN : SHADOW_DIRTY));
  const shadow_page_header written{42, 4711, 3, 0};
  shadow_slot_page_seal(page.data(), &written);
  shadow_page_header read{};
  ASSERT_EQ(shadow_slot_page_decode(page.data(), 4711, 3, &read), SHADOW_FORMAT_OK);
  EXPECT_EQ(read.generation, 42u);
  EXPECT_EQ(shadow_slot_page_word(page.data(), 3), shadow_word(SHADOW_LEG_TIER2, 3, SHADOW_CLEAN));
  EXPECT_NE(shadow_slot_page_decode(page.data(), 4711, 4, &read), SHADOW_FORMAT_OK);
  EXPECT_NE(shadow_page_decode(page.data(), 4711, 3, &read), SHADOW_FORMAT_OK) << "no state page";
  for (u32 bit = 0; bit < SHADOW_PAGE_SIZE * 8; bit++) {
    page[bit / 8] ^= static_cast<u8>(1u << (bit % 8));
    ASSERT_NE(shadow_slot_page_decode(page.data(), 4711, 3, &read), SHADOW_FORMAT_OK) << bit;
    page[bit / 8] ^= static_cast<u8>(1u << (bit % 8));
  }
  // Lives that are never recorded make a page invalid, however well it is sealed.
  shadow_slot_page_set(page.data(), 1, shadow_word(SHADOW_LEG_TIER1, 1, SHADOW_DROPPING));
  shadow_slot_page_seal(page.data(), &written);
  EXPECT_EQ(shadow_slot_page_decode(page.data(), 4711, 3, &read), SHADOW_FORMAT_FIELD);
}

TEST(SlotArea, GrowsDownAndNeverMeetsTheStates) {
  for (const u64 blocks : {1ull, 1008ull, 1009ull, 4032ull, 4033ull, 1000000ull}) {
    u64 end = shadow_slot_end(shadow_metadata_sectors(blocks));
    EXPECT_FALSE(shadow_slots_fit(end, blocks));
    while (!shadow_slots_fit(end, blocks)) end += 16;
    const u32 last = shadow_nr_slot_pages(blocks) - 1;
    EXPECT_GE(shadow_slot_page_sector(end, last, 0), shadow_metadata_sectors(blocks));
    EXPECT_EQ(shadow_slot_page_sector(end, 0, 1) + SHADOW_PAGE_SECTORS, end);
  }
}

}  // namespace
