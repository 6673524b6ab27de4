// SPDX-License-Identifier: Apache-2.0
// A device has one owner, and what is on it is written over only if it is named.
#include <gtest/gtest.h>

#include <thread>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

constexpr std::uint64_t kDiskBytes = 64 * kTestBlock;

class OwnershipTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* path : {"/dev/a", "/dev/b", "/dev/d1", "/dev/d2", "/dev/d3"}) {
      m.world.AddDisk(path, kDiskBytes);
    }
    m.world.AddDeviceClass("pool", {"/dev/d1", "/dev/d2"});
  }
  Result<VolumeInfo> Import(const std::string& name, const std::string& device) {
    ImportRequest r;
    r.name = name;
    r.device = device;
    r.metadata = "hdd";
    r.block_bytes = kTestBlock;
    return m.engine().ImportVolume(r);
  }
  Result<VolumeInfo> Create(const std::string& name, const std::string& to,
                            const std::string& overwrite = "") {
    CreateRequest r;
    r.name = name;
    r.to = to;
    r.size_bytes = kDiskBytes;
    r.block_bytes = kTestBlock;
    r.overwrite = overwrite;
    return m.engine().CreateVolume(r);
  }
  Result<ModificationInfo> Move(const std::string& name, const std::string& to,
                                const std::string& overwrite = "") {
    ModifyRequest r;
    r.volume = name;
    r.to = to;
    r.impact = Impact::kFull;
    r.grace_ms = 0;
    r.overwrite = overwrite;
    return m.engine().Modify(r);
  }
  void MoveToEnd(const std::string& name, const std::string& to) {
    const auto started = Move(name, to);
    ASSERT_TRUE(started.ok()) << started.error().ToString();
    ASSERT_TRUE(m.RunToEnd(started->id));
    const ModificationInfo end = m.engine().GetModification(started->id).value();
    ASSERT_EQ(end.phase, Phase::kCompleted) << end.error;
  }
  static void ExpectRefused(const Error& error, const std::string& words) {
    EXPECT_NE(error.ToString().find(words), std::string::npos) << error.ToString();
  }
  void Sign(const std::string& path, const std::string& type, const std::string& uuid = "u") {
    m.world.disks.at(path).signatures = {{type, "", uuid}};
  }
  Machine m;
};

TEST_F(OwnershipTest, OneDeviceHasOneVolume) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  // As when the device mapper would share its claim: nobody has it open as far as can be seen.
  m.world.devices.clear();
  for (const char* role : {"import", "create", "move", "tier"}) {
    SCOPED_TRACE(role);
    Error error;
    if (std::string(role) == "import") error = Import("vb", "/dev/a").error();
    if (std::string(role) == "create") error = Create("vb", "/dev/a").error();
    if (std::string(role) == "move") {
      ASSERT_TRUE(Import("vb", "/dev/b").ok());
      error = Move("vb", "/dev/a").error();
    }
    if (std::string(role) == "tier") {
      AddTierRequest t;
      t.volume = "vb";
      t.to = "/dev/a";
      error = m.engine().AddTier(t).error();
    }
    ExpectRefused(error, "it is the origin of the volume va");
  }
}

TEST_F(OwnershipTest, TwoMovesIntoOneClassGetTwoDevices) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  ASSERT_TRUE(Import("vb", "/dev/b").ok());
  const auto one = Move("va", "pool");
  const auto two = Move("vb", "pool");
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(one->plan.target_device, two->plan.target_device);
  ASSERT_TRUE(m.world.target("va").Write(0, 11));
  ASSERT_TRUE(m.world.target("vb").Write(0, 22));
  ASSERT_TRUE(m.RunToEnd(one->id));
  ASSERT_TRUE(m.RunToEnd(two->id));
  EXPECT_EQ(*m.world.target("va").Read(0), 11U);
  EXPECT_EQ(*m.world.target("vb").Read(0), 22U);
}

