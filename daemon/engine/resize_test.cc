// SPDX-License-Identifier: Apache-2.0
// Resizes and what lies on the volume: whoever shrinks asks the file system, at the last moment,
// too; whoever goes back after a growth, as well.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

constexpr const char* kDevice = "/dev/mapper/db0";

class ResizeTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(m.engine().CreateVolume(SmallVolume()).ok());
    for (std::uint64_t b = 0; b < 256; ++b) ASSERT_TRUE(m.world.target("db0").Write(b, 1000 + b));
    Content("ext4", 8 * kTestMiB);
    r_.volume = "db0";
    r_.impact = Impact::kFull;
  }
  void Content(const std::string& type, std::uint64_t end, const std::string& mount = "/mnt") {
    FsInfo& fs = m.world.filesystems[kDevice];
    fs.type = type;
    fs.end_bytes = end;
    fs.mount_point = mount;
    fs.openers = mount.empty() ? 0 : 1;
    m.world.devices.at("db0").open_count = mount.empty() ? 0 : 1;
  }
  std::string Begin() {
    auto started = m.engine().Modify(r_);
    EXPECT_TRUE(started.ok()) << started.error().ToString();
    return started.ok() ? started->id : "";
  }
  ModificationInfo End(const std::string& id) {
    EXPECT_TRUE(m.RunToEnd(id));
    return m.engine().GetModification(id).value();
  }
  std::uint64_t Size() { return m.engine().GetVolume("db0")->size_bytes; }
  Machine m;
  ModifyRequest r_;
};

TEST_F(ResizeTest, AFileSystemThatGrowsAfterThePlanIsNotCut) {
  for (const char* to : {"", "nvme"}) {
    Content("ext4", 8 * kTestMiB);
    r_.to = to;
    r_.size_spec = "8M";
    const std::string id = Begin();
    Content("ext4", 16 * kTestMiB);
    const ModificationInfo end = End(id);
    EXPECT_EQ(end.phase, Phase::kFailed) << to;
    EXPECT_NE(end.error.find("ends at 16 MiB"), std::string::npos) << end.error;
    EXPECT_EQ(Size(), 16 * kTestMiB) << to;
    EXPECT_EQ(m.world.target("db0").Read(255), std::optional<std::uint64_t>(1255)) << to;
  }
}

TEST_F(ResizeTest, WhatFitsIsShrunkAlsoWhileItIsMounted) {
  r_.size_spec = "8M";
  EXPECT_EQ(End(Begin()).phase, Phase::kCompleted);
  EXPECT_EQ(Size(), 8 * kTestMiB);
}

TEST_F(ResizeTest, WhoHasItOpenUnseenMayChangeIt) {
  Content("ext4", 8 * kTestMiB, "");
  m.world.devices.at("db0").open_count = 1;
  r_.size_spec = "8M";
  auto refused = m.engine().PlanModification(r_);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("cannot see"), std::string::npos)
      << refused.error().message;
  r_.force_shrink = true;
  EXPECT_TRUE(m.engine().PlanModification(r_).ok());
}

TEST_F(ResizeTest, WhatTheContentIsInDoubtAboutIsSaid) {
  m.world.filesystems[kDevice] = {"LVM2_member", 0, "", "The device dm-3 lies on it.", "", 1};
  r_.size_spec = "8M";
  auto refused = m.engine().PlanModification(r_);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("dm-3 lies on it"), std::string::npos)
      << refused.error().message;
}

// btrfs writes nothing to what it gains, so no block beyond the old end tells of it.
TEST_F(ResizeTest, AfterTheFileSystemGrewThereIsNoWayBack) {
  Content("btrfs", 16 * kTestMiB);
  r_.to = "nvme";
  r_.size_spec = "+50%";
  r_.grace_ms = 60'000;
  const std::string id = Begin();
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  Content("btrfs", 24 * kTestMiB);
  const auto back = m.engine().RollBack(id);
  ASSERT_FALSE(back.ok());
  EXPECT_NE(back.error().message.find("ends at 24 MiB"), std::string::npos) << back.error().message;
  Content("btrfs", 16 * kTestMiB);
  ASSERT_TRUE(m.engine().RollBack(id).ok());
  // And if it grows now, the kernel is not told to give the tail up.
  Content("btrfs", 24 * kTestMiB);
  ASSERT_TRUE(m.RunTo(id, Phase::kPaused));
  EXPECT_EQ(Size(), 24 * kTestMiB);
}

