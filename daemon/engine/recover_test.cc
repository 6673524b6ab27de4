// SPDX-License-Identifier: Apache-2.0
// The state directory is lost: volumes come back into shadowd's hands from their metadata devices.
#include <gtest/gtest.h>

#include <algorithm>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

constexpr std::uint64_t kBlocks = 256;

class RecoverTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(m.engine().CreateVolume(SmallVolume()).ok());
    for (std::uint64_t b = 0; b < kBlocks; ++b) {
      ASSERT_TRUE(m.world.target("db0").Write(b, 1000 + b));
    }
    m.world.device_kib_per_s = std::uint64_t{4} << 10;
    before = m.engine().GetVolume("db0").value();
  }
  std::string BeginMove() {
    ModifyRequest r;
    r.volume = "db0";
    r.to = "nvme";
    r.impact = Impact::kFull;
    r.grace_ms = 600'000;
    const auto started = m.engine().Modify(r);
    EXPECT_TRUE(started.ok());
    const std::string id = started.ok() ? started->id : "";
    EXPECT_TRUE(m.RunTo(id, Phase::kCopying));
    for (int i = 0; i < 10; ++i) {
      m.Pass(100);
      m.engine().Step();
    }
    return id;
  }
  Result<VolumeInfo> Recover() { return m.engine().RecoverVolume({before.metadata, ""}); }
  void ExpectData() {
    ASSERT_TRUE(m.world.HasDevice("db0"));
    for (std::uint64_t b = 0; b < kBlocks; ++b) {
      ASSERT_EQ(m.world.target("db0").Read(b), std::optional<std::uint64_t>(1000 + b)) << b;
    }
  }
  bool DoctorSays(const std::string& text) {
    const auto checks = m.engine().Doctor();
    return checks.ok() && std::any_of(checks->begin(), checks->end(), [&](const Check& c) {
             return c.detail.find(text) != std::string::npos;
           });
  }
  // The modification that was taken up.
  std::string Move() {
    const auto all = m.engine().ListModifications("db0", 10);
    return all.ok() && all->size() == 1 ? all->front().id : "";
  }
  Machine m;
  VolumeInfo before;
};

TEST_F(RecoverTest, AVolumeThatIsUpIsTakenOver) {
  m.LoseState();
  ASSERT_TRUE(m.engine().ListVolumes()->empty());
  EXPECT_TRUE(DoctorSays("does not know it"));
  const auto back = Recover();
  ASSERT_TRUE(back.ok()) << back.error().ToString();
  EXPECT_EQ(back->uuid, before.uuid);
  EXPECT_EQ(back->origin, before.origin);
  EXPECT_EQ(back->size_bytes, before.size_bytes);
  EXPECT_EQ(back->block_bytes, before.block_bytes);
  ExpectData();
  EXPECT_FALSE(DoctorSays("does not know it"));
  EXPECT_TRUE(Recover().ok()) << "again: it is known";
  EXPECT_EQ(m.engine().ListVolumes()->size(), 1U);
}

TEST_F(RecoverTest, AVolumeThatIsDownComesUpAndOutlivesTheNextBoot) {
  m.world.Reboot();
  m.LoseState();
  EXPECT_FALSE(m.world.HasDevice("db0"));
  ASSERT_TRUE(Recover().ok());
  ExpectData();
  m.world.Reboot();
  m.Boot();
  ExpectData();
}

TEST_F(RecoverTest, NoneOfItsDevicesIsEverRemoved) {
  const std::size_t devices = m.world.lvs.size();
  m.LoseState();
  ASSERT_TRUE(Recover().ok());
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_EQ(m.world.lvs.size(), devices);
}

TEST_F(RecoverTest, AMoveIsTakenUpPausedAndCanGoOn) {
  BeginMove();
  m.world.Reboot();
  m.LoseState();
  ASSERT_TRUE(Recover().ok());
  ExpectData();
  const std::string id = Move();
  ASSERT_NE(id, "");
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kPaused);
  ASSERT_TRUE(m.engine().Resume(id).ok());
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  ASSERT_TRUE(m.engine().Commit(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  ExpectData();
  EXPECT_EQ(m.world.lvs.count(before.origin), 1U) << "whose it was is not known any more";
}

TEST_F(RecoverTest, AMoveIsTakenUpAndCanBeAborted) {
  BeginMove();
  m.LoseState();
  ASSERT_TRUE(Recover().ok());
  const std::string id = Move();
  ASSERT_NE(id, "");
  ASSERT_TRUE(m.engine().Abort(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetVolume("db0")->origin, before.origin);
  ExpectData();
}

TEST_F(RecoverTest, AGracePeriodBeginsAnewAndCanBeRolledBack) {
  const std::string first = BeginMove();
  ASSERT_TRUE(m.RunTo(first, Phase::kGrace));
  m.LoseState();
  ASSERT_TRUE(Recover().ok());
  const std::string id = Move();
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kGrace);
  ASSERT_TRUE(m.engine().RollBack(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetVolume("db0")->origin, before.origin);
  ExpectData();
}

TEST_F(RecoverTest, WhatIsNoMetadataOrOfADeviceThatIsAwayIsRefused) {
  m.world.Reboot();
  m.LoseState();
  m.world.AddDisk("/dev/other", 16 * kTestMiB);
  EXPECT_EQ(m.engine().RecoverVolume({"/dev/other", ""}).error().code, Code::kNotFound);
  EXPECT_EQ(m.engine().RecoverVolume({"/dev/nowhere", ""}).error().code, Code::kNotFound);
  m.world.Disconnect(before.origin);
  EXPECT_EQ(Recover().error().code, Code::kUnavailable);
  EXPECT_TRUE(m.engine().ListVolumes()->empty()) << "nothing is left of the attempt";
  m.world.Connect(before.origin);
  ASSERT_TRUE(Recover().ok());
  ExpectData();
}

}  // namespace
}  // namespace shadow
