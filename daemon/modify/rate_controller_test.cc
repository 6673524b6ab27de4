// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/rate_controller.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace shadow {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

CopyPath HddToNvme() { return {125 * kMiB, 1500 * kMiB, 2000, std::uint64_t{256} << 10}; }

void Add(LatencyWindow* w, std::uint64_t ios, std::uint64_t us) {
  const std::vector<std::uint64_t>& bounds = BucketBoundsNs();
  w->counts.resize(bounds.size() + 1);
  const auto at = std::lower_bound(bounds.begin(), bounds.end(), us * 1000) - bounds.begin();
  w->counts.at(static_cast<std::size_t>(at)) += ios;
  w->ios += ios;
}

// A window of I/Os that all took so long.
LatencyWindow Window(std::uint64_t ios, std::uint64_t us) {
  LatencyWindow w;
  Add(&w, ios, us);
  w.bytes = ios * 4096;
  w.p50_us = w.p99_us = ios == 0 ? 0 : us;
  return w;
}

RateInput Tick(Impact impact, std::uint64_t ios, std::uint64_t p99_us) {
  RateInput in;
  in.tick_us = 100'000;
  in.app = Window(ios, p99_us);
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
  // The copy is what hurts: when it all but stops, to measure, nothing does.
  for (int i = 0; i < 200 || last < kMiB; ++i) {
    last = c.Decide(Tick(Impact::kLow, 10, last < kMiB ? 2020 : 50'000)).rate;
  }
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

// A device in virtual time: 150 MiB/s, on which an I/O takes `base_us`, and longer the more of it
// the copy takes; and now and then one takes as long as a checkpoint does.
struct BusyDevice {
  explicit BusyDevice(std::uint64_t ios_per_s) : per_s(ios_per_s) {}
  // Mean rate over so many seconds, bytes/s.
  double Run(int seconds) {
    double sum = 0;
    for (int tick = 0; tick < seconds * 10; ++tick) {
      const double share = std::min(0.95, static_cast<double>(limits.rate) / kCapacity);
      const double us = base_us * (1 + queueing * share / (1 - share));
      RateInput in;
      in.tick_us = 100'000;
      in.impact = impact;
      in.baseline_p99_us = baseline_us;
      in.copy_rate = limits.rate;
      carry += static_cast<double>(per_s) / 10;
      const auto ios = static_cast<std::uint64_t>(carry);
      carry -= static_cast<double>(ios);
      Add(&in.app, ios, static_cast<std::uint64_t>(us));
      if (slow_every_s != 0 && ++since_slow >= slow_every_s * 10 && ios > 0) {
        since_slow = 0;
        Add(&in.app, 1, 60'000);
      }
      all += ios;
      if (us > 2.2 * base_us) over += ios;  // buckets are so wide
      sum += static_cast<double>(limits.rate);
      limits = c.Decide(in);
      limited += c.LimitedByLatency() ? 1 : 0;
    }
    return sum / seconds / 10;
  }
  static constexpr double kCapacity = 150.0 * kMiB;
  std::uint64_t per_s;
  RateController c{CopyPath{150 * kMiB, 1500 * kMiB, 2000, std::uint64_t{256} << 10}};
  Impact impact = Impact::kBalanced;
  RateLimits limits{75 * kMiB, 0};
  std::uint64_t baseline_us = 2000;
  double base_us = 2000, queueing = 0.2, carry = 0;
  int slow_every_s = 0, since_slow = 0;
  std::uint64_t all = 0, over = 0;
  int limited = 0;
};

// A checkpoint every 3 s: one I/O that is slow whatever the copy does. It pinned the rate at its
// floor.
TEST(RateController, OneSlowIoInThreeSecondsIsNoReason) {
  for (std::uint64_t per_s : {20, 200, 2000}) {
    BusyDevice w(per_s);
    w.slow_every_s = 3;
    EXPECT_GE(w.Run(120), 75.0 * kMiB) << per_s << " I/Os a second";
    EXPECT_EQ(w.over, 0U);
    EXPECT_EQ(w.limited, 0);
  }
}

// The promise holds: where more than half of the device doubles the latency, the copy takes no
// more.
TEST(RateController, WhatHurtsAllOfThemIsTakenBack) {
  for (std::uint64_t per_s : {20, 200, 2000}) {
    for (int slow_every_s : {0, 3}) {
      BusyDevice w(per_s);
      w.queueing = 1;
      w.slow_every_s = slow_every_s;
      EXPECT_GE(w.Run(200), 40.0 * kMiB) << per_s;
      EXPECT_LE(static_cast<double>(w.over), 0.02 * static_cast<double>(w.all)) << per_s;
      EXPECT_GT(w.limited, 0);
    }
  }
}

TEST(RateController, AnOverloadIsAnsweredAtOnce) {
  BusyDevice w(200);
  (void)w.Run(30);
  w.queueing = 4;
  const double before = static_cast<double>(w.limits.rate);
  (void)w.Run(1);
  EXPECT_LT(static_cast<double>(w.limits.rate), 0.6 * before);
}

// Twice the load: what there is without the copy is measured again, and the copy goes on.
TEST(RateController, TheBaselineIsTakenAgain) {
  BusyDevice w(200);
  (void)w.Run(30);
  w.base_us = 5000;
  (void)w.Run(90);
  EXPECT_NEAR(static_cast<double>(w.c.BaselineUs()), 5000, 600);
  EXPECT_GE(w.Run(60), 60.0 * kMiB);
  w.base_us = 2000;  // and the night comes
  w.queueing = 1;
  (void)w.Run(600);
  w.all = w.over = 0;
  (void)w.Run(200);
  EXPECT_LE(static_cast<double>(w.over), 0.02 * static_cast<double>(w.all));
}

TEST(RateController, WithoutABaselineItIsMeasured) {
  BusyDevice w(200);
  w.baseline_us = 0;
  w.base_us = 9000;  // a disk with a queue; alone it reads in 2 ms
  (void)w.Run(30);
  EXPECT_NEAR(static_cast<double>(w.c.BaselineUs()), 9000, 1000);
  EXPECT_GE(w.Run(60), 60.0 * kMiB);
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
    in.app = Window(*number(5), *number(1ULL << 30));
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
