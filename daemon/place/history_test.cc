// SPDX-License-Identifier: Apache-2.0
#include "daemon/place/history.h"

#include <gtest/gtest.h>

#include <cmath>

#include "daemon/place/policies.h"

namespace shadow {
namespace {

AccessWindow Window(std::vector<BlockAccess> blocks) {
  AccessWindow w;
  w.blocks = std::move(blocks);
  return w;
}

TEST(History, DecaysByHalfLivesOfWindows) {
  History h;
  h.Add(Window({{7, 8, 2}}), 1);
  h.Add(Window({}), 10);
  const BlockHistory* b = h.Find(7);
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(h.Find(8), nullptr);
  EXPECT_DOUBLE_EQ(h.Idle(*b), 10);
  EXPECT_NEAR(h.Count(*b, kHalf10), 4, 1e-6);
  EXPECT_NEAR(h.Count(*b, kHalf2), 8 / 32.0, 1e-6);
  EXPECT_NEAR(History::WriteShare(*b), 0.25, 1e-6);
}

TEST(History, PartsOfAWindowAreOneHit) {
  History parts, whole;
  for (int w = 0; w < 5; ++w) {
    for (int p = 0; p < 4; ++p) parts.Add(Window({{1, 1, 0}}), 0.25);
    whole.Add(Window({{1, 4, 0}}), 1);
  }
  EXPECT_DOUBLE_EQ(parts.now(), whole.now());
  // Decay runs between parts: 0.2 % less.
  EXPECT_NEAR(parts.Find(1)->hits, whole.Find(1)->hits, 0.02);
}

TEST(History, ASteadyPaceIsExpectedToGoOn) {
  History h;
  for (int w = 0; w < 2000; ++w) h.Add(Window({{1, 3, 0}}), 1);
  // 3 a window, discounted with a half-life of 30 windows: 3 * 30 / ln 2 = 130. The 30 windows
  // without an access that are taken for granted count against 240 / ln 2 = 346.
  EXPECT_NEAR(h.Expected(*h.Find(1), kHalf240), 3 * 30 / std::log(2) * 346 / 376, 1);
  EXPECT_GT(h.Heat(*h.Find(1), 60), 0.99);
  h.Add(Window({}), 600);
  EXPECT_LT(h.Heat(*h.Find(1), 60), 0.1);
}

TEST(History, OneTouchIsNotHot) {
  History h;
  h.Add(Window({{1, 1, 0}}), 1);
  h.Add(Window({}), 240);
  EXPECT_LT(h.Heat(*h.Find(1), 60), 0.3);
}

TEST(History, BadTimesAreHarmless) {
  History h;
  h.Add(Window({{1, 1, 9}}), std::nan(""));
  h.Add(Window({{1, 1, 9}, {0xfffffffdU, 0, 0}}), -5);
  EXPECT_EQ(h.now(), 0);
  EXPECT_EQ(h.size(), 1U);
  EXPECT_LE(History::WriteShare(*h.Find(1)), 1);
}

TEST(History, StaysWithinItsMemory) {
  History h;
  AccessWindow w;
  for (std::uint32_t b = 0; b < 300'000; ++b) w.blocks.push_back({b * 13, 1, 0});
  h.Add(w, 1);
  EXPECT_EQ(h.size(), 300'000U);
  for (std::uint32_t b = 0; b < 300'000; b += 997) EXPECT_NE(h.Find(b * 13), nullptr);
  // The model's worker takes 180 of the 256 bytes a block may have.
  EXPECT_LE(static_cast<double>(h.Bytes()) / 300'000, 50);
}

TEST(Policies, RankByWhatTheyAreNamedAfter) {
  History h;
  const PolicySettings settings;
  for (int w = 0; w < 50; ++w) h.Add(Window({{5, 10, 10}, {6, 1, 0}}), 1);
  h.Add(Window({{9, 2, 0}, {10, 2, 0}}), 1);
  const auto ewma = MakeEwma(h, settings)->Rank(10);
  ASSERT_EQ(ewma.size(), 4U);
  EXPECT_EQ(ewma[0].block, 5U);
  EXPECT_NEAR(ewma[0].writes, ewma[0].accesses, 0.01);
  EXPECT_GT(ewma[0].heat, 0.7F);
  const auto lru = MakeLru(h, settings)->Rank(3);
  ASSERT_EQ(lru.size(), 3U);
  EXPECT_EQ(lru[0].block, 9U);  // as recent as 10, which comes after it
  EXPECT_EQ(lru[1].block, 10U);
  EXPECT_EQ(lru[2].block, 5U);
  EXPECT_TRUE(MakeOff()->Rank(10).empty());
  EXPECT_FALSE(MakePolicy("best", h, settings, {}).ok());
  const auto pam = MakePolicy("pam", h, settings, {});
  ASSERT_TRUE(pam.ok());
  (*pam)->Observe({});
  EXPECT_EQ((*pam)->Rank(10)[0].block, 5U);
  EXPECT_EQ((*pam)->State().ruling, "ewma");
  EXPECT_NE((*pam)->State().reason, "");
}

}  // namespace
}  // namespace shadow
