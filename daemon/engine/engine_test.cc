// SPDX-License-Identifier: Apache-2.0
// Whole modifications through the engine, in the simulated world.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

class EngineTest : public testing::Test {
 protected:
  void SetUp() override {
    auto made = m.engine().CreateVolume(SmallVolume());
    ASSERT_TRUE(made.ok()) << made.error().ToString();
    for (std::uint64_t b = 0; b < 256; ++b) ASSERT_TRUE(m.world.target("db0").Write(b, 1000 + b));
    m.world.device_kib_per_s = std::uint64_t{8} << 10;  // two seconds for everything
  }
  ModifyRequest Move() {
    ModifyRequest r;
    r.volume = "db0";
    r.to = "nvme";
    r.impact = Impact::kFull;
    r.grace_ms = 60'000;
    return r;
  }
  std::string Begin(const ModifyRequest& r) {
    auto started = m.engine().Modify(r);
    EXPECT_TRUE(started.ok()) << started.error().ToString();
    return started.ok() ? started->id : "";
  }
  void ExpectData(std::uint64_t blocks = 256) {
    for (std::uint64_t b = 0; b < blocks; ++b) {
      ASSERT_EQ(m.world.target("db0").Read(b), std::optional<std::uint64_t>(1000 + b)) << b;
    }
  }
  Machine m;
};

TEST_F(EngineTest, CreatedVolumeIsThereAfterARestart) {
  m.Boot();
  auto v = m.engine().GetVolume("db0");
  ASSERT_TRUE(v.ok());
  EXPECT_EQ(v->storage_class, "hdd");
  EXPECT_EQ(v->kernel.phase, "steady");
  EXPECT_EQ(v->size_bytes, 16 * kTestMiB);
  ExpectData();
}

TEST_F(EngineTest, ARebootBringsVolumesBack) {
  m.world.Reboot();
  EXPECT_FALSE(m.world.HasDevice("db0"));
  m.Boot();
  ASSERT_TRUE(m.world.HasDevice("db0"));
  ExpectData();
}