// What a file system gains lies beyond the old end: once it has grown there is no way back.
TEST_F(ResizeTest, TheFileSystemGrowsWhenTheWayBackIsOver) {
  Content("ext4", 16 * kTestMiB);
  r_.to = "nvme";
  r_.size_spec = "+50%";
  r_.grow_filesystem = true;
  r_.grace_ms = 60'000;
  EXPECT_TRUE(m.engine().PlanModification(r_)->reversible);
  std::string id = Begin();
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  EXPECT_EQ(m.world.filesystems[kDevice].end_bytes, 16 * kTestMiB);
  ASSERT_TRUE(m.engine().RollBack(id).ok());
  EXPECT_EQ(End(id).phase, Phase::kAborted);
  id = Begin();
  const ModificationInfo end = End(id);
  EXPECT_EQ(end.phase, Phase::kCompleted);
  EXPECT_TRUE(end.left_out.empty());
  EXPECT_EQ(m.world.filesystems[kDevice].end_bytes, 24 * kTestMiB);
}

TEST_F(ResizeTest, TheFileSystemGrowsAtOnceIfThatIsAskedFor) {
  Content("ext4", 16 * kTestMiB);
  r_.to = "nvme";
  r_.size_spec = "+50%";
  r_.grow_filesystem = r_.grow_now = true;
  r_.grace_ms = 60'000;
  const auto plan = m.engine().PlanModification(r_);
  EXPECT_FALSE(plan->reversible);
  EXPECT_FALSE(plan->warnings.empty());
  const std::string id = Begin();
  ASSERT_TRUE(m.RunTo(id, Phase::kCopying));
  EXPECT_EQ(m.world.filesystems[kDevice].end_bytes, 24 * kTestMiB);
  EXPECT_FALSE(m.engine().Abort(id).ok());
}

TEST_F(ResizeTest, WhatWasAskedForAndNotDoneIsKept) {
  for (const char* to : {"", "nvme"}) {
    m.world.filesystems[kDevice].cannot_grow = "It is not mounted.";
    m.world.failures["Grow"] = {MakeError(Code::kFailedPrecondition, "It is not mounted."), 3};
    if (*to == 0) m.world.failures["Grow"].second = 1;
    r_.to = to;
    r_.size_spec = "+4M";
    r_.grow_filesystem = true;
    r_.grace_ms = 0;
    const auto plan = m.engine().PlanModification(r_);
    ASSERT_FALSE(plan->warnings.empty()) << to;
    EXPECT_NE(plan->warnings.back().find("not mounted"), std::string::npos);
    const std::string id = Begin();
    EXPECT_EQ(End(id).phase, Phase::kCompleted) << to;
    m.Boot();
    const ModificationInfo end = *m.engine().GetModification(id);
    ASSERT_EQ(end.left_out.size(), 1U) << to;
    EXPECT_NE(end.left_out[0].find("not mounted"), std::string::npos);
  }
}

// The kernel takes the longer table, and the answer is lost: what is given up is not what failed.
TEST_F(ResizeTest, AGrowthWhoseAnswerIsLostIsNotTakenBack) {
  for (const bool reboot : {false, true}) {
    const std::uint64_t before = Size();
    r_.size_spec = std::to_string(before / kTestMiB * 2) + "M";
    m.world.FailNext("after Resume", MakeError(Code::kUnavailable, "The kernel did not answer."));
    const ModificationInfo end = End(Begin());
    EXPECT_EQ(Size(), before * 2) << end.error;
    const std::string origin = m.engine().GetVolume("db0")->origin;
    EXPECT_GE(m.world.disks.at(origin).size_bytes, Size());
    if (reboot) m.world.Reboot();
    m.Boot();
    ASSERT_TRUE(m.world.HasDevice("db0")) << "it comes up again";
    EXPECT_EQ(m.world.target("db0").Read(255), std::optional<std::uint64_t>(1255));
  }
}

// As before, but the kernel takes the table when the modification turns back already.
TEST_F(ResizeTest, ALongerTableThatGetsInLateIsNotCut) {
  const std::uint64_t before = Size();
  r_.size_spec = std::to_string(before / kTestMiB * 2) + "M";
  m.world.FailNext("Resume", MakeError(Code::kUnavailable, "The kernel did not answer."), 2);
  m.world.FailNext("Reduce", MakeError(Code::kIoError, "LVM was killed."));
  const std::string id = Begin();
  ASSERT_TRUE(m.RunUntil([&] { return m.world.failures.empty(); }));
  ShadowTable table = m.world.target("db0").table();
  table.sectors *= 2;
  ASSERT_TRUE(m.world.dm().Load("db0", table.sectors, BuildTable(table).value()).ok());
  ASSERT_TRUE(m.world.dm().Resume("db0").ok());
  EXPECT_EQ(End(id).phase, Phase::kFailed);
  EXPECT_EQ(Size(), before * 2);
  const std::string origin = m.engine().GetVolume("db0")->origin;
  EXPECT_GE(m.world.disks.at(origin).size_bytes, Size());
  m.world.Reboot();
  m.Boot();
  ASSERT_TRUE(m.world.HasDevice("db0")) << "it comes up again";
  EXPECT_EQ(m.world.target("db0").Read(255), std::optional<std::uint64_t>(1255));
}

}  // namespace
}  // namespace shadow
