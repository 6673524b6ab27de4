// SPDX-License-Identifier: Apache-2.0
// The state directory is lost: volumes come back into shadowd's hands from their metadata devices.
#include <gtest/gtest.h>

#include <algorithm>

#include "daemon/engine/testing.h"
#include "daemon/store/sqlite.h"

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

// Nobody has to ask: it serves I/O, and its metadata say what it is.
TEST_F(RecoverTest, AVolumeThatIsUpIsTakenOver) {
  m.LoseState();
  ASSERT_EQ(m.engine().ListVolumes()->size(), 1U);
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

TEST_F(RecoverTest, WhatCannotBeTakenOverIsSaid) {
  m.world.FailNext("Store", MakeError(Code::kIoError, "No."));
  m.LoseState();
  EXPECT_TRUE(m.engine().ListVolumes()->empty());
  EXPECT_TRUE(DoctorSays("does not know it"));
  ExpectData();
  m.Boot();
  EXPECT_EQ(m.engine().ListVolumes()->size(), 1U);
}

// The row of a volume that is up is damaged: its metadata know as much.
TEST_F(RecoverTest, ADamagedRowOfAVolumeThatIsUpIsMadeAnew) {
  const std::string file = testing::TempDir() + "shadow-recover.db";
  for (const char* suffix : {"", "-wal", "-shm"}) std::remove((file + suffix).c_str());
  Machine other(file);
  ASSERT_TRUE(other.engine().CreateVolume(SmallVolume()).ok());
  const auto db = sqlite::Open(file);
  ASSERT_TRUE(db.ok());
  ASSERT_TRUE(sqlite::Execute(db->get(), "UPDATE volumes SET record = '{'").ok());
  other.Boot();
  ASSERT_EQ(other.engine().ListVolumes()->size(), 1U);
  other.world.Reboot();
  other.Boot();
  EXPECT_TRUE(other.world.HasDevice("db0"));
}

TEST_F(RecoverTest, TiersComeBack) {
  AddTierRequest tier;
  tier.volume = "db0";
  tier.to = "nvme";
  tier.size_bytes = 16 * kTestBlock;
  ASSERT_TRUE(m.engine().AddTier(tier).ok());
  m.world.Reboot();
  m.LoseState();
  ASSERT_TRUE(Recover().ok());
  const auto tiers = m.engine().ListTiers("db0");
  ASSERT_TRUE(tiers.ok());
  ASSERT_EQ(tiers->tiers.size(), 1U);
  ExpectData();
  m.world.Reboot();
  m.Boot();
  ExpectData();
  RemoveTierRequest gone;
  gone.volume = "db0";
  const std::size_t devices = m.world.lvs.size();
  ASSERT_TRUE(m.engine().RemoveTier(gone).ok());
  EXPECT_TRUE(m.RunUntil([&] {
    m.engine().Step();
    const auto now = m.engine().ListTiers("db0");
    return now.ok() && now->tiers.empty();
  }));
  EXPECT_EQ(m.world.lvs.size(), devices) << "whose it was is not known any more";
}

// A kept state brings back what only it knows; one that is too old gives way to the metadata.
TEST_F(RecoverTest, AKeptStateIsTakenIn) {
  const std::string kept = m.engine().ExportState().value();
  m.world.Reboot();
  m.LoseState();
  EXPECT_TRUE(m.engine().ListVolumes()->empty());
  const auto taken = m.engine().ImportState(kept);
  ASSERT_TRUE(taken.ok()) << taken.error().ToString();
  EXPECT_EQ(*taken, std::vector<std::string>{"db0: taken in."});
  ExpectData();
  EXPECT_EQ(*m.engine().ImportState(kept), std::vector<std::string>{"db0: it is known already."});
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_TRUE(m.world.lvs.empty()) << "it knows that they were made for the volume";
}

TEST_F(RecoverTest, AKeptStateThatIsTooOldIsNotBelieved) {
  const std::string kept = m.engine().ExportState().value();
  ModifyRequest r;
  r.volume = "db0";
  r.to = "nvme";
  r.impact = Impact::kFull;
  r.grace_ms = 0;
  const auto started = m.engine().Modify(r);
  ASSERT_TRUE(started.ok());
  ASSERT_TRUE(m.RunToEnd(started->id));
  const std::string now = m.engine().GetVolume("db0")->origin;
  ASSERT_NE(now, before.origin);
  m.world.Reboot();
  m.LoseState();
  const auto taken = m.engine().ImportState(kept);
  ASSERT_TRUE(taken.ok()) << taken.error().ToString();
  EXPECT_NE(taken->front().find("has changed since"), std::string::npos) << taken->front();
  EXPECT_EQ(m.engine().GetVolume("db0")->origin, now);
  ExpectData();
}

TEST_F(RecoverTest, WhatIsNoStateIsRefused) {
  for (const char* text : {"", "{}", "[]", "{\"format\": 3}", "{\"format\": \"dm-shadow state\"}",
                           "{\"format\": \"dm-shadow state\", \"version\": 1, \"volumes\": [{}]}",
                           "{\"format\": \"dm-shadow state\", \"version\": 1, \"volumes\": "
                           "[{\"volume\": {\"name\": 1}}]}"}) {
    EXPECT_FALSE(m.engine().ImportState(text).ok()) << text;
  }
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