TEST_F(EngineTest, MoveAndGrow) {
  ModifyRequest r = Move();
  r.size_spec = "+50%";
  r.grow_filesystem = true;
  const std::string old_origin = m.engine().GetVolume("db0")->origin;
  const std::string id = Begin(r);
  ASSERT_TRUE(m.RunTo(id, Phase::kCopying));
  EXPECT_EQ(m.engine().GetVolume("db0")->size_bytes, 24 * kTestMiB) << "usable at once";
  EXPECT_NE(m.engine().GetVolume("db0")->target, "");
  m.Pass(500);
  m.engine().Step();
  m.Pass(500);
  m.engine().Step();
  const ModificationInfo half = *m.engine().GetModification(id);
  EXPECT_GT(half.bytes_done, 0U);
  EXPECT_LT(half.bytes_done, half.bytes_total);
  EXPECT_GT(half.rate, 0U);
  EXPECT_GT(half.eta_ms, 0);
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  ExpectData();
  ASSERT_TRUE(m.engine().Commit(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  const ModificationInfo end = *m.engine().GetModification(id);
  EXPECT_EQ(end.phase, Phase::kCompleted) << end.error;
  EXPECT_GT(end.cutover_pause_us, 0U);
  EXPECT_EQ(end.bytes_done, 16 * kTestMiB);
  EXPECT_GE(end.history.size(), 7U);
  ExpectData();
  const VolumeInfo v = *m.engine().GetVolume("db0");
  EXPECT_EQ(v.storage_class, "nvme");
  EXPECT_EQ(v.target, "");
  EXPECT_EQ(v.modification_id, "");
  EXPECT_FALSE(m.world.disks.count(old_origin)) << "shadowd made it, shadowd removes it";
}

TEST_F(EngineTest, GraceEndsByItself) {
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  EXPECT_GT(m.engine().GetModification(id)->grace_ends_ms, 0);
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted);
}

// A promise in time that passes: neither NTP nor an administrator ends it by setting the clock.
TEST_F(EngineTest, SettingTheClockDoesNotEndTheGracePeriod) {
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  m.clock.StepWallMs(3'600'000);
  m.engine().Step();
  m.Boot();  // a new daemon goes by the same clock
  for (int i = 0; i < 50; ++i) {
    m.Pass(1000);
    m.engine().Step();
  }
  const ModificationInfo info = *m.engine().GetModification(id);
  EXPECT_EQ(info.phase, Phase::kGrace);
  EXPECT_NEAR(static_cast<double>(info.grace_ends_ms - m.clock.WallMs()), 10'000, 2000);
  m.clock.StepWallMs(-7'200'000);
  ASSERT_TRUE(m.RunUntil([&] { return IsFinal(m.engine().GetModification(id)->phase); }, 200));
}

TEST_F(EngineTest, AfterARebootWhatWasLeftOfTheGracePeriodCounts) {
  ModifyRequest r = Move();
  r.grace_ms = 600'000;
  const std::string id = Begin(r);
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  for (int i = 0; i < 300; ++i) {
    m.Pass(1000);
    m.engine().Step();
  }
  m.world.Reboot();
  m.clock.Reboot();
  m.clock.StepWallMs(-86'400'000);  // it came up without a clock
  m.Boot();
  m.engine().Step();
  const ModificationInfo info = *m.engine().GetModification(id);
  EXPECT_EQ(info.phase, Phase::kGrace);
  const std::int64_t left = info.grace_ends_ms - m.clock.WallMs();
  EXPECT_GE(left, 298'000);
  EXPECT_LE(left, 362'000) << "it is stored every minute";
}

TEST_F(EngineTest, AbortInTheMiddleWithRetiredBlocks) {
  ModifyRequest r = Move();
  r.retire = Retire::kEager;
  m.world.device_kib_per_s = std::uint64_t{2} << 10;
  const std::string id = Begin(r);
  ASSERT_TRUE(m.RunUntil([&] { return m.engine().GetVolume("db0")->kernel.target > 20; }));
  // Written to the target only: the way back must bring it along.
  std::uint64_t retired = 0;
  while (m.world.target("db0").metadata().states[retired] != BlockState::kTarget) ++retired;
  ASSERT_TRUE(m.world.target("db0").Write(retired, 1000 + retired));
  ASSERT_TRUE(m.engine().Abort(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  const ModificationInfo end = *m.engine().GetModification(id);
  EXPECT_EQ(end.phase, Phase::kAborted) << end.error;
  ExpectData();
  EXPECT_EQ(m.engine().GetVolume("db0")->storage_class, "hdd");
  EXPECT_EQ(m.world.lvs.size(), 2U) << "origin and metadata; the target is gone";
}

TEST_F(EngineTest, RollBackInGrace) {
  ModifyRequest r = Move();
  r.retire = Retire::kEager;
  const std::string id = Begin(r);
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  for (std::uint64_t b = 0; b < 256; ++b) ASSERT_TRUE(m.world.target("db0").Write(b, 1000 + b));
  ASSERT_TRUE(m.engine().RollBack(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kAborted);
  ExpectData();
  EXPECT_EQ(m.engine().GetVolume("db0")->storage_class, "hdd");
}

TEST_F(EngineTest, RollBackAfterGrowWithDataInTheTailIsRefused) {
  ModifyRequest r = Move();
  r.size_spec = "+50%";
  const std::string id = Begin(r);
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  ASSERT_TRUE(m.world.target("db0").Write(300, 7));
  auto refused = m.engine().RollBack(id);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, Code::kFailedPrecondition);
  EXPECT_NE(refused.error().message.find("beyond its old end"), std::string::npos);
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kGrace);
  m.world.target("db0").DiscardBlock(300);
  ASSERT_TRUE(m.engine().RollBack(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kAborted);
  EXPECT_EQ(m.engine().GetVolume("db0")->size_bytes, 16 * kTestMiB);
  ExpectData();
}

TEST_F(EngineTest, PauseStopsAndResumeGoesOn) {
  m.world.device_kib_per_s = 1024;
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunTo(id, Phase::kCopying));
  m.engine().Step();
  m.Pass(1000);
  ASSERT_TRUE(m.engine().Pause(id).ok());
  const std::uint64_t before = m.engine().GetVolume("db0")->kernel.mirrored;
  for (int i = 0; i < 100; ++i) {
    m.engine().Step();
    m.Pass(100);
  }
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kPaused);
  EXPECT_EQ(m.engine().GetVolume("db0")->kernel.mirrored, before);
  ASSERT_TRUE(m.engine().Resume(id).ok());
  EXPECT_FALSE(m.engine().Resume(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted);
  ExpectData();
}

TEST_F(EngineTest, AFailingTargetEndsInFailedWithTheVolumeWhole) {
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunTo(id, Phase::kCopying));
  for (auto& [path, disk] : m.world.disks) {
    if (path.find("target") != std::string::npos) disk.fail_writes = true;
  }
  ASSERT_TRUE(m.RunToEnd(id));
  const ModificationInfo end = *m.engine().GetModification(id);
  EXPECT_EQ(end.phase, Phase::kFailed);
  EXPECT_FALSE(end.error.empty());
  ExpectData();
  EXPECT_EQ(m.engine().GetVolume("db0")->storage_class, "hdd");
}

TEST_F(EngineTest, GrowAndShrinkInPlace) {
  ModifyRequest r;
  r.volume = "db0";
  r.size_spec = "+16M";
  std::string id = Begin(r);
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted)
      << m.engine().GetModification(id)->error;
  EXPECT_EQ(m.engine().GetVolume("db0")->size_bytes, 32 * kTestMiB);
  ExpectData();
  m.world.filesystems["/dev/mapper/db0"] = {"ext4", 16 * kTestMiB, ""};
  r.size_spec = "16M";
  id = Begin(r);
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted);
  EXPECT_EQ(m.engine().GetVolume("db0")->size_bytes, 16 * kTestMiB);
  ExpectData();
  EXPECT_EQ(m.world.disks.at(m.engine().GetVolume("db0")->origin).size_bytes, 16 * kTestMiB);
}

TEST_F(EngineTest, MoveAndShrink) {
  m.world.filesystems["/dev/mapper/db0"] = {"ext4", 8 * kTestMiB, ""};
  ModifyRequest r = Move();
  r.size_spec = "8M";
  r.grace_ms = 0;
  const std::string id = Begin(r);
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted)
      << m.engine().GetModification(id)->error;
  EXPECT_EQ(m.engine().GetVolume("db0")->size_bytes, 8 * kTestMiB);
  ExpectData(128);
}

TEST_F(EngineTest, SeveralVolumesAtOnce) {
  CreateRequest c;
  c.name = "db1";
  c.size_bytes = 8 * kTestMiB;
  c.to = "nvme";
  c.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().CreateVolume(c).ok());
  const std::string first = Begin(Move());
  ModifyRequest r = Move();
  r.volume = "db1";
  r.to = "hdd";
  const std::string second = Begin(r);
  ASSERT_TRUE(m.RunToEnd(first));
  ASSERT_TRUE(m.RunToEnd(second));
  EXPECT_EQ(m.engine().GetModification(second)->phase, Phase::kCompleted);
  EXPECT_EQ(m.engine().ListModifications("", 100)->size(), 2U);
  EXPECT_EQ(m.engine().ListModifications("db1", 100)->size(), 1U);
}

