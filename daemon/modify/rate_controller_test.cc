// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/rate_controller.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace shadow {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

CopyPath HddToNvme() { return {125 * kMiB, 1500 * kMiB, 2000, std::uint64_t{256} << 10}; }

RateInput Tick(Impact impact, std::uint64_t ios, std::uint64_t p99_us) {
  RateInput in;
  in.tick_us = 100'000;
  in.app = {.ios = ios, .bytes = ios * 4096, .p50_us = p99_us / 2, .p99_us = p99_us};
  in.baseline_p99_us = ios == 0 ? 0 : 2020;
  in.impact = impact;
  return in;
}

TEST(RateController, FullIsNotLimitedWithoutApplication) {
  RateController c(HddToNvme());
  const RateLimits l = c.Decide(Tick(Impact::kFull, 0, 0));
  EXPECT_EQ(l.rate, 0U);
  EXPECT_EQ(l.inflight, 2 * kMiB);  // two runs of 1 MiB: more was slower, see docs/performance.md
}

TEST(RateController, FullStaysBelowTheDeviceWithApplication) {
  RateController c(HddToNvme());
  const RateLimits l = c.Decide(Tick(Impact::kFull, 10, 2020));
  EXPECT_GE(l.rate, 105 * kMiB);
  EXPECT_LE(l.rate, 110 * kMiB);
  EXPECT_LE(l.inflight, 768U * 1024) << "a tag of the device must stay free";
}

TEST(RateController, WhoWasThereBeforeIsExpectedToStay) {
  RateController c(HddToNvme());
  RateInput in = Tick(Impact::kLow, 0, 0);
  in.tick_us = 0;
  in.baseline_p99_us = 2020;
  EXPECT_LE(c.Decide(in).rate, 10 * kMiB) << "no burst in the first tick";
}

TEST(RateController, ReactsWithinOneTickAndGoesBackUp) {
  for (Impact impact : {Impact::kFull, Impact::kBalanced}) {
    RateController c(HddToNvme());
    EXPECT_EQ(c.Decide(Tick(impact, 0, 0)).rate, 0U);
    EXPECT_NE(c.Decide(Tick(impact, 1, 2000)).rate, 0U);
    int ticks = 0;
    while (c.Decide(Tick(impact, 0, 0)).rate != 0 && ticks < 100) ++ticks;
    EXPECT_LE(ticks, 10);
  }
}

TEST(RateController, LowGivesWayButNeverStops) {
  RateController c(HddToNvme());
  std::uint64_t last = c.Decide(Tick(Impact::kLow, 10, 2020)).rate;
  EXPECT_LE(last, 10 * kMiB);
  EXPECT_EQ(c.Decide(Tick(Impact::kLow, 10, 2020)).inflight, 256U * 1024) << "one block at a time";
  for (int i = 0; i < 200; ++i) last = c.Decide(Tick(Impact::kLow, 10, 50'000)).rate;
  EXPECT_GE(last, 2 * kMiB);
  EXPECT_LE(last, 3 * kMiB);
  for (int i = 0; i < 2000; ++i) last = c.Decide(Tick(Impact::kLow, 10, 2020)).rate;
  EXPECT_GE(last, 8 * kMiB) << "good latency raises it again";
  const std::uint64_t high = last;
  last = c.Decide(Tick(Impact::kLow, 10, 50'000)).rate;
  EXPECT_LT(last, high);
  for (int i = 0; i < 100; ++i) {
    last = c.Decide(Tick(Impact::kLow, 10, 2020)).rate;
    EXPECT_LT(last, high) << "not at once to where it hurt";
  }
}

TEST(RateController, ModesAreOrdered) {
  for (std::uint64_t p99 : {2000, 3000, 10'000}) {
    std::uint64_t rate[3];
    for (int i = 0; i < 3; ++i) {
      RateController c(HddToNvme());
      for (int t = 0; t < 50; ++t) rate[i] = c.Decide(Tick(static_cast<Impact>(i), 10, p99)).rate;
    }
    EXPECT_LE(rate[0], rate[1]);
    EXPECT_LE(rate[1], rate[2]);
  }
}

TEST(RateController, AFixedRateIsFixed) {
  RateController c(HddToNvme());
  RateInput in = Tick(Impact::kLow, 10, 100'000);
  in.fixed_rate = 33 * kMiB;
  EXPECT_EQ(c.Decide(in).rate, 33 * kMiB);
}

TEST(RateController, WithoutMeasurementsItLearns) {
  RateController c(CopyPath{});
  RateInput in = Tick(Impact::kFull, 0, 0);
  in.copy_rate = 400 * kMiB;
  EXPECT_EQ(c.Decide(in).rate, 0U);
  EXPECT_GE(c.Decide(Tick(Impact::kFull, 5, 300)).rate, 300 * kMiB);
}

TEST(RateController, NoiseOfFastDevicesIsNoHarm) {
  RateController c(CopyPath{1000 * kMiB, 1000 * kMiB, 20, std::uint64_t{256} << 10});
  RateInput in = Tick(Impact::kLow, 100, 100);
  in.baseline_p99_us = 30;
  const std::uint64_t first = c.Decide(in).rate;
  EXPECT_GE(c.Decide(in).rate, first);
}

RC_GTEST_PROP(RateController, AlwaysFinishes, ()) {
  const auto number = [](std::uint64_t most) { return rc::gen::inRange<std::uint64_t>(0, most); };
  CopyPath path;
  path.source_bandwidth = *number(1ULL << 40);
  path.target_bandwidth = *number(1ULL << 40);
  path.source_latency_us = *number(1ULL << 30);
  RateController c(path);
  for (int i = 0; i < 100; ++i) {
    RateInput in;
    in.tick_us = static_cast<std::int64_t>(*number(1ULL << 30));
    in.app = {*number(5), 0, 0, *number(1ULL << 40)};
    in.baseline_p99_us = *number(1ULL << 40);
    in.impact = static_cast<Impact>(*number(3));
    const RateLimits l = c.Decide(in);
    RC_ASSERT(l.rate == 0 || l.rate >= (512U << 10));
    RC_ASSERT(l.inflight >= path.block_bytes);
    RC_ASSERT(l.inflight <= (std::uint64_t{64} << 20));
  }
}

}  // namespace
}  // namespace shadow
