// SPDX-License-Identifier: GPL-2.0-only
// What the library reports, and that it does not report what is allowed.
#include "kernel/user/fakes.h"

#include "kernel/user/testing.h"

namespace {

class FakesTest : public user::MachineTest {
 protected:
  FakesTest() { fake_reset(); }

  /// What is said when @f runs, after @before if there is one; "": nothing.
  static std::string Reported(void (*f)(void*), void (*before)(void*) = nullptr,
                              bool atomic = false) {
    fake_reset();
    if (before) {
      sim_spawn("before", before, nullptr, false);
      sim_run(1, 10000);
    }
    sim_spawn("fake", f, nullptr, atomic);
    sim_run(2, 10000);
    return machine.failed ? machine.what : "";
  }
  static bool Has(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  }
};

TEST_F(FakesTest, SleepingWhereOneMustNot) {
  EXPECT_TRUE(Has(Reported(fake_sleep_with_spin_lock), "with a spin lock held"));
  sim_reset();
  EXPECT_TRUE(Has(Reported(fake_sleep_in_interrupt, nullptr, true), "in an interrupt"));
  sim_reset();
  EXPECT_EQ(Reported(fake_sleep_in_interrupt), "");
}

TEST_F(FakesTest, OrderOfLocks) {
  EXPECT_EQ(Reported(fake_order_ab, fake_order_ab), "");
  sim_reset();
  EXPECT_TRUE(Has(Reported(fake_order_ba, fake_order_ab), "lock order"));
}

TEST_F(FakesTest, ForgetsTheOrderOfAnEarlierRun) {
  EXPECT_EQ(Reported(fake_order_ab), "");
  sim_reset();
  EXPECT_EQ(Reported(fake_order_ba), "");
}

TEST_F(FakesTest, LivesOfLocks) {
  EXPECT_TRUE(Has(Reported(fake_lock_twice), "which it has"));
  sim_reset();
  EXPECT_TRUE(Has(Reported(fake_lock_of_freed), "freed memory"));
  sim_reset();
  EXPECT_TRUE(Has(Reported(fake_lock_kept), "held"));
}

TEST_F(FakesTest, LivesOfMemory) {
  EXPECT_TRUE(Has(Reported(fake_free_twice), "freed twice"));
  sim_reset();
  EXPECT_TRUE(Has(Reported(fake_write_after_free), "written after it was freed"));
}

TEST_F(FakesTest, ABioEndsOnce) { EXPECT_TRUE(Has(Reported(fake_end_twice), "ended twice")); }

TEST_F(FakesTest, OnlyAWakeUpWakes) {
  EXPECT_EQ(Reported(fake_set_and_wake, fake_waiter), "");
  EXPECT_EQ(fake_woken, 1);
}

TEST_F(FakesTest, ALostWakeUpIsNamed) {
  EXPECT_EQ(Reported(fake_set_only, fake_waiter), "");
  EXPECT_EQ(fake_woken, 0);
  const char* lost = sim_lost_wakeup();
  ASSERT_NE(lost, nullptr);
  EXPECT_TRUE(Has(lost, "before at queue")) << lost;
}

TEST_F(FakesTest, ASleeperWhoseConditionIsFalseIsNoLostWakeUp) {
  EXPECT_EQ(Reported(fake_waiter), "");
  EXPECT_EQ(sim_lost_wakeup(), nullptr);
}

TEST_F(FakesTest, PoolsRunDry) {
  int out[3] = {};
  sim_spawn("fake", fake_pool, out, false);
  EXPECT_TRUE(sim_run(1, 10000)) << machine.what;
  EXPECT_TRUE(out[0] && out[1] && out[2]);
}

TEST_F(FakesTest, AWorkNeverRunsTwiceAtATime) {
  for (u64 seed = 1; seed < 30; seed++) {
    int most = 0;
    sim_spawn("fake", fake_work_once, &most, false);
    ASSERT_TRUE(sim_run(seed, 10000)) << machine.what;
    EXPECT_EQ(most, 1);
    sim_spawn("fake", fake_ordered, &most, false);
    ASSERT_TRUE(sim_run(seed, 10000)) << machine.what;
    EXPECT_EQ(most, 1);
  }
}

TEST_F(FakesTest, TimeIsVirtual) {
  long long took = 0;
  sim_spawn("fake", fake_delay, &took, false);
  EXPECT_TRUE(sim_run(1, 10000)) << machine.what;
  EXPECT_GE(took, 5000000000ll);
  EXPECT_LT(took, 6000000000ll);
}

TEST_F(FakesTest, AWaitForReadersWaitsForThem) {
  for (u64 seed = 1; seed < 30; seed++) {
    int waited = 0;
    sim_spawn("fake", fake_rcu, &waited, false);
    ASSERT_TRUE(sim_run(seed, 10000)) << machine.what;
    EXPECT_EQ(waited, 1);
  }
}

TEST_F(FakesTest, ARunFollowsFromItsSeed) {
  std::array<u64, 2> points{};
  for (u64& p : points) {
    sim_reset();
    int most;
    sim_spawn("fake", fake_work_once, &most, false);
    sim_run(5, 10000);
    p = machine.points;
  }
  EXPECT_EQ(points[0], points[1]);
}

}  // namespace