TEST_F(OwnershipTest, OfRequestsAtOnceOneWins) {
  for (int round = 0; round < 20; ++round) {
    Machine machine;
    machine.world.AddDisk("/dev/a", kDiskBytes);
    const auto import = [&](const std::string& name) {
      ImportRequest r;
      r.name = name;
      r.device = "/dev/a";
      r.metadata = "hdd";
      r.block_bytes = kTestBlock;
      return machine.engine().ImportVolume(r);
    };
    std::optional<Result<VolumeInfo>> first;
    std::optional<Result<VolumeInfo>> second;
    std::thread other([&] { first = import("one"); });
    second = import("two");
    other.join();
    EXPECT_NE(first->ok(), second->ok());
    const Error& lost = first->ok() ? second->error() : first->error();
    EXPECT_NE(lost.message.find(first->ok() ? "one" : "two"), std::string::npos) << lost.message;
    EXPECT_EQ(machine.engine().ListVolumes()->size(), 1U);
    EXPECT_EQ(machine.world.devices.size(), 1U);
  }
}

TEST_F(OwnershipTest, ADeviceIsGivenBackWithItsRecord) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  ASSERT_TRUE(m.engine().ExportVolume("va").ok());
  ASSERT_TRUE(Import("vb", "/dev/a").ok());
  MoveToEnd("vb", "/dev/d1");
  ASSERT_TRUE(Import("va", "/dev/a").ok()) << "the old origin";
}

TEST_F(OwnershipTest, AnInactiveVolumeKeepsItsDevices) {
  ASSERT_TRUE(Create("va", "/dev/d1").ok());
  ASSERT_TRUE(Import("vb", "/dev/b").ok());
  ASSERT_TRUE(m.world.target("va").Write(7, 1007));
  // Its metadata is late.
  const std::string late = m.engine().GetVolume("va")->metadata;
  m.world.Reboot();
  const sim::Disk disk = m.world.disks.extract(late).mapped();
  const sim::SimLv lv = m.world.lvs.extract(late).mapped();
  m.Boot();
  ASSERT_FALSE(m.world.HasDevice("va"));
  ExpectRefused(Move("vb", "/dev/d1").error(), "origin of the volume va");
  MoveToEnd("vb", "pool");
  EXPECT_EQ(m.engine().GetVolume("vb")->origin, "/dev/d2");
  m.world.disks[late] = disk;
  m.world.lvs[late] = lv;
  m.world.Reboot();
  m.Boot();
  EXPECT_EQ(*m.world.target("va").Read(7), 1007U);
}

TEST_F(OwnershipTest, WhatHoldsDataIsNotWrittenOver) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  AddTierRequest tier;
  tier.volume = "va";
  tier.to = "/dev/d3";
  for (const char* type : {"ext4", "LVM2_member", "crypto_LUKS", "gpt", "zfs_member"}) {
    Sign("/dev/d3", type);
    ExpectRefused(Move("va", "/dev/d3").error(), std::string("--overwrite ") + type);
    ExpectRefused(Create("new", "/dev/d3").error(), std::string("--overwrite ") + type);
    ExpectRefused(m.engine().AddTier(tier).error(), std::string("--overwrite ") + type);
    ExpectRefused(Move("va", "/dev/d3", "ext3").error(), type);
    ImportRequest import;
    import.name = "vb";
    import.device = "/dev/b";
    import.metadata = "/dev/d3";
    ExpectRefused(m.engine().ImportVolume(import).error(), std::string("--overwrite ") + type);
  }
  EXPECT_EQ(m.engine().ListVolumes()->size(), 1U);
  const auto moved = Move("va", "/dev/d3", "zfs_member");
  ASSERT_TRUE(moved.ok()) << moved.error().ToString();
  EXPECT_TRUE(m.RunToEnd(moved->id));
  EXPECT_EQ(m.engine().GetVolume("va")->origin, "/dev/d3");
}

