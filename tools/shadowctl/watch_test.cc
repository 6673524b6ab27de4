// SPDX-License-Identifier: Apache-2.0
// Following a modification: to its end, to the cut-over, across a restart of the daemon, until
// Ctrl-C. The daemon is a real server with a scripted engine; what happens when is driven by what
// is reported.
#include "tools/shadowctl/watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "daemon/rpc/scripted_engine.h"
#include "daemon/rpc/server.h"

namespace shadow::ctl {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class FakeReporter final : public Reporter {
 public:
  void Update(const v1::Modification& m) override {
    if (phases.empty() || phases.back() != m.phase()) phases.push_back(m.phase());
    if (on_update) on_update(m);
  }
  void Lost(const Error& error, std::chrono::seconds) override {
    ++lost;
    EXPECT_EQ(error.code, Code::kUnavailable);
    if (on_lost) on_lost();
  }
  void Back() override { ++back; }
  void End() override { ++ends; }

  std::function<void(const v1::Modification&)> on_update;
  std::function<void()> on_lost;
  std::vector<v1::Phase> phases;
  int lost = 0, back = 0, ends = 0;
};

class WatchTest : public testing::Test {
 protected:
  WatchTest() : engine_(clock_) {
    char name[] = "/tmp/shadow_watch_XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    StartServer();
    ModifyRequest request;
    request.volume = "db0";
    request.to = "nvme";
    options_.id = engine_.Modify(request)->id;
    options_.retry = std::chrono::milliseconds(1);
  }
  ~WatchTest() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void StartServer() {
    RpcOptions options;
    options.admin_socket = folder_ + "/admin.sock";
    options.clock = &clock_;
    auto server = StartRpcServer(engine_, options);
    ASSERT_TRUE(server.ok()) << server.error().ToString();
    server_ = std::move(*server);
  }

  /// Plays the script to COPYING and stops it there, so that nothing runs ahead of the watch.
  void StopAtCopying() {
    Result<ModificationInfo> info = engine_.GetModification(options_.id);
    while (info->phase != Phase::kCopying) {
      info = engine_.WaitModification(options_.id, info->updated_ms, 0);
    }
    engine_.Hold(true);
  }

  Result<WatchOutcome> Run() {
    return Watch([this] { return Client::Connect(folder_ + "/admin.sock", Access::kRead); },
                 options_, reporter_, interrupts_);
  }

  Interrupts interrupts_;  // before any other thread
  ManualClock clock_;
  rpc::ScriptedEngine engine_;
  std::string folder_;
  std::unique_ptr<RpcServer> server_;
  WatchOptions options_;
  FakeReporter reporter_;
};

TEST_F(WatchTest, ToTheCutOver) {
  options_.until = Until::kCutOver;
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.error().ToString();
  EXPECT_FALSE(outcome->interrupted);
  EXPECT_EQ(outcome->last.phase(), v1::PHASE_GRACE);
  EXPECT_THAT(reporter_.phases,
              ElementsAre(v1::PHASE_PLANNED, v1::PHASE_PREPARING, v1::PHASE_COPYING,
                          v1::PHASE_CATCHING_UP, v1::PHASE_CUTTING_OVER, v1::PHASE_GRACE));
  EXPECT_EQ(reporter_.ends, 1);
}

TEST_F(WatchTest, ToTheEnd) {
  reporter_.on_update = [&](const v1::Modification& m) {
    if (m.phase() == v1::PHASE_GRACE) static_cast<void>(engine_.Commit(m.id()));
  };
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->last.phase(), v1::PHASE_COMPLETED);
}

TEST_F(WatchTest, SurvivesARestartOfTheDaemon) {
  StopAtCopying();
  options_.until = Until::kCutOver;
  int restarts = 0;
  reporter_.on_update = [&](const v1::Modification&) {
    if (restarts++ == 0) server_.reset();
  };
  reporter_.on_lost = [&] {
    engine_.Hold(false);
    StartServer();
  };
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok()) << outcome.error().ToString();
  EXPECT_EQ(outcome->last.phase(), v1::PHASE_GRACE);
  EXPECT_EQ(reporter_.lost, 1);
  EXPECT_EQ(reporter_.back, 1);
}

TEST_F(WatchTest, GivesUpWhenTheDaemonStaysAway) {
  StopAtCopying();
  options_.patience = std::chrono::seconds(0);
  reporter_.on_update = [&](const v1::Modification&) { server_.reset(); };
  const auto outcome = Run();
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code, Code::kUnavailable);
  EXPECT_THAT(outcome.error().hint, HasSubstr("op watch " + options_.id));
  EXPECT_EQ(reporter_.ends, 1);
}

TEST_F(WatchTest, DoesNotWaitForADaemonThatNeverWasThere) {
  server_.reset();
  const auto outcome = Run();
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(reporter_.lost, 0);
}

TEST_F(WatchTest, CtrlCEndsTheWatchAndNotTheModification) {
  StopAtCopying();
  reporter_.on_update = [&](const v1::Modification&) { interrupts_.Raise(); };
  const auto outcome = Run();
  ASSERT_TRUE(outcome.ok());
  EXPECT_TRUE(outcome->interrupted);
  EXPECT_EQ(engine_.GetModification(options_.id)->phase, Phase::kCopying);
  for (const std::string& call : engine_.Calls()) EXPECT_NE(call, "Abort " + options_.id);
}

TEST_F(WatchTest, CtrlCEndsTheWaitForTheDaemon) {
  StopAtCopying();
  options_.retry = std::chrono::hours(1);
  reporter_.on_update = [&](const v1::Modification&) { server_.reset(); };
  std::thread raiser;
  reporter_.on_lost = [&] {
    // The watch waits for an hour now, or is about to: a signal has to end it either way.
    raiser = std::thread([&] {
      while (!interrupts_.acting()) std::this_thread::yield();
      interrupts_.Raise();
    });
  };
  const auto outcome = Run();
  raiser.join();
  ASSERT_TRUE(outcome.ok());
  EXPECT_TRUE(outcome->interrupted);
}

TEST_F(WatchTest, AnUnknownModificationIsAnError) {
  options_.id = "m99";
  const auto outcome = Run();
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code, Code::kNotFound);
}

}  // namespace
}  // namespace shadow::ctl