TEST_F(EngineTest, RequestIdsMakeRetriesHarmless) {
  ModifyRequest r = Move();
  r.request_id = "r1";
  const std::string id = Begin(r);
  EXPECT_EQ(Begin(r), id);
  r.to = "hdd";
  auto other = m.engine().Modify(r);
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, Code::kAlreadyExists);
  ASSERT_TRUE(m.RunToEnd(id));
  m.Boot();
  r = Move();
  r.request_id = "r1";
  EXPECT_EQ(Begin(r), id) << "also after a restart";
  EXPECT_EQ(m.engine().GetModification(id)->phase, Phase::kCompleted);
}

TEST_F(EngineTest, DryRunPlansAndChangesNothing) {
  ModifyRequest r = Move();
  r.dry_run = true;
  r.size_spec = "+50%";
  const std::size_t calls = m.world.log.size();
  auto info = m.engine().Modify(r);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->id, "");
  EXPECT_EQ(info->plan.new_size, 24 * kTestMiB);
  EXPECT_EQ(info->plan.bytes_to_copy, 16 * kTestMiB);
  EXPECT_GE(info->plan.steps.size(), 4U);
  EXPECT_EQ(m.world.log.size(), calls);
  EXPECT_TRUE(m.engine().ListModifications("", 100)->empty());
}

