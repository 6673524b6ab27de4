// SPDX-License-Identifier: Apache-2.0
// Disks that come late, swap names, leave and return: volumes come up by themselves on the right
// devices, and modifications wait.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

class ReconcileTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(m.engine().CreateVolume(SmallVolume()).ok());
    for (std::uint64_t b = 0; b < 256; ++b) ASSERT_TRUE(m.world.target("db0").Write(b, 1000 + b));
    m.world.device_kib_per_s = std::uint64_t{4} << 10;
    origin = m.engine().GetVolume("db0")->origin;
  }
  std::string BeginMove() {
    ModifyRequest r;
    r.volume = "db0";
    r.to = "nvme";
    r.impact = Impact::kFull;
    r.grace_ms = 600'000;
    const auto started = m.engine().Modify(r);
    EXPECT_TRUE(started.ok()) << started.error().ToString();
    const std::string id = started.ok() ? started->id : "";
    EXPECT_TRUE(m.RunTo(id, Phase::kCopying));
    for (int i = 0; i < 10; ++i) {
      m.Pass(100);
      m.engine().Step();
    }
    return id;
  }
  void Live(std::int64_t ms) {
    for (; ms > 0; ms -= 500) {
      m.engine().Step();
      m.Pass(500);
    }
    m.engine().Step();
  }
  void ExpectData() {
    ASSERT_TRUE(m.world.HasDevice("db0"));
    for (std::uint64_t b = 0; b < 256; ++b) {
      ASSERT_EQ(m.world.target("db0").Read(b), std::optional<std::uint64_t>(1000 + b)) << b;
    }
  }
  bool Said(const std::string& text) {
    const auto events = m.engine().WaitEvents(0, 1000, 0);
    if (!events.ok()) return false;
    for (const Event& e : *events) {
      if (e.message.find(text) != std::string::npos) return true;
    }
    return false;
  }
  Machine m;
  std::string origin;
};

TEST_F(ReconcileTest, AVolumeComesUpWhenItsDiskIsThere) {
  m.world.Reboot();
  m.world.Disconnect(origin);
  m.Boot();
  Live(200'000);
  EXPECT_FALSE(m.world.HasDevice("db0")) << "longer than any wait: it is the only copy";
  const auto refused = m.engine().ActivateVolume("db0", false);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("waits for its origin"), std::string::npos);
  EXPECT_NE(m.engine().StatusText().find("db0: It waits for its origin"), std::string::npos);
  m.world.Connect(origin);
  Live(500);
  ExpectData();
  EXPECT_TRUE(m.engine().ActivateVolume("db0", false).ok());
  EXPECT_EQ(m.engine().StatusText(), "Serving.");
}

TEST_F(ReconcileTest, AVolumeRunsOnItsOwnDiskWhateverThatIsCalled) {
  m.world.AddDisk("/dev/vdx", 64 * kTestMiB);
  m.world.AddDisk("/dev/vdy", 64 * kTestMiB);
  ImportRequest r;
  r.name = "db1";
  r.device = "/dev/vdx";
  r.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(r).ok());
  ASSERT_TRUE(m.world.target("db1").Write(3, 77));
  m.world.Reboot();
  m.world.SwapNames("/dev/vdx", "/dev/vdy");
  m.Boot();
  ASSERT_TRUE(m.world.HasDevice("db1"));
  EXPECT_EQ(m.world.target("db1").Read(3), std::optional<std::uint64_t>(77));
  // Its disk is away, and another one has its name.
  m.world.Reboot();
  m.world.Disconnect("/dev/vdy");
  m.Boot();
  Live(1000);
  EXPECT_FALSE(m.world.HasDevice("db1"));
}

TEST_F(ReconcileTest, AMoveWaitsForItsTargetAndKeepsItsCopies) {
  const std::string id = BeginMove();
  const std::uint64_t copied = m.engine().GetVolume("db0")->kernel.mirrored;
  ASSERT_GT(copied, 0U);
  const std::string target = m.engine().GetVolume("db0")->target;
  m.world.Reboot();
  m.world.Disconnect(target);
  m.Boot();
  Live(60'000);
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCopying) << "no attempt is used up";
  EXPECT_FALSE(m.world.HasDevice("db0"));
  m.world.Connect(target);
  Live(500);
  EXPECT_GE(m.engine().GetVolume("db0")->kernel.mirrored, copied);
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  ExpectData();
}

