// SPDX-License-Identifier: Apache-2.0
// The grace period against clocks that are set, reboots, and random sequences of both.
#include "daemon/modify/grace.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>

namespace shadow {
namespace {

constexpr std::int64_t kHourMs = 3'600'000;

TEST(Grace, TheTimeOfDayDoesNotCount) {
  ManualClock clock;
  GraceTime grace = BeginGrace(clock, 2 * kHourMs);
  clock.StepWallMs(3 * kHourMs);
  EXPECT_EQ(GraceLeft(clock, 0, &grace), 2 * kHourMs);
  clock.AdvanceMs(kHourMs);
  clock.StepWallMs(-100 * kHourMs);
  EXPECT_EQ(GraceLeft(clock, 0, &grace), kHourMs);
}

TEST(Grace, AfterARebootTheRestCountsFromThere) {
  ManualClock clock;
  GraceTime grace = BeginGrace(clock, 2 * kHourMs);
  clock.AdvanceMs(kHourMs);
  grace.left_ms = GraceLeft(clock, 0, &grace);
  clock.AdvanceMs(kHourMs / 2);  // not stored any more
  clock.Reboot();
  EXPECT_EQ(GraceLeft(clock, 0, &grace), kHourMs);
  clock.AdvanceMs(kHourMs / 2);
  EXPECT_EQ(GraceLeft(clock, 0, &grace), kHourMs / 2);
}

TEST(Grace, WhatAnOlderVersionBeganBeginsAgain) {
  ManualClock clock;
  GraceTime grace;
  EXPECT_EQ(GraceLeft(clock, kHourMs, &grace), kHourMs);
  clock.AdvanceMs(1000);
  EXPECT_EQ(GraceLeft(clock, kHourMs, &grace), kHourMs - 1000);
}

// However the clock is set and the machine rebooted: never over before all of it has passed while
// the machine was up, and never later than that by more than one step for each reboot.
RC_GTEST_PROP(Grace, IsNeverShorter, (std::vector<std::int8_t> steps)) {
  ManualClock clock;
  constexpr std::int64_t kMs = 200;
  GraceTime grace = BeginGrace(clock, kMs);
  std::int64_t passed = 0;
  std::int64_t reboots = 0;
  for (const std::int8_t step : steps) {
    if (step % 7 == 0) {
      clock.Reboot();
      ++reboots;
    } else if (step % 3 == 0) {
      clock.StepWallMs(step * 1000);
    } else {
      const std::int64_t ms = step < 0 ? -step : step;
      clock.AdvanceMs(ms);
      passed += ms;
    }
    const std::int64_t left = GraceLeft(clock, kMs, &grace);
    RC_ASSERT(left >= kMs - passed);
    RC_ASSERT(left <= std::max<std::int64_t>(0, kMs - passed) + reboots * 127);
    grace.left_ms = left;
  }
}

}  // namespace
}  // namespace shadow
