// SPDX-License-Identifier: Apache-2.0
// Bad input and missing things: one clear sentence that says what to do, and nothing is changed.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(m.engine().CreateVolume(SmallVolume()).ok());
    m.world.AddDisk("/dev/free", 64 * kTestMiB);
    m.world.AddDisk("/dev/small", 8 * kTestMiB);
    r_.volume = "db0";
    r_.to = "nvme";
  }
  // Refused with this code and this word in the sentence, with a hint, and without any effect.
  void ExpectRefused(Code code, const std::string& word) {
    const std::size_t calls = m.world.log.size();
    for (int plan = 0; plan < 2; ++plan) {
      Error e;
      if (plan == 1) {
        auto r = m.engine().PlanModification(r_);
        ASSERT_FALSE(r.ok()) << word;
        e = r.error();
      } else {
        auto r = m.engine().Modify(r_);
        ASSERT_FALSE(r.ok()) << word;
        e = r.error();
      }
      EXPECT_EQ(e.code, code) << e.ToString();
      EXPECT_NE(e.ToString().find(word), std::string::npos) << e.ToString();
      EXPECT_FALSE(e.hint.empty()) << e.ToString();
      EXPECT_EQ(e.message.back(), '.') << e.message;
    }
    EXPECT_EQ(m.world.log.size(), calls) << "something was done";
    EXPECT_TRUE(m.engine().ListModifications("", 100)->empty());
  }
  Machine m;
  ModifyRequest r_;
};