TEST_F(OwnershipTest, ItIsLookedAtAgainRightBeforeTheFirstWrite) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  const auto moved = Move("va", "/dev/d3");
  ASSERT_TRUE(moved.ok());
  Sign("/dev/d3", "ext4");  // somebody was faster
  ASSERT_TRUE(m.RunToEnd(moved->id));
  EXPECT_EQ(m.engine().GetModification(moved->id)->phase, Phase::kFailed);
  EXPECT_EQ(m.world.disks.at("/dev/d3").signatures.size(), 1U);
  EXPECT_TRUE(m.world.disks.at("/dev/d3").content.empty()) << "nothing was written";
  EXPECT_EQ(m.world.disks.at("/dev/d3").held, 0);
}

TEST_F(OwnershipTest, TheTargetIsHeldUntilTheTableHasIt) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  const auto moved = Move("va", "/dev/d3");
  ASSERT_TRUE(moved.ok());
  bool held = false;
  for (int i = 0; i < 50 && !m.world.target("va").table().target; ++i) {
    held = held || m.world.disks.at("/dev/d3").held > 0;
    m.engine().Step();
    m.Pass(100);
  }
  EXPECT_TRUE(held);
  EXPECT_EQ(m.world.disks.at("/dev/d3").held, 0);
  EXPECT_TRUE(m.world.target("va").table().target);
}

// Killed, and the machine booted, between the look at the target and the table that takes it: who
// wrote there meanwhile loses nothing.
TEST_F(OwnershipTest, AfterAKillTheTargetIsLookedAtAgain) {
  for (const bool data : {true, false}) {
    SCOPED_TRACE(data);
    const std::string name = data ? "va" : "vb";
    const std::string target = data ? "/dev/d3" : "/dev/d1";
    ASSERT_TRUE(Import(name, data ? "/dev/a" : "/dev/b").ok());
    const auto moved = Move(name, target);
    ASSERT_TRUE(moved.ok());
    for (int i = 0; i < 50 && m.world.disks.at(target).held == 0; ++i) {
      m.engine().Step();
      m.Pass(100);
    }
    ASSERT_GT(m.world.disks.at(target).held, 0);
    m.world.Reboot();
    if (data) {
      Sign(target, "ext4", "of somebody else");
    } else {
      m.world.disks.at(target).opened_by = "qemu (process 4711)";
    }
    m.Boot();
    EXPECT_FALSE(m.world.target(name).table().target);
    ASSERT_TRUE(m.RunToEnd(moved->id));
    const auto end = m.engine().GetModification(moved->id);
    EXPECT_EQ(end->phase, Phase::kFailed);
    EXPECT_NE(end->error.find(data ? "ext4" : "qemu"), std::string::npos) << end->error;
    EXPECT_EQ(m.world.target(name).table().origin.device, data ? "/dev/a" : "/dev/b");
  }
}

TEST_F(OwnershipTest, AClassGivesNoDeviceWithData) {
  // A database without a signature; a file system.
  m.world.disks.at("/dev/d1").content.assign(64, 77);
  Sign("/dev/d2", "xfs");
  ExpectRefused(Create("new", "pool").error(), "No device of class pool can be used");
  EXPECT_TRUE(m.engine().ListVolumes()->empty());
  m.world.disks.at("/dev/d2").signatures.clear();
  ASSERT_TRUE(Create("new", "pool").ok());
  EXPECT_EQ(m.engine().GetVolume("new")->origin, "/dev/d2");
}

TEST_F(OwnershipTest, AnExportedDeviceHoldsItsData) {
  ASSERT_TRUE(Create("va", "pool").ok());
  ASSERT_TRUE(m.world.target("va").Write(0, 4711));
  const std::string device = m.engine().ExportVolume("va").value();
  ASSERT_EQ(device, "/dev/d1");
  ASSERT_TRUE(Create("vb", "pool").ok());
  EXPECT_EQ(m.engine().GetVolume("vb")->origin, "/dev/d2");
  EXPECT_EQ(m.world.disks.at("/dev/d1").content.at(0), 4711U);
  ExpectRefused(Create("vc", "/dev/d1").error(), "the data of the volume va");
  EXPECT_TRUE(Create("vc", "/dev/d1", "data").ok());
}

