// SPDX-License-Identifier: Apache-2.0
// A volume's model in service: restarts, lost windows, damaged files, trainings that are killed.
#include "pam/worker/live.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>

namespace shadow::pam {
namespace {

constexpr std::int64_t kMinute = 60'000'000;
constexpr std::int64_t kFriday = 1'700'208'000'000'000;  // 2023-11-17 08:00 UTC

class LiveTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pam_live_test.XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  LiveOptions Options() const {
    LiveOptions o;
    o.model.blocks = 1000;
    o.model.epochs = 3;
    o.model.identity = "one";
    o.state_dir = dir_;
    o.name = "v";
    return o;
  }
  /// Hot blocks, periodic ones, and noise, so that there is something to learn.
  static Window Draw(int w) {
    std::mt19937 rng(static_cast<unsigned>(w));
    Window win;
    for (std::uint32_t b = 0; b < 100; ++b) {
      const bool periodic = b < 60 && w % 5 == static_cast<int>(b % 5);
      if (periodic || rng() % 20 == 0) win.accesses.push_back({b * 3, 1 + b % 2, b % 2});
    }
    win.ops = win.accesses.size();
    win.bytes = win.ops * 4096;
    return win;
  }
  static void Run(LiveModel* live, int from, int to) {
    for (int w = from; w < to; ++w) ASSERT_TRUE(live->Close(Draw(w), 0).ok());
  }
  static std::vector<double> Says(const LiveModel& live) {
    std::vector<double> p;
    for (std::uint32_t b = 0; b < 300; b += 3) p.push_back(live.model().Probability(b, 5));
    return p;
  }
  std::string Log() const { return dir_ + "/v.log"; }
  std::string dir_;
};

TEST_F(LiveTest, AKillForgetsNothing) {
  auto live = std::make_unique<LiveModel>(Options());
  Run(live.get(), 0, 20);
  ASSERT_TRUE(*live->LearnAndWait());
  ASSERT_TRUE(live->model().trained());
  ASSERT_TRUE(live->Save().ok());
  Run(live.get(), 20, 33);
  ASSERT_TRUE(*live->LearnAndWait(Update::kTune));  // a lesson in the log, or nothing better
  Run(live.get(), 33, 40);
  const std::size_t samples = live->model().recorder().data().samples.size();
  const auto before = Says(*live);
  live.reset();  // no snapshot: what a kill leaves
  LiveModel again(Options());
  EXPECT_TRUE(again.restored());
  EXPECT_TRUE(again.model().trained());
  EXPECT_EQ(again.model().engine().now(), 40u);
  EXPECT_EQ(again.model().recorder().data().samples.size(), samples);
  const auto after = Says(again);
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_NEAR(after[i], before[i], 0.05) << i;
  // And it learns on from all of it, not from what came since.
  EXPECT_EQ(again.model().recorder().data().samples.front().at, 1u);
}

TEST_F(LiveTest, WithoutASnapshotTheLogAloneTellsAll) {
  auto live = std::make_unique<LiveModel>(Options());
  Run(live.get(), 0, 4);
  live.reset();
  EXPECT_EQ(LiveModel(Options()).model().engine().now(), 4u);
  LiveOptions other = Options();
  other.model.identity = "two";
  EXPECT_EQ(LiveModel(other).model().engine().now(), 0u);
}

TEST_F(LiveTest, ALogThatEndsInTheMiddleCostsItsEnd) {
  auto live = std::make_unique<LiveModel>(Options());
  Run(live.get(), 0, 3);
  ASSERT_TRUE(live->Save().ok());
  Run(live.get(), 3, 6);
  live.reset();
  const auto size = std::filesystem::file_size(Log());
  for (std::uintmax_t cut = size; cut-- > size - 40;) {
    std::filesystem::resize_file(Log(), cut);
    const std::string kept = dir_ + "/kept";
    std::filesystem::copy_file(Log(), kept, std::filesystem::copy_options::overwrite_existing);
    std::filesystem::copy_file(dir_ + "/v.pam", dir_ + "/kept.pam",
                               std::filesystem::copy_options::overwrite_existing);
    {
      LiveModel again(Options());
      EXPECT_EQ(again.model().engine().now(), 5u) << cut;
      Run(&again, 5, 6);  // what is appended now is read next time
    }
    EXPECT_EQ(LiveModel(Options()).model().engine().now(), 6u) << cut;
    std::filesystem::rename(kept, Log());
    std::filesystem::rename(dir_ + "/kept.pam", dir_ + "/v.pam");
  }
}

TEST_F(LiveTest, TheClockGoesOnAndLostWindowsAreMadeUp) {
  LiveOptions o = Options();
  o.model.engine.start_us = kFriday;
  o.model.engine.wall_clock = true;
  auto live = std::make_unique<LiveModel>(o);
  for (int w = 0; w < 60; ++w) ASSERT_TRUE(live->Close(Draw(w), kFriday + w * kMinute).ok());
  ASSERT_TRUE(live->Save().ok());
  live.reset();
  o.model.engine.start_us = kFriday + 90 * kMinute;  // half an hour later
  LiveModel again(o);
  const EngineOptions& clock = again.model().engine().options();
  EXPECT_EQ(again.model().engine().now(), 90u);
  EXPECT_EQ(clock.start_us, kFriday);  // of window 0: it is half past nine, and no later
  // What was said before the silence has no outcome in it.
  for (const Sample& s : again.model().recorder().data().samples) EXPECT_TRUE(s.settled);
  // Opened again, and windows a little late: nothing is made up.
  again.Reopen(2000, kFriday + 90 * kMinute + 1000);
  ASSERT_TRUE(again.Close(Draw(90), kFriday + 90 * kMinute + 20'000'000).ok());
  EXPECT_EQ(again.model().engine().now(), 91u);
  // A window that was lost on the way, and a clock that is put back.
  ASSERT_TRUE(again.Close(Draw(92), kFriday + 92 * kMinute).ok());
  EXPECT_EQ(again.model().engine().now(), 93u);
  ASSERT_TRUE(again.Close(Draw(93), kFriday - 60 * kMinute).ok());
  EXPECT_EQ(again.model().engine().now(), 94u);
  EXPECT_EQ(clock.start_us + 93 * kMinute, kFriday - 60 * kMinute);
}

TEST_F(LiveTest, AWorseCandidateIsNotTaken) {
  // A model of a long record, and a few windows of nothing but noise after a restart without one.
  LiveOptions nowhere = Options();
  nowhere.state_dir = "";
  LiveModel good(nowhere);
  Run(&good, 0, 200);
  ASSERT_TRUE(*good.LearnAndWait());
  {
    std::ofstream file(dir_ + "/v.model", std::ios::binary);
    file << good.model().SaveModel();
  }
  LiveOptions o = Options();
  o.model.epochs = 1;  // a candidate that learned little
  LiveModel live(o);
  EXPECT_FALSE(live.restored());
  ASSERT_TRUE(live.model().trained());
  Run(&live, 0, 15);
  ASSERT_EQ(live.model().Due(15), Update::kAnew);
  ASSERT_TRUE(live.LearnAndWait().ok());
  EXPECT_EQ(live.model().net().w3, good.model().net().w3);
  EXPECT_EQ(live.model().Due(15), Update::kNone);  // and it is not tried at once again
}

TEST_F(LiveTest, AKilledTrainingLosesNothing) {
  LiveModel live(Options());
  Run(&live, 0, 15);
  auto aside = live.StartLearning();
  ASSERT_TRUE(aside.ok() && *aside != nullptr);
  kill((*aside)->pid(), SIGKILL);
  const auto said = (*aside)->Take(true);
  ASSERT_TRUE(said.has_value());
  EXPECT_FALSE(live.TakeLesson(*said).ok());
  EXPECT_FALSE(live.model().trained());
  Run(&live, 15, 30);
  EXPECT_TRUE(*live.LearnAndWait());
  EXPECT_TRUE(live.model().trained());
}

TEST_F(LiveTest, SnapshotsStayWithinTheirBudget) {
  LiveOptions o = Options();
  o.save_bytes_per_minute = 1000;  // the snapshot is some 100 kB
  LiveModel live(o);
  int saved = 0;
  auto last = std::filesystem::file_time_type::min();
  for (int w = 0; w < 60; ++w) {
    ASSERT_TRUE(live.Close(Draw(w), 0).ok());
    ASSERT_TRUE(live.SaveIfDue().ok());
    if (!std::filesystem::exists(dir_ + "/v.pam")) continue;
    const auto at = std::filesystem::last_write_time(dir_ + "/v.pam");
    saved += at != last ? 1 : 0;
    last = at;
  }
  EXPECT_EQ(saved, 1);
  EXPECT_EQ(LiveModel(o).model().engine().now(), 60u);
}

}  // namespace
}  // namespace shadow::pam
