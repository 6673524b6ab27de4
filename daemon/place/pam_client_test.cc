// SPDX-License-Identifier: Apache-2.0
// The client against the real pam_worker, and against programs that misbehave in its place.
#include "daemon/place/pam_client.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "daemon/place/placement.h"
#include "daemon/place/policies.h"
#include "pam/v1/worker.pb.h"

namespace shadow {
namespace {

using ::pam::v1::Reply;
using ::pam::v1::Request;

constexpr std::int64_t kWait = 60'000;

class PamClientTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/pam_client_test.XXXXXX";
    dir_ = mkdtemp(name);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  /// A worker of a few lines of shell; it has the socket as descriptor 3.
  std::string Script(const std::string& body) {
    const std::string path = dir_ + "/worker";
    std::ofstream(path) << "#!/bin/sh\n" << body << "\n";
    chmod(path.c_str(), 0700);
    return path;
  }
  static Request Open() {
    Request r;
    auto* o = r.mutable_open();
    o->set_volume("v");
    o->set_blocks(1000);
    o->set_window_us(60'000'000);
    return r;
  }
  std::string dir_;
  ManualClock clock_;
};

TEST_F(PamClientTest, AnswersComeToTheirRequests) {
  PamClient client({PAM_WORKER, dir_ + "/state"}, clock_);
  const auto first = client.Send(Open());
  Request unknown;
  unknown.mutable_save()->set_volume("w");
  const auto second = client.Send(unknown);
  ASSERT_TRUE(first.ok() && second.ok());
  client.Pump(kWait, *second);
  Reply reply;
  ASSERT_TRUE(client.Take(*second, &reply));
  EXPECT_NE(reply.error(), "");
  ASSERT_TRUE(client.Take(*first, &reply));
  EXPECT_EQ(reply.error(), "");
  EXPECT_FALSE(client.Take(*first, &reply));
}

TEST_F(PamClientTest, AKilledWorkerComesBackAfterAPause) {
  PamClient client({PAM_WORKER, ""}, clock_);
  const auto id = client.Send(Open());
  ASSERT_TRUE(id.ok());
  kill(client.pid(), SIGKILL);  // in the middle of the call
  client.Pump(kWait, *id);
  Reply reply;
  EXPECT_FALSE(client.Take(*id, &reply));
  EXPECT_FALSE(client.running());
  EXPECT_NE(client.trouble(), "");
  EXPECT_FALSE(client.Send(Open()).ok());
  clock_.AdvanceMs(999);
  EXPECT_FALSE(client.Send(Open()).ok());
  clock_.AdvanceMs(1);
  const auto again = client.Send(Open());
  ASSERT_TRUE(again.ok());
  client.Pump(kWait, *again);
  EXPECT_TRUE(client.Take(*again, &reply));
  EXPECT_EQ(client.restarts(), 1U);
}

TEST_F(PamClientTest, GarbageEndsTheWorker) {
  PamClient client(
      {Script("head -c 8 <&3 >/dev/null; printf '\\004\\000\\000\\000junk' >&3; exec sleep 60"),
       ""},
      clock_);
  const auto id = client.Send(Open());
  ASSERT_TRUE(id.ok());
  client.Pump(kWait, *id);
  EXPECT_FALSE(client.running());
  EXPECT_EQ(client.trouble(), "it sent what is no answer");
}

TEST_F(PamClientTest, ASlowWorkerIsEndedAndThePauseGrows) {
  PamClient client({Script("cat <&3 >/dev/null"), ""}, clock_);
  std::int64_t pause = 1000;
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(client.Send(Open()).ok());
    client.Pump(0);
    EXPECT_TRUE(client.running());
    clock_.AdvanceMs(120'000);
    client.Pump(0);
    EXPECT_FALSE(client.running());
    EXPECT_NE(client.trouble().find("120 s"), std::string::npos);
    clock_.AdvanceMs(pause - 1);
    EXPECT_FALSE(client.Send(Open()).ok()) << pause;
    clock_.AdvanceMs(1);
    pause *= 2;
  }
}

/// Reasons of the policy while the volume grows, shrinks, is ranked by another policy and again by
/// this one, and goes.
TEST_F(PamClientTest, GrowthAndAChangeOfPolicyLeaveTheModelInPlace) {
  PamClient client({PAM_WORKER, dir_ + "/state"}, clock_);
  PlacementSettings settings;
  auto made = Placement::Make(settings, 1000, 1 << 20, {&client, "v", "uuid"}, clock_);
  ASSERT_TRUE(made.ok());
  Placement& p = **made;
  std::int64_t start = 1'700'000'000'000'000;
  const auto round = [&] {
    AccessWindow w;
    w.start_us = start;
    w.length_us = 60'000'000;
    start += w.length_us;
    w.blocks = {{3, 2, 1}, {1999, 1, 0}};
    w.ops = 3;
    clock_.AdvanceMs(60'000);
    p.AddPart(w);
    (void)p.Round({});
    client.Pump(kWait);
    return p.GetStatus().policy.reason;
  };
  const auto known = [&] {
    Request ask;
    ask.mutable_status()->set_volume("v");
    const auto id = client.Send(ask);
    client.Pump(kWait, *id);
    Reply reply;
    EXPECT_TRUE(client.Take(*id, &reply));
    return reply.error().empty() ? static_cast<int>(reply.status().known_blocks()) : -1;
  };
  EXPECT_NE(round().find("not trained"), std::string::npos);
  EXPECT_EQ(known(), 1);
  for (const std::uint64_t blocks : {2000, 1500, 2500}) {
    ASSERT_TRUE(p.Configure(settings, blocks).ok());
    EXPECT_NE(round().find("not trained"), std::string::npos) << round();
  }
  EXPECT_EQ(known(), 2);  // and the block that came with the growth
  settings.policy = "ewma";
  ASSERT_TRUE(p.Configure(settings, 2500).ok());
  round();
  EXPECT_EQ(known(), -1);  // closed: its memory is free
  settings.policy = "pam";
  ASSERT_TRUE(p.Configure(settings, 2500).ok());
  EXPECT_NE(round().find("not trained"), std::string::npos) << round();
  EXPECT_EQ(known(), 2);
  made->reset();
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/state/v.pam"));
  client.Forget("v");
  client.Pump(kWait);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/state/v.pam"));
}

TEST_F(PamClientTest, NoProgramIsSaid) {
  PamClient client({dir_ + "/none", ""}, clock_);
  const auto sent = client.Send(Open());
  ASSERT_FALSE(sent.ok());
  EXPECT_NE(sent.error().message.find("cannot be started"), std::string::npos);
  PamClient none({"", ""}, clock_);
  EXPECT_FALSE(none.Send(Open()).ok());
}

/// The whole way: untrained, trained, killed, back.
TEST_F(PamClientTest, ThePolicyFallsBackAndComesBack) {
  PamClient client({PAM_WORKER, dir_ + "/state"}, clock_);
  History history;
  PamVolume volume{&client, "v", "", 1000, 60'000'000, false};
  const auto policy = MakePam(history, {}, volume);
  std::uint32_t seed = 1;
  const auto window = [&] {
    AccessWindow w;
    w.length_us = 60'000'000;
    for (std::uint32_t b = 0; b < 300; ++b) {
      seed = seed * 1664525 + 1013904223;
      if (b < 20 || seed >> 29 == 0) w.blocks.push_back({b, 2, 1});
    }
    w.ops = 500;
    w.bytes = 1 << 20;
    history.Add(w, 1);
    policy->Observe(w);
    client.Pump(kWait);  // training, too
    return policy->Rank(100);
  };
  EXPECT_FALSE(window().empty());
  EXPECT_EQ(policy->State().ruling, "ewma");
  EXPECT_NE(policy->State().reason.find("not trained"), std::string::npos);
  for (int i = 0; i < 15; ++i) window();
  Request train;  // the worker does it by itself about now; this waits until it is done
  train.mutable_train()->set_volume("v");
  const auto trained = client.Send(train);
  ASSERT_TRUE(trained.ok());
  client.Pump(kWait, *trained);
  window();
  EXPECT_EQ(policy->State().reason.find("not trained"), std::string::npos)
      << policy->State().reason;
  EXPECT_GT(policy->State().state_bytes, history.Bytes());
  kill(client.pid(), SIGKILL);
  window();
  EXPECT_EQ(policy->State().ruling, "ewma");
  EXPECT_FALSE(window().empty());
  EXPECT_NE(policy->State().reason.find("not there"), std::string::npos);
  clock_.AdvanceMs(60'000);
  for (int i = 0; i < 3; ++i) window();
  EXPECT_TRUE(client.running());
  // The snapshot it came back with is a trained one.
  EXPECT_EQ(policy->State().reason.find("not trained"), std::string::npos)
      << policy->State().reason;
}

}  // namespace
}  // namespace shadow