TEST_F(OwnershipTest, WhatShadowdLeftItCanUseAgainUntilSomebodyWritesThere) {
  ASSERT_TRUE(Create("va", "pool").ok());
  ASSERT_TRUE(m.world.target("va").Write(0, 4711));
  Sign("/dev/d1", "ext4", "of va");  // through the volume
  MoveToEnd("va", "/dev/d3");
  MoveToEnd("va", "pool");
  EXPECT_EQ(m.engine().GetVolume("va")->origin, "/dev/d1") << "its own old copy";
  MoveToEnd("va", "/dev/d3");
  Sign("/dev/d1", "ext4", "of somebody else");
  MoveToEnd("va", "pool");
  EXPECT_EQ(m.engine().GetVolume("va")->origin, "/dev/d2");
}

TEST_F(OwnershipTest, AnAbortedTargetCanBeUsedAgain) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  for (std::uint64_t b = 0; b < 64; ++b) ASSERT_TRUE(m.world.target("va").Write(b, 1 + b));
  m.world.device_kib_per_s = 1024;
  const auto moved = Move("va", "pool");
  ASSERT_TRUE(m.RunTo(moved->id, Phase::kCopying));
  for (int i = 0; i < 5; ++i) {
    m.engine().Step();
    m.Pass(100);
  }
  ASSERT_TRUE(m.engine().Abort(moved->id).ok());
  ASSERT_TRUE(m.RunToEnd(moved->id));
  Sign("/dev/d2", "ext4");
  const auto again = Move("va", "pool");
  ASSERT_TRUE(again.ok()) << again.error().ToString();
  EXPECT_EQ(again->plan.target_device, "/dev/d1");
}

// A target that is given back holds the volume's superblock: it is not recognised any more. What
// was on it before, and was not reached, stays.
TEST_F(OwnershipTest, AnAbortedTargetIsNotTakenForTheVolume) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  Sign("/dev/a", "ext4", "u1");
  for (const bool reached : {true, false}) {
    SCOPED_TRACE(reached);
    m.world.disks.at("/dev/d1").signatures.clear();
    const auto moved = Move("va", "/dev/d1", "");
    ASSERT_TRUE(moved.ok()) << moved.error().ToString();
    ASSERT_TRUE(m.RunTo(moved->id, Phase::kCopying));
    Sign("/dev/d1", "ext4", reached ? "u1" : "u2");
    ASSERT_TRUE(m.engine().Abort(moved->id).ok());
    ASSERT_TRUE(m.RunToEnd(moved->id));
    EXPECT_EQ(m.world.disks.at("/dev/d1").signatures.empty(), reached);
  }
}

TEST_F(OwnershipTest, UseWithoutAClaimIsSeen) {
  m.world.disks.at("/dev/a").opened_by = "qemu (process 4711)";
  ExpectRefused(Import("va", "/dev/a").error(), "qemu (process 4711)");
  ASSERT_TRUE(Import("vb", "/dev/b").ok());
  ExpectRefused(Move("vb", "/dev/a").error(), "qemu (process 4711)");
}

TEST_F(OwnershipTest, AVolumeIsNotPutOnItself) {
  ASSERT_TRUE(Import("db1", "/dev/a").ok());
  // db2 lies on db1, a loop device's file on db2.
  m.world.AddDisk("/dev/mapper/db1", kDiskBytes);
  ASSERT_TRUE(Import("db2", "/dev/mapper/db1").ok());
  m.world.AddDisk("/dev/mapper/db2", kDiskBytes);
  m.world.AddDisk("/dev/loop0", kDiskBytes);
  m.world.disks.at("/dev/loop0").below = {"/dev/mapper/db2"};
  for (const char* target : {"/dev/mapper/db2", "/dev/loop0"}) {
    ExpectRefused(Move("db1", target).error(), "lies on the volume db1 itself");
  }
  // Another name for a leg.
  m.world.AddDisk("/dev/alias", kDiskBytes);
  m.world.disks.at("/dev/alias").below = {"/dev/a"};
  ExpectRefused(Import("db3", "/dev/alias").error(), "lies on the origin of the volume db1");
}