TEST_F(EngineTest, ExportGivesThePlainDeviceBack) {
  ASSERT_TRUE(m.world.target("db0").Write(3, 1003));
  m.world.target("db0").DiscardBlock(7);
  auto device = m.engine().ExportVolume("db0");
  ASSERT_TRUE(device.ok()) << device.error().ToString();
  EXPECT_FALSE(m.world.HasDevice("db0"));
  EXPECT_EQ(m.world.disks.at(*device).content[3], 1003U);
  EXPECT_EQ(m.world.disks.at(*device).content[7], 0U) << "a hole is zeroes, not what lay there";
  EXPECT_FALSE(m.engine().GetVolume("db0").ok());
  EXPECT_EQ(m.world.lvs.size(), 1U);
  ImportRequest import;
  import.name = "again";
  import.device = *device;
  import.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(import).ok());
  EXPECT_EQ(*m.world.target("again").Read(3), 1003U);
}

TEST_F(EngineTest, DeleteLeavesImportedDataUnlessAsked) {
  m.world.AddForeignLv("/dev/vg_hdd/plain", "hdd", 8 * kTestMiB);
  ImportRequest import;
  import.name = "imported";
  import.device = "/dev/vg_hdd/plain";
  import.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(import).ok());
  ASSERT_TRUE(m.engine().DeleteVolume({"imported"}).ok());
  EXPECT_TRUE(m.world.disks.count("/dev/vg_hdd/plain"));
  ASSERT_TRUE(m.engine().ImportVolume(import).ok());
  ASSERT_TRUE(m.engine().DeleteVolume({"imported", true}).ok());
  EXPECT_FALSE(m.world.disks.count("/dev/vg_hdd/plain"));
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_TRUE(m.world.lvs.empty()) << "what shadowd made is removed";
}

TEST_F(EngineTest, TagsAloneRemoveNothing) {
  (void)m.world.legs().Make({"hdd", kTestMiB, "x", "unknown-uuid", "", "origin"});
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunToEnd(id));
  (void)m.world.legs().Make({"hdd", kTestMiB, "db0", "u", id, "target"});
  m.Boot();
  EXPECT_EQ(m.world.lvs.size(), 4U);
  int told = 0;
  const std::vector<Check> checks = m.engine().Doctor().value();
  for (const Check& c : checks) {
    told += c.result == "warning" ? 1 : 0;
    EXPECT_EQ(c.hint.find("lvremove"), std::string::npos) << "it may hold data";
  }
  EXPECT_EQ(told, 2) << "doctor names them";
}

TEST_F(EngineTest, EventsTellTheStory) {
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunToEnd(id));
  auto events = m.engine().WaitEvents(0, 100, 0);
  ASSERT_TRUE(events.ok());
  std::vector<std::string> phases;
  const ModificationInfo end = m.engine().GetModification(id).value();
  for (const HistoryEntry& h : end.history) phases.push_back(PhaseName(h.phase));
  EXPECT_EQ(phases,
            (std::vector<std::string>{"PLANNED", "PREPARING", "COPYING", "CATCHING_UP",
                                      "CUTTING_OVER", "GRACE", "DECOMMISSIONING", "COMPLETED"}));
  int told = 0;
  for (const Event& e : *events) told += e.what == "phase" && e.modification_id == id ? 1 : 0;
  EXPECT_EQ(told, 7) << "every change of phase is an event";
  EXPECT_TRUE(m.engine().WaitEvents(events->back().seq, 100, 0)->empty());
}