TEST_F(BadInput, NoSuchVolume) {
  r_.volume = "nope";
  ExpectRefused(Code::kNotFound, "nope");
}
TEST_F(BadInput, NoSuchClass) {
  r_.to = "tape";
  ExpectRefused(Code::kNotFound, "hdd, nvme");
}
TEST_F(BadInput, NoSuchDevice) {
  r_.to = "/dev/nothing";
  ExpectRefused(Code::kNotFound, "/dev/nothing");
}
TEST_F(BadInput, ModuleMissing) {
  m.world.module_loaded = false;
  ExpectRefused(Code::kUnavailable, "modprobe dm_shadow");
}
TEST_F(BadInput, NoPermission) {
  m.world.control_allowed = false;
  ExpectRefused(Code::kPermissionDenied, "root");
}
TEST_F(BadInput, TargetTooSmall) {
  r_.to = "/dev/small";
  ExpectRefused(Code::kOutOfSpace, "too small");
}
TEST_F(BadInput, ClassTooFull) {
  r_.size_spec = "600M";
  ExpectRefused(Code::kOutOfSpace, "free");
}
TEST_F(BadInput, TargetInUse) {
  m.world.disks.at("/dev/free").used_by = "held by dm-3";
  r_.to = "/dev/free";
  ExpectRefused(Code::kFailedPrecondition, "held by dm-3");
}
TEST_F(BadInput, TargetMounted) {
  m.world.disks.at("/dev/free").used_by = "mounted on /mnt";
  r_.to = "/dev/free";
  ExpectRefused(Code::kFailedPrecondition, "mounted on /mnt");
}
TEST_F(BadInput, SameDevice) {
  r_.to = m.engine().GetVolume("db0")->origin;
  ExpectRefused(Code::kInvalidArgument, "is the origin of db0");
  r_.to = m.engine().GetVolume("db0")->metadata;
  ExpectRefused(Code::kInvalidArgument, "metadata");
  r_.to = "/dev/mapper/db0";
  ExpectRefused(Code::kInvalidArgument, "its own target");
}
// Known before anything is made: the devices of a class stand for what would be made of them.
TEST_F(BadInput, LargerSectorsOfAClass) {
  m.world.AddDisk("/dev/pv_nvme", 512 * kTestMiB);
  m.world.disks.at("/dev/pv_nvme").logical_block = 4096;
  r_.to = "nvme";
  ExpectRefused(Code::kInvalidArgument, "sector");
  m.world.disks.at("/dev/pv_nvme").logical_block = 512;
  EXPECT_TRUE(m.engine().PlanModification(r_).ok());
  m.world.AddDisk("/dev/big", 512 * kTestMiB);
  m.world.disks.at("/dev/big").logical_block = 4096;
  m.world.AddDeviceClass("disks", {"/dev/big"});
  r_.to = "disks";
  ExpectRefused(Code::kOutOfSpace, "sectors");
}
TEST_F(BadInput, LargerSectors) {
  m.world.disks.at("/dev/free").logical_block = 4096;
  r_.to = "/dev/free";
  ExpectRefused(Code::kInvalidArgument, "sector");
}
TEST_F(BadInput, NothingToDo) {
  r_.to = "hdd";
  ExpectRefused(Code::kInvalidArgument, "nothing to do");
  r_.to = "";
  ExpectRefused(Code::kInvalidArgument, "nothing to do");
}
TEST_F(BadInput, SizesThatAreNone) {
  for (const char* bad : {"x", "-16M", "+", "0"}) {
    r_.size_spec = bad;
    const std::size_t calls = m.world.log.size();
    auto r = m.engine().Modify(r_);
    ASSERT_FALSE(r.ok()) << bad;
    EXPECT_EQ(r.error().code, Code::kInvalidArgument) << bad;
    EXPECT_EQ(m.world.log.size(), calls);
  }
  r_.size_spec = "1G";
  r_.size_bytes = 5;
  ExpectRefused(Code::kInvalidArgument, "twice");
}
TEST_F(BadInput, ShrinkBelowTheFileSystem) {
  r_.to = "";
  r_.size_spec = "8M";
  ExpectRefused(Code::kFailedPrecondition, "force");
  m.world.filesystems["/dev/mapper/db0"] = {"ext4", 12 * kTestMiB, "/mnt"};
  ExpectRefused(Code::kFailedPrecondition, "ext4");
  r_.force_shrink = true;
  auto plan = m.engine().PlanModification(r_);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->warnings.empty());
}
TEST_F(BadInput, PlainDeviceCannotBeExtended) {
  ImportRequest i;
  i.name = "plain";
  i.device = "/dev/small";
  i.metadata = "hdd";
  i.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(i).ok());
  r_.volume = "plain";
  r_.to = "";
  r_.size_spec = "+8M";
  ExpectRefused(Code::kFailedPrecondition, "no logical volume");
}
TEST_F(BadInput, TwoModificationsAtOnce) {
  ASSERT_TRUE(m.engine().Modify(r_).ok());
  auto second = m.engine().Modify(r_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, Code::kFailedPrecondition);
  EXPECT_EQ(m.engine().ListModifications("", 100)->size(), 1U);
  auto gone = m.engine().DeleteVolume({"db0"});
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code, Code::kFailedPrecondition);
}
TEST_F(BadInput, FullDiskUnderTheStore) {
  const std::size_t calls = m.world.log.size();
  const Error full =
      MakeError(Code::kOutOfSpace, "The disk under shadowd's state directory is full.",
                "make room there; nothing was changed");
  m.world.FailNext("Store", full);
  auto r = m.engine().Modify(r_);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, Code::kOutOfSpace);
  EXPECT_EQ(m.world.log.size(), calls);
  EXPECT_TRUE(m.engine().ListModifications("", 100)->empty());
  m.world.FailNext("Store", full);
  CreateRequest c;
  c.name = "db1";
  c.size_bytes = kTestMiB;
  c.to = "hdd";
  EXPECT_FALSE(m.engine().CreateVolume(c).ok());
  EXPECT_EQ(m.world.lvs.size(), 2U);
  EXPECT_TRUE(m.engine().CreateVolume(c).ok()) << "and it works once there is room";
}
// While the store cannot be written a running modification waits: no step without its record.
TEST_F(BadInput, FullDiskUnderTheStoreInTheMiddle) {
  auto started = m.engine().Modify(r_);
  ASSERT_TRUE(started.ok());
  ASSERT_TRUE(m.RunTo(started->id, Phase::kCopying));
  m.world.FailNext("Store", MakeError(Code::kOutOfSpace, "The disk is full."), 20);
  for (int i = 0; i < 100; ++i) {
    m.engine().Step();
    m.Pass(100);
  }
  EXPECT_EQ(m.engine().GetModification(started->id)->phase, Phase::kCopying);
  EXPECT_NE(m.engine().GetModification(started->id)->error.find("full"), std::string::npos);
  ASSERT_TRUE(m.RunTo(started->id, Phase::kGrace));
}
TEST_F(BadInput, CreateRefuses) {
  CreateRequest c;
  c.size_bytes = kTestMiB;
  c.to = "hdd";
  for (const std::string& name : std::vector<std::string>{"", ".x", "-x", "a/b", "a b", "control",
                                                          std::string(65, 'a'), "db0"}) {
    c.name = name;
    EXPECT_FALSE(m.engine().CreateVolume(c).ok()) << name;
  }
  c.name = "new";
  c.block_bytes = 3000;
  EXPECT_EQ(m.engine().CreateVolume(c).error().code, Code::kInvalidArgument);
  c.block_bytes = 0;
  c.size_bytes = 0;
  EXPECT_EQ(m.engine().CreateVolume(c).error().code, Code::kInvalidArgument);
  c.size_bytes = kTestMiB;
  c.to = "";
  EXPECT_EQ(m.engine().CreateVolume(c).error().code, Code::kInvalidArgument);
  c.to = "tape";
  EXPECT_EQ(m.engine().CreateVolume(c).error().code, Code::kNotFound);
  m.world.filesystems["/dev/free"] = {"ext4", kTestMiB, ""};
  c.to = "/dev/free";
  EXPECT_EQ(m.engine().CreateVolume(c).error().code, Code::kFailedPrecondition) << "it holds data";
  EXPECT_EQ(m.world.lvs.size(), 2U);
  EXPECT_EQ(m.engine().ListVolumes()->size(), 1U);
}
TEST_F(BadInput, ImportRefuses) {
  ImportRequest i;
  i.name = "new";
  i.device = "/dev/free";
  m.world.disks.at("/dev/free").used_by = "mounted on /mnt";
  EXPECT_EQ(m.engine().ImportVolume(i).error().code, Code::kFailedPrecondition);
  m.world.disks.at("/dev/free").used_by = "";
  i.metadata = "/dev/free";
  EXPECT_EQ(m.engine().ImportVolume(i).error().code, Code::kInvalidArgument);
  i.device = "/dev/nothing";
  EXPECT_EQ(m.engine().ImportVolume(i).error().code, Code::kNotFound);
  EXPECT_EQ(m.world.lvs.size(), 2U);
}
TEST_F(BadInput, OpenVolumesStay) {
  m.world.devices.at("db0").open_count = 1;
  EXPECT_EQ(m.engine().DeleteVolume({"db0", true}).error().code, Code::kFailedPrecondition);
  EXPECT_EQ(m.engine().ExportVolume("db0").error().code, Code::kFailedPrecondition);
  EXPECT_TRUE(m.world.HasDevice("db0"));
}
TEST_F(BadInput, RequestsToModificationsThatAreNot) {
  EXPECT_EQ(m.engine().Abort("nope").error().code, Code::kNotFound);
  EXPECT_EQ(m.engine().GetModification("nope").error().code, Code::kNotFound);
  auto started = m.engine().Modify(r_);
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(m.engine().RollBack(started->id).error().code, Code::kFailedPrecondition);
  EXPECT_EQ(m.engine().Commit(started->id).error().code, Code::kFailedPrecondition);
}
TEST_F(BadInput, DoctorNamesWhatIsMissing) {
  m.world.module_loaded = false;
  m.world.FailNext("Store", MakeError(Code::kOutOfSpace, "full", "make room"));
  int errors = 0;
  const std::vector<Check> checks = m.engine().Doctor().value();
  for (const Check& c : checks) {
    if (c.result == "error") {
      ++errors;
      EXPECT_FALSE(c.hint.empty()) << c.name;
    }
  }
  EXPECT_EQ(errors, 2);
}

}  // namespace
}  // namespace shadow
