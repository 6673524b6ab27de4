// SPDX-License-Identifier: Apache-2.0
// The training record: its bounds, what stays of a week, and the way through bytes.
#include "pam/model/recorder.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace shadow::pam {
namespace {

Window Draw(std::mt19937* rng, std::uint32_t blocks, std::uint32_t one_in) {
  Window w;
  for (std::uint32_t b = 0; b < blocks; ++b) {
    if ((*rng)() % one_in == 0) w.accesses.push_back({b, 1 + b % 3, b % 2});
  }
  w.ops = w.bytes = w.accesses.size();
  return w;
}

TEST(Recorder, KeepsItsBoundsInAFlood) {
  constexpr std::size_t kMost = 4000;
  std::mt19937 rng(1);
  FeatureEngine engine{EngineOptions{}};
  Recorder recorder(60'000'000, kMost, 1);
  double active = 0;
  double asked = 0;
  for (int w = 0; w < 90; ++w) {
    const Window window = Draw(&rng, 20'000, 8);  // 2,500 active: all of them, in two windows
    engine.Close(window);
    recorder.Observe(engine, window);
    active += static_cast<double>(window.accesses.size());
    asked += engine.size();
    ASSERT_LE(recorder.data().samples.size(), kMost * 9 / 8);
    ASSERT_LE(recorder.data().event_window.size(), 2 * kMost * 9 / 8);
    ASSERT_LT(recorder.Bytes(), kMost * 400 + 20'000 * 40);
  }
  // The weights make up for what is not there.
  double weight = 0;
  double hot = 0;
  std::uint32_t oldest = 1000;
  const Dataset& data = recorder.data();
  for (std::size_t i = 0; i < data.samples.size(); ++i) {
    weight += data.samples[i].weight;
    hot += data.feature(i)[kIdle] == 0 ? data.samples[i].weight : 0;
    oldest = std::min(oldest, data.samples[i].at);
  }
  EXPECT_NEAR(weight / asked, 1, 0.25);
  EXPECT_NEAR(hot / active, 1, 0.25);
  EXPECT_LE(oldest, 5u);  // it is thin, and not short
}

TEST(Recorder, AWeekStaysByHourAndTheLastHourInFull) {
  constexpr std::size_t kMost = 20'000;
  std::mt19937 rng(2);
  FeatureEngine engine{EngineOptions{}};
  Recorder recorder(60'000'000, kMost, 1);
  const std::uint32_t windows = 8 * 1440;
  for (std::uint32_t w = 0; w < windows; ++w) {
    const Window window = Draw(&rng, 40, 4);  // 115,000 accesses in the time
    engine.Close(window);
    recorder.Observe(engine, window);
  }
  std::set<std::uint32_t> hours;
  std::size_t last = 0;
  for (const Sample& s : recorder.Labelled().samples) {
    EXPECT_GE(s.at + 7 * 1440 + 200, windows);
    hours.insert(s.at / 60);
    last += s.at + 60 > windows ? 1 : 0;
    if (s.at + 1440 > windows) continue;
    ASSERT_EQ(s.exposure >= 1440, true) << s.at;  // a day was looked at, settled or not
  }
  EXPECT_GE(hours.size(), 160u);
  EXPECT_GE(last, 60u * 40 / 5);
}

TEST(Recorder, ThroughBytesAndOn) {
  std::mt19937 rng(3);
  FeatureEngine engine{EngineOptions{}};
  Recorder a(60'000'000, 2000, 1);
  const auto step = [&](Recorder* one, Recorder* two) {
    const Window window = Draw(&rng, 100, 6);
    engine.Close(window);
    one->Observe(engine, window);
    if (two != nullptr) two->Observe(engine, window);
  };
  for (int w = 0; w < 100; ++w) step(&a, nullptr);
  a.Cut();
  for (int w = 0; w < 20; ++w) step(&a, nullptr);
  std::string bytes;
  a.Save(&bytes, {});
  Recorder b(60'000'000, 2000, 1);
  std::string_view in = bytes;
  ASSERT_TRUE(b.Load(&in, engine).ok());
  EXPECT_TRUE(in.empty());
  for (int w = 0; w < 40; ++w) step(&a, &b);
  const Dataset& x = a.Labelled();
  const Dataset& y = b.Labelled();
  ASSERT_EQ(x.samples.size(), y.samples.size());
  for (std::size_t i = 0; i < x.samples.size(); ++i) {
    ASSERT_EQ(x.samples[i].at, y.samples[i].at);
    ASSERT_EQ(x.samples[i].event, y.samples[i].event);
    ASSERT_EQ(x.samples[i].next, y.samples[i].next);
    ASSERT_EQ(x.samples[i].exposure, y.samples[i].exposure);
    ASSERT_EQ(x.samples[i].weight, y.samples[i].weight);
    ASSERT_NEAR(x.feature(i)[kIdle], y.feature(i)[kIdle], 0.01);
  }
  EXPECT_EQ(x.block_events, y.block_events);
  // Damage is refused, or changes numbers that are in range.
  for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 97) {
    std::string bad = bytes;
    bad[at] = static_cast<char>(bad[at] ^ 0xff);
    Recorder c(60'000'000, 2000, 1);
    std::string_view left = bad;
    (void)c.Load(&left, engine).ok();
    Recorder d(60'000'000, 2000, 1);
    left = std::string_view(bytes).substr(0, at);
    EXPECT_FALSE(d.Load(&left, engine).ok()) << at;
  }
}

TEST(Recorder, WhatWasNotSeenIsNoSilence) {
  FeatureEngine engine{EngineOptions{}};
  Recorder recorder(60'000'000, 2000, 1);
  const auto step = [&](bool hit) {
    Window w;
    if (hit) w.accesses.push_back({7, 1, 0});
    engine.Close(w);
    recorder.Observe(engine, w);
  };
  step(true);
  step(false);
  recorder.Cut();
  engine.Skip(10);
  step(true);
  const Dataset& data = recorder.Labelled();
  ASSERT_EQ(data.samples.size(), 3u);
  EXPECT_EQ(data.samples[0].exposure, 1u);  // asked about window 1, and window 2 was not seen
  EXPECT_EQ(data.samples[0].next, kNever);
  EXPECT_EQ(data.samples[1].exposure, 0u);
  EXPECT_EQ(data.samples[2].at, 13u);
}

}  // namespace
}  // namespace shadow::pam