// The last step of its phase: the event that tells of the next phase has to tell of it, too.
TEST_F(EngineTest, AFileSystemThatDoesNotGrowIsAWarning) {
  m.world.filesystems["/dev/mapper/db0"] = {"ext4", 16 * kTestMiB, "/mnt"};
  m.world.failures["Grow"] = {MakeError(Code::kIoError, "It is busy."), 100};
  ModifyRequest r = Move();
  r.size_spec = "+50%";
  r.grow_filesystem = true;
  ASSERT_TRUE(m.RunToEnd(Begin(r)));
  const auto events = m.engine().WaitEvents(0, 100, 0);
  ASSERT_TRUE(events.ok());
  int told = 0;
  for (const Event& e : *events) {
    if (e.message.find("It is busy.") == std::string::npos) continue;
    EXPECT_EQ(e.severity, "warning") << e.message;
    ++told;
  }
  EXPECT_GE(told, 1);
}

// The application fills holes as it likes: the copy is taken up again, and that is no warning.
TEST_F(EngineTest, BlocksThatTurnUpBeforeTheCutOverAreNoWarning) {
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunTo(id, Phase::kCatchingUp));
  m.world.metadata.begin()->second.states[7] = BlockState::kOrigin;
  ASSERT_TRUE(m.RunToEnd(id));
  const ModificationInfo end = m.engine().GetModification(id).value();
  EXPECT_EQ(end.phase, Phase::kCompleted);
  EXPECT_EQ(end.error, "") << "nothing was wrong";
  const auto events = m.engine().WaitEvents(0, 100, 0);
  ASSERT_TRUE(events.ok());
  int told = 0;
  for (const Event& e : *events) {
    EXPECT_EQ(e.severity, "info") << e.message;
    told += e.message.find("turned up") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(told, 1);
}

// Refused for another reason than blocks that turned up: that is no normal work.
TEST_F(EngineTest, ACutOverThatIsRefusedIsAWarning) {
  const std::string id = Begin(Move());
  m.world.FailNext("Message cutover", MakeError(Code::kFailedPrecondition, "It is read-only."), 1);
  ASSERT_TRUE(m.RunToEnd(id));
  const auto events = m.engine().WaitEvents(0, 100, 0);
  ASSERT_TRUE(events.ok());
  int told = 0;
  for (const Event& e : *events) {
    if (e.message.find("It is read-only.") == std::string::npos) continue;
    EXPECT_EQ(e.severity, "warning") << e.message;
    ++told;
  }
  EXPECT_EQ(told, 1);
}

TEST_F(EngineTest, RateCanBeSetWhileItRuns) {
  const std::string id = Begin(Move());
  ASSERT_TRUE(m.RunTo(id, Phase::kCopying));
  ASSERT_TRUE(m.engine().SetRate(id, kTestMiB, Impact::kLow).ok());
  m.engine().Step();
  EXPECT_NE(m.world.target("db0").StatusLine().find("rate=1024 "), std::string::npos);
}

// The devices can do a hundred times what the application leaves of them.
TEST_F(EngineTest, APlanKnowsHowFastTheLastCopyWas) {
  m.world.device_kib_per_s = 100 << 10;
  ModifyRequest r = Move();
  r.to = "nvme";
  r.grace_ms = 0;
  const auto first = m.engine().PlanModification(r);
  ASSERT_TRUE(first.ok());
  EXPECT_LT(first->expected_ms, 1000U) << "what a probe says";
  const std::string id = m.engine().Modify(r)->id;
  m.world.device_kib_per_s = 1 << 10;
  ASSERT_TRUE(m.RunToEnd(id));
  r.to = "hdd";
  ASSERT_TRUE(m.RunToEnd(m.engine().Modify(r)->id));
  r.to = "nvme";
  const auto again = m.engine().PlanModification(r);
  EXPECT_GT(again->expected_ms, 12'000U);
  EXPECT_LT(again->expected_ms, 24'000U);
}

TEST(Classes, AreMeasuredAgainWhenItIsAskedFor) {
  Machine m;
  const auto first = m.engine().MeasureClass("hdd");
  ASSERT_TRUE(first.ok()) << first.error().ToString();
  EXPECT_EQ(first->read_bandwidth, m.world.device_kib_per_s * 1024);
  m.world.device_kib_per_s /= 4;  // another disk, or a quiet hour
  const auto again = m.engine().MeasureClass("hdd");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->read_bandwidth * 4, first->read_bandwidth);
  const auto none = m.engine().MeasureClass("gold");
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().hint.find("hdd"), std::string::npos);
}

}  // namespace
}  // namespace shadow