TEST_F(OwnershipTest, DisksThatSwapTheirNamesAreNotMistaken) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  ASSERT_TRUE(m.world.target("va").Write(3, 33));
  m.world.disks.at("/dev/b").content.assign(64, 77);
  m.world.Reboot();
  m.world.SwapNames("/dev/a", "/dev/b");
  m.Boot();
  ASSERT_TRUE(m.world.HasDevice("va"));
  EXPECT_EQ(*m.world.target("va").Read(3), 33U);
  EXPECT_EQ(m.engine().GetVolume("va")->origin, "/dev/b") << "what is shown";
  ASSERT_TRUE(m.world.target("va").Write(4, 44));
  EXPECT_EQ(m.world.disks.at("/dev/a").content.at(4), 77U) << "not a byte of the other disk";
}

TEST_F(OwnershipTest, NamesThatSwapInTheMiddleOfAMoveAreFollowed) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  for (std::uint64_t b = 0; b < 64; ++b) ASSERT_TRUE(m.world.target("va").Write(b, 1 + b));
  m.world.disks.at("/dev/d3").content.assign(64, 77);
  m.world.device_kib_per_s = 1024;
  const auto moved = Move("va", "/dev/d1");
  ASSERT_TRUE(m.RunTo(moved->id, Phase::kCopying));
  m.engine().Step();
  m.Pass(100);
  m.world.Reboot();
  m.world.SwapNames("/dev/d1", "/dev/d3");
  m.world.SwapNames("/dev/a", "/dev/b");
  m.Boot();
  ASSERT_TRUE(m.RunToEnd(moved->id));
  const ModificationInfo end = m.engine().GetModification(moved->id).value();
  EXPECT_EQ(end.phase, Phase::kCompleted) << end.error;
  for (std::uint64_t b = 0; b < 64; ++b) EXPECT_EQ(*m.world.target("va").Read(b), 1 + b);
  EXPECT_EQ(m.engine().GetVolume("va")->origin, "/dev/d3");
  EXPECT_EQ(m.world.disks.at("/dev/d1").content, std::vector<std::uint64_t>(64, 77));
}

TEST_F(OwnershipTest, TwoDisksOfOneIdentityAreNotGuessed) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  m.world.Reboot();
  m.world.disks.at("/dev/b").id = m.world.disks.at("/dev/a").id;  // a clone
  m.Boot();
  EXPECT_FALSE(m.world.HasDevice("va"));
  bool told = false;
  const std::vector<Check> checks = m.engine().Doctor().value();
  for (const Check& c : checks) told = told || c.detail.find("Several devices") == 0;
  EXPECT_TRUE(told);
}

TEST_F(OwnershipTest, ARenamedLvIsFollowed) {
  ASSERT_TRUE(Create("va", "hdd").ok());
  ASSERT_TRUE(m.world.target("va").Write(3, 33));
  const std::string was = m.engine().GetVolume("va")->origin;
  m.world.Reboot();
  m.world.SwapNames(was, "/dev/vg_new/lv");
  m.world.SwapNames(m.engine().GetVolume("va")->metadata, "/dev/vg_new/meta");
  m.Boot();
  ASSERT_TRUE(m.world.HasDevice("va"));
  EXPECT_EQ(m.engine().GetVolume("va")->origin, "/dev/vg_new/lv");
  MoveToEnd("va", "nvme");
  EXPECT_EQ(*m.world.target("va").Read(3), 33U);
  EXPECT_FALSE(m.world.disks.count("/dev/vg_new/lv")) << "removed by its UUID";
  ASSERT_TRUE(m.engine().DeleteVolume({"va"}).ok());
  EXPECT_TRUE(m.world.lvs.empty());
}