TEST_F(ReconcileTest, AfterTheWaitItRunsWithoutTheTargetAndTakesItBack) {
  const std::string id = BeginMove();
  const std::string target = m.engine().GetVolume("db0")->target;
  m.world.Reboot();
  m.world.Disconnect(target);
  m.Boot();
  Live(100'000);
  ExpectData();
  EXPECT_TRUE(Said("It runs without its target"));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCopying);
  EXPECT_NE(m.engine().GetModification(id)->error.find("Waiting for the target"),
            std::string::npos);
  m.world.Connect(target);
  Live(1000);
  EXPECT_TRUE(Said("is back"));
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  ExpectData();
}

TEST_F(ReconcileTest, AVolumeIsNeverStartedWithoutTheOnlyCopy) {
  const std::string id = BeginMove();
  m.world.Reboot();
  m.world.Disconnect(origin);
  m.Boot();
  Live(300'000);
  EXPECT_FALSE(m.world.HasDevice("db0"));
  EXPECT_NE(m.engine().StatusText().find("which has the only current copy of"), std::string::npos);
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCopying);
  m.world.Connect(origin);
  Live(1000);
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  ExpectData();
}

TEST_F(ReconcileTest, AnOriginThatIsLostInTheGracePeriodDoesNotHoldTheCommit) {
  const std::string id = BeginMove();
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  m.world.Reboot();
  m.world.Disconnect(origin);
  m.Boot();
  Live(80'000);
  EXPECT_FALSE(m.world.HasDevice("db0")) << "the wait is not over";
  Live(20'000);
  ExpectData();
  ASSERT_TRUE(m.engine().Commit(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted);
  ExpectData();
}

TEST_F(ReconcileTest, AVolumeIsNotStartedWithoutATierThatHasDirtyShadows) {
  AddTierRequest r;
  r.volume = "db0";
  r.level = TierLevel::kTier1;
  r.to = "nvme";
  r.size_bytes = 4 * kTestMiB;
  r.write_back = true;
  const auto tier = m.engine().AddTier(r);
  ASSERT_TRUE(tier.ok()) << tier.error().ToString();
  ASSERT_TRUE(m.world.target("db0").Message("promote tier1 5+1").ok());
  m.Pass(1000);
  ASSERT_TRUE(m.world.target("db0").Write(5, 55));
  ASSERT_EQ(m.world.OnlyCopies(m.engine().GetVolume("db0")->metadata, 2).value(), 1U);
  m.world.Reboot();
  m.world.Disconnect(tier->device);
  m.Boot();
  Live(300'000);
  EXPECT_FALSE(m.world.HasDevice("db0"));
  EXPECT_NE(m.engine().StatusText().find("waits for its tier1"), std::string::npos);
  m.world.Connect(tier->device);
  Live(1000);
  ASSERT_TRUE(m.world.HasDevice("db0"));
  EXPECT_EQ(m.world.target("db0").Read(5), std::optional<std::uint64_t>(55));
}

TEST_F(ReconcileTest, AMoveWhoseTargetIsLostCanBeAborted) {
  const std::string id = BeginMove();
  const std::string target = m.engine().GetVolume("db0")->target;
  m.world.Reboot();
  m.world.Disconnect(target);
  m.Boot();
  Live(100'000);
  ASSERT_TRUE(m.engine().Abort(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kAborted);
  ExpectData();
}

// After a reboot a name is no proof. It is enough if the user said so when the leg was taken and
// the size is right; else somebody has to look first.
TEST_F(ReconcileTest, ANameAloneIsNotGuessedAtABoot) {
  m.world.AddDisk("/dev/vdx", 64 * kTestMiB);
  m.world.AddDisk("/dev/vdy", 32 * kTestMiB);
  m.world.AddDisk("/dev/vdz", 64 * kTestMiB);
  m.world.disks.at("/dev/vdx").lasts = false;
  ImportRequest r;
  r.name = "db1";
  r.device = "/dev/vdx";
  r.metadata = "hdd";
  r.block_bytes = kTestBlock;
  r.unstable_names = true;
  ASSERT_TRUE(m.engine().ImportVolume(r).ok());
  r.name = "db2";
  r.device = "/dev/vdz";
  ASSERT_TRUE(m.engine().ImportVolume(r).ok());
  m.world.Reboot();
  // As an earlier version would have taken it.
  m.world.disks.at("/dev/vdz").lasts = false;
  m.Boot();
  EXPECT_TRUE(m.world.HasDevice("db1")) << "it was allowed";
  EXPECT_FALSE(m.world.HasDevice("db2"));
  Live(200'000);
  EXPECT_FALSE(m.world.HasDevice("db2"));
  const auto refused = m.engine().ActivateVolume("db2", false);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().ToString().find("by its name alone"), std::string::npos)
      << refused.error().ToString();
  EXPECT_NE(refused.error().ToString().find("--allow-unstable-names"), std::string::npos)
      << refused.error().ToString();
  EXPECT_TRUE(m.engine().ActivateVolume("db2", true).ok());
  EXPECT_TRUE(m.world.HasDevice("db2"));

  // Another device has the name, and the identity that is made of it.
  m.world.Reboot();
  std::swap(m.world.disks.at("/dev/vdx").id, m.world.disks.at("/dev/vdy").id);
  m.world.disks.at("/dev/vdy").lasts = false;
  m.Boot();
  EXPECT_FALSE(m.world.HasDevice("db1")) << "its size is not the leg's";
  EXPECT_FALSE(m.world.HasDevice("db2")) << "the word was for the last start";
}

// Killed while the old origin is released; the target, which has the only current copy, is away.
TEST_F(ReconcileTest, TheOldCopyStaysUntilTheVolumeIsUp) {
  const std::string id = BeginMove();
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  const std::string target = m.engine().GetVolume("db0")->target;
  m.world.FailNext("RemoveLv", MakeError(Code::kIoError, "LVM was killed."), 100);
  ASSERT_TRUE(m.engine().Commit(id).ok());
  ASSERT_TRUE(m.RunUntil([&] { return m.world.failures.at("RemoveLv").second < 100; }));
  m.world.failures.clear();
  m.world.Reboot();
  m.world.Disconnect(target);
  m.Boot();
  Live(200'000);
  EXPECT_FALSE(m.world.HasDevice("db0"));
  EXPECT_TRUE(m.world.lvs.count(origin)) << "the last copy that is there";
  m.world.Connect(target);
  Live(1000);
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted);
  EXPECT_FALSE(m.world.lvs.count(origin));
  ExpectData();
}

// "I looked, the names are right" is said of what is there then.
TEST_F(ReconcileTest, AWordForNamesIsForTheDevicesOfThatMoment) {
  for (const char* path : {"/dev/vdx", "/dev/vdt"}) m.world.AddDisk(path, 64 * kTestMiB);
  ImportRequest r;
  r.name = "db1";
  r.device = "/dev/vdx";
  r.metadata = "hdd";
  r.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(r).ok());
  ModifyRequest move;
  move.volume = "db1";
  move.to = "/dev/vdt";
  move.grace_ms = 600'000;
  const auto started = m.engine().Modify(move);
  ASSERT_TRUE(started.ok()) << started.error().ToString();
  ASSERT_TRUE(m.RunTo(started->id, Phase::kCopying));
  m.world.Reboot();
  m.world.disks.at("/dev/vdt").lasts = false;
  const std::string id = m.world.disks.at("/dev/vdt").id;
  m.world.Disconnect("/dev/vdt");
  m.Boot();
  Live(100'000);
  ASSERT_TRUE(m.engine().ActivateVolume("db1", true).ok());
  // Another disk gets the name.
  m.world.AddDisk("/dev/vdz", 96 * kTestMiB);
  m.world.disks.at("/dev/vdz").id = id;
  m.world.disks.at("/dev/vdz").lasts = false;
  m.world.disks.at("/dev/vdz").content.assign(96 * kTestMiB / kTestBlock, 88);
  Live(2000);
  EXPECT_EQ(m.world.target("db1").table().target->device, "-");
  EXPECT_EQ(m.world.disks.at("/dev/vdz").content,
            std::vector<std::uint64_t>(96 * kTestMiB / kTestBlock, 88));
}

}  // namespace
}  // namespace shadow
