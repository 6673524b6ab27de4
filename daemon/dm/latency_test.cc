// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/latency.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shadow {
namespace {

std::string Answer(std::size_t bucket, std::uint64_t count) {
  std::string text = "0+2048 70 0 560 0 30 0 240 0 0 0 0 0 0 ";
  for (std::size_t i = 0; i <= BucketBoundsNs().size(); ++i) {
    text += (i == 0 ? "" : ":") + std::to_string(i == bucket ? count : 0);
  }
  return text;
}

TEST(ParseStats, CountsBothDirectionsAndFindsTheBucket) {
  auto w = ParseStats(Answer(50, 100));
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->ios, 100U);
  EXPECT_EQ(w->bytes, 800U * 512);
  EXPECT_GE(w->p50_us, BucketBoundsNs()[49] / 1000);
  EXPECT_LE(w->p99_us, BucketBoundsNs()[50] / 1000 + 1);
  EXPECT_LT(w->p50_us, w->p99_us);
}

TEST(ParseStats, NoIoIsZero) {
  auto w = ParseStats(Answer(0, 0));
  ASSERT_TRUE(w.ok());
  EXPECT_EQ(w->p99_us, 0U);
}

TEST(ParseStats, RefusesTheRest) {
  for (const std::string& bad : {std::string(), std::string("0+1"), Answer(1, 1) + " 7",
                                 Answer(1, 1) + ":", Answer(1, 1) + ":9"}) {
    EXPECT_FALSE(ParseStats(bad).ok()) << bad;
  }
  EXPECT_FALSE(ParseRegionId("").ok());
  EXPECT_EQ(*ParseRegionId("3\n"), 3U);
}

RC_GTEST_PROP(ParseStats, NoTextCrashesIt, (const std::string& text)) {
  (void)ParseStats(text);
  (void)ParseStats("0+1 0 0 0 0 0 0 0 0 0 0 0 0 0 " + text);
}

TEST(PercentileNs, IsMonotonicInTheFraction) {
  std::vector<std::uint64_t> counts(BucketBoundsNs().size() + 1, 3);
  std::uint64_t last = 0;
  for (int percent = 1; percent < 100; percent++) {
    const double f = percent / 100.0;
    EXPECT_GE(PercentileNs(counts, f), last);
    last = PercentileNs(counts, f);
  }
}

TEST(StatsCreateMessage, FitsIntoOneMessage) { EXPECT_LT(StatsCreateMessage().size(), 4000U); }

}  // namespace
}  // namespace shadow