TEST_F(OwnershipTest, DoctorTellsOfALegThatIsMissingOrAnother) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  const auto told = [&](const std::string& words) {
    const std::vector<Check> checks = m.engine().Doctor().value();
    return std::any_of(checks.begin(), checks.end(), [&](const Check& c) {
      return c.result == "error" && c.detail.find(words) != std::string::npos;
    });
  };
  EXPECT_FALSE(told("va"));
  m.world.SwapNames("/dev/a", "/dev/b");  // the kernel's table stays on the name, in this model
  EXPECT_TRUE(told("The kernel has"));
  m.world.disks.erase("/dev/b");
  EXPECT_TRUE(told("No device with the identity"));
}

// A device with nothing but a name is refused in every role; with the user's word it is taken, and
// the record and the plan say so.
TEST_F(OwnershipTest, ADeviceNeedsAnIdentityThatLasts) {
  for (const char* path : {"/dev/a", "/dev/d1", "/dev/d2", "/dev/d3"}) {
    m.world.disks.at(path).lasts = false;
  }
  const char* words = "--allow-unstable-names";
  ExpectRefused(Import("va", "/dev/a").error(), words);
  ExpectRefused(Create("va", "/dev/a").error(), words);
  ExpectRefused(Create("va", "pool").error(), "nothing but its name");
  ASSERT_TRUE(Import("vb", "/dev/b").ok());
  ExpectRefused(Move("vb", "/dev/d1").error(), words);
  ExpectRefused(Move("vb", "pool").error(), "nothing but its name");
  AddTierRequest tier;
  tier.volume = "vb";
  tier.to = "/dev/d3";
  ExpectRefused(m.engine().AddTier(tier).error(), words);
  ImportRequest import;
  import.name = "va";
  import.device = "/dev/b";
  m.world.AddDisk("/dev/c", kDiskBytes);
  import.device = "/dev/c";
  import.metadata = "/dev/d3";
  import.block_bytes = kTestBlock;
  ExpectRefused(m.engine().ImportVolume(import).error(), words);
  EXPECT_EQ(m.engine().ListVolumes()->size(), 1U);

  import.unstable_names = true;
  ASSERT_TRUE(m.engine().ImportVolume(import).ok());
  ModifyRequest move;
  move.volume = "vb";
  move.to = "/dev/d1";
  move.unstable_names = true;
  const auto plan = m.engine().PlanModification(move);
  ASSERT_TRUE(plan.ok()) << plan.error().ToString();
  bool warned = false;
  for (const std::string& w : plan->warnings) {
    warned = warned || w.find("nothing but its name") != std::string::npos;
  }
  EXPECT_TRUE(warned);
}

// What is left on the old origin has the volume's UUID: nobody may find it by that.
TEST_F(OwnershipTest, TheOldOriginIsNotRecognisedAndCanBeRestored) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  const std::vector<Signature> was = {{"ext4", "root", "u1"}, {"gpt", "", "u2"}};
  m.world.disks.at("/dev/a").signatures = was;
  const auto plan = [&](bool keep) {
    ModifyRequest r;
    r.volume = "va";
    r.to = "/dev/d1";
    r.keep_signature = keep;
    return m.engine().PlanModification(r).value();
  };
  EXPECT_NE(plan(false).steps.back().find("signatures are wiped"), std::string::npos);
  EXPECT_NE(plan(true).steps.back().find("left as it is"), std::string::npos);
  const auto started = Move("va", "/dev/d1");
  ASSERT_TRUE(started.ok());
  EXPECT_FALSE(m.engine().RestoreOrigin(started->id).ok()) << "it is the volume's still";
  ASSERT_TRUE(m.RunToEnd(started->id));
  EXPECT_TRUE(m.world.disks.at("/dev/a").signatures.empty());
  // Longer than other modifications are remembered.
  m.Pass(std::int64_t{200} * 24 * 3600 * 1000);
  m.Boot();
  m.world.disks.at("/dev/a").used_by = "mounted on /mnt";
  ExpectRefused(m.engine().RestoreOrigin(started->id).error(), "mounted on /mnt");
  m.world.disks.at("/dev/a").used_by = "";
  Sign("/dev/a", "xfs", "other");
  ExpectRefused(m.engine().RestoreOrigin(started->id).error(), "xfs");
  m.world.disks.at("/dev/a").signatures = {was[0]};  // a crash in the middle of a restore
  const auto restored = m.engine().RestoreOrigin(started->id);
  ASSERT_TRUE(restored.ok()) << restored.error().ToString();
  EXPECT_EQ(*restored, "/dev/a");
  std::vector<Signature> now = m.world.disks.at("/dev/a").signatures;
  ASSERT_EQ(now.size(), 2U);
  for (const Signature& s : was) EXPECT_EQ(std::count(now.begin(), now.end(), s), 1);
  EXPECT_FALSE(m.engine().RestoreOrigin(started->id).ok()) << "nothing is left to restore";
}

TEST_F(OwnershipTest, TheOldOriginKeepsItsSignaturesIfItIsAskedFor) {
  ASSERT_TRUE(Import("va", "/dev/a").ok());
  Sign("/dev/a", "ext4");
  ModifyRequest r;
  r.volume = "va";
  r.to = "/dev/d1";
  r.grace_ms = 0;
  r.keep_signature = true;
  const auto started = m.engine().Modify(r);
  ASSERT_TRUE(started.ok());
  ASSERT_TRUE(m.RunToEnd(started->id));
  EXPECT_EQ(m.world.disks.at("/dev/a").signatures.size(), 1U);
  EXPECT_FALSE(m.engine().RestoreOrigin(started->id).ok());
}

// Killed at every call of the end of a move: the signatures are gone, and every byte of them kept.
TEST_F(OwnershipTest, AKillWhileSignaturesAreWipedLosesNothing) {
  for (std::uint64_t at = 1;; ++at) {
    SCOPED_TRACE(at);
    Machine machine;
    machine.world.AddDisk("/dev/a", kDiskBytes);
    machine.world.AddDisk("/dev/d1", kDiskBytes);
    ImportRequest import;
    import.name = "va";
    import.device = "/dev/a";
    import.metadata = "hdd";
    import.block_bytes = kTestBlock;
    ASSERT_TRUE(machine.engine().ImportVolume(import).ok());
    machine.world.disks.at("/dev/a").signatures = {{"ext4", "root", "u1"}, {"gpt", "", "u2"}};
    ModifyRequest r;
    r.volume = "va";
    r.to = "/dev/d1";
    r.impact = Impact::kFull;
    const auto started = machine.engine().Modify(r);
    ASSERT_TRUE(started.ok());
    ASSERT_TRUE(machine.RunTo(started->id, Phase::kGrace));
    ASSERT_TRUE(machine.engine().Commit(started->id).ok());
    machine.world.CrashAt(at);
    bool crashed = false;
    try {
      ASSERT_TRUE(machine.RunToEnd(started->id));
    } catch (const sim::SimCrash&) {
      crashed = true;
    }
    machine.world.CrashAt(0);
    if (crashed) {
      machine.Boot();
      ASSERT_TRUE(machine.RunToEnd(started->id));
    }
    ASSERT_EQ(machine.engine().GetModification(started->id)->phase, Phase::kCompleted);
    EXPECT_TRUE(machine.world.disks.at("/dev/a").signatures.empty());
    ASSERT_TRUE(machine.engine().RestoreOrigin(started->id).ok());
    EXPECT_EQ(machine.world.disks.at("/dev/a").signatures.size(), 2U);
    if (!crashed) break;
    ASSERT_LT(at, 500U);
  }
}

}  // namespace
}  // namespace shadow
