// SPDX-License-Identifier: Apache-2.0
// Nothing that holds data is removed unasked: exports, renames, busy devices, crashes in between.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

constexpr std::uint64_t kFilled = 64;

class DeletionTest : public testing::Test {
 protected:
  void Create(const std::string& name = "db0") {
    CreateRequest r;
    r.name = name;
    r.size_bytes = kFilled * kTestBlock;
    r.to = "hdd";
    r.block_bytes = kTestBlock;
    ASSERT_TRUE(m.engine().CreateVolume(r).ok());
    Fill(name);
  }
  void Import(const std::string& device, const std::string& name = "db0") {
    ImportRequest r;
    r.name = name;
    r.device = device;
    r.block_bytes = kTestBlock;
    const auto imported = m.engine().ImportVolume(r);
    ASSERT_TRUE(imported.ok()) << imported.error().ToString();
  }
  void Fill(const std::string& name) {
    for (std::uint64_t b = 0; b < kFilled; ++b) {
      ASSERT_TRUE(m.world.target(name).Write(b, 1000 + b));
    }
  }
  void Move(const std::string& to, const std::string& name = "db0") {
    ModifyRequest r;
    r.volume = name;
    r.to = to;
    r.impact = Impact::kFull;
    r.grace_ms = 0;
    const auto started = m.engine().Modify(r);
    ASSERT_TRUE(started.ok()) << started.error().ToString();
    ASSERT_TRUE(m.RunToEnd(started->id));
    ASSERT_EQ(m.engine().GetModification(started->id)->phase, Phase::kCompleted);
  }
  // Does some device that is left hold the data?
  [[nodiscard]] bool DataOn(const std::string& path) const {
    const auto it = m.world.disks.find(path);
    if (it == m.world.disks.end() || it->second.content.size() < kFilled) return false;
    for (std::uint64_t b = 0; b < kFilled; ++b) {
      if (it->second.content[b] != 1000 + b) return false;
    }
    return true;
  }
  [[nodiscard]] bool Told(const std::string& words) {
    const std::vector<Event> events = m.engine().WaitEvents(0, 1000, 0).value();
    return std::any_of(events.begin(), events.end(),
                       [&](const Event& e) { return e.message.find(words) != std::string::npos; });
  }
  void Reboot() {
    m.world.Reboot();
    m.Boot();
  }
  Machine m;
};

TEST_F(DeletionTest, AnExportedLvOutlivesRestarts) {
  Create();
  Move("nvme");
  const auto device = m.engine().ExportVolume("db0");
  ASSERT_TRUE(device.ok()) << device.error().ToString();
  EXPECT_EQ(*device, "/dev/vg_nvme/db0") << "a plain name";
  EXPECT_TRUE(m.world.lvs.at(*device).order.role.empty()) << "no tags";
  m.Boot();
  Reboot();
  EXPECT_TRUE(DataOn(*device));
}

TEST_F(DeletionTest, AnExportedLvThatIsImportedAgainIsTheUsers) {
  Create();
  Move("nvme");
  const std::string device = m.engine().ExportVolume("db0").value();
  Import(device, "again");
  Move("hdd", "again");
  EXPECT_TRUE(m.world.disks.count(device)) << "an imported origin is left as it is";
  Reboot();
  EXPECT_TRUE(m.world.disks.count(device));
}

TEST_F(DeletionTest, ARenamedGroupIsNotRemoved) {
  Create();
  Move("nvme");
  const std::string was = m.engine().GetVolume("db0")->origin;
  m.world.Reboot();
  m.world.SwapNames(was, "/dev/vg_other/" + was.substr(was.rfind('/') + 1));
  m.Boot();
  EXPECT_EQ(m.world.lvs.size(), 2U);
  m.Boot();
  EXPECT_EQ(m.world.lvs.size(), 2U);
  bool there = false;
  for (const auto& [path, lv] : m.world.lvs) there = there || DataOn(path);
  EXPECT_TRUE(there);
}

TEST_F(DeletionTest, AnExportKeepsTheRightLvWhateverItsName) {
  Create();
  Move("nvme");
  const std::string was = m.engine().GetVolume("db0")->origin;
  m.world.Reboot();
  m.Boot();
  m.world.devices.clear();  // the table has the old name; the model has no device numbers
  m.world.SwapNames(was, "/dev/vg_other/x");
  ASSERT_TRUE(m.engine().DeleteVolume({"db0", false, true}).ok());
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_FALSE(m.world.disks.count("/dev/vg_other/x")) << "removed by its UUID";
}

TEST_F(DeletionTest, ABusyDeleteChangesNothing) {
  Create();
  for (const bool export_it : {false, true}) {
    m.world.FailNext("Remove", MakeError(Code::kFailedPrecondition, "Device or resource busy."));
    if (export_it) {
      EXPECT_EQ(m.engine().ExportVolume("db0").error().code, Code::kFailedPrecondition);
    } else {
      const auto gone = m.engine().DeleteVolume({"db0", true});
      EXPECT_EQ(gone.error().code, Code::kFailedPrecondition);
      EXPECT_NE(gone.error().message.find("nothing was changed"), std::string::npos);
    }
    EXPECT_TRUE(m.world.HasDevice("db0"));
    Reboot();
    ASSERT_TRUE(m.engine().GetVolume("db0").ok()) << "weeks later";
    EXPECT_EQ(*m.world.target("db0").Read(3), 1003U);
  }
}

TEST_F(DeletionTest, AVolumeWhoseLvCannotBeRemovedIsBroughtBack) {
  Create();
  m.world.FailNext("RemoveLv", MakeError(Code::kIoError, "LVM could not."));
  const auto gone = m.engine().DeleteVolume({"db0"});
  ASSERT_FALSE(gone.ok());
  EXPECT_NE(gone.error().message.find("as it was before"), std::string::npos);
  ASSERT_TRUE(m.world.HasDevice("db0"));
  EXPECT_EQ(*m.world.target("db0").Read(3), 1003U);
  Reboot();
  EXPECT_EQ(*m.world.target("db0").Read(3), 1003U);
}

TEST_F(DeletionTest, ImportedDataStayWhereverTheyHaveMoved) {
  m.world.AddForeignLv("/dev/vg_hdd/mine", "hdd", kFilled * kTestBlock);
  m.world.disks.at("/dev/vg_hdd/mine").content.assign(kFilled, 0);
  Import("/dev/vg_hdd/mine");
  Fill("db0");
  Move("nvme");
  const std::string home = m.engine().GetVolume("db0")->origin;
  const DeleteReport report = m.engine().DeleteVolume({"db0"}).value();
  EXPECT_FALSE(report.devices.at(0).removed);
  EXPECT_TRUE(DataOn("/dev/vg_nvme/db0")) << home;
  EXPECT_EQ(m.world.lvs.size(), 2U) << "the metadata is gone";
  Reboot();
  EXPECT_TRUE(DataOn("/dev/vg_nvme/db0"));
}

TEST_F(DeletionTest, ADryRunTellsAndChangesNothing) {
  Create();
  const std::size_t calls = m.world.log.size();
  const DeleteReport report = m.engine().DeleteVolume({"db0", false, true}).value();
  ASSERT_EQ(report.devices.size(), 2U);
  EXPECT_TRUE(report.devices[0].removed);
  EXPECT_FALSE(report.devices[0].id.empty());
  EXPECT_EQ(m.world.log.size(), calls);
  EXPECT_TRUE(m.world.HasDevice("db0"));
}

TEST_F(DeletionTest, WhatIsRemovedIsAnEventWithItsIdentity) {
  Create();
  const std::string home = m.engine().GetVolume("db0")->origin;
  const std::string id = m.world.disks.at(home).id;
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_TRUE(Told("Removed the logical volume " + home + " (UUID " + id + ")"));
}

TEST_F(DeletionTest, NothingIsRemovedInAStartInWhichAVolumeDidNotComeUp) {
  Create("db0");
  Create("db1");
  try {
    m.world.FailNext("PutVolume", MakeError(Code::kIoError, "x"));
    // Killed between the record and the removal.
    for (std::uint64_t n = 1; n < 100; ++n) {
      m.world.CrashAt(n);
      (void)m.engine().DeleteVolume({"db1", false, true});
      (void)m.engine().DeleteVolume({"db1"});
      break;
    }
  } catch (const sim::SimCrash&) {
  }
  m.world.CrashAt(0);
  // The first volume's disk is late.
  const std::string late = m.world.lvs.begin()->first;
  m.world.Reboot();
  const sim::Disk disk = m.world.disks.extract(late).mapped();
  const sim::SimLv lv = m.world.lvs.extract(late).mapped();
  const std::size_t before = m.world.lvs.size();
  m.Boot();
  EXPECT_EQ(m.world.lvs.size(), before);
  m.world.disks[late] = disk;
  m.world.lvs[late] = lv;
  Reboot();
  EXPECT_TRUE(m.engine().GetVolume("db0").ok());
}

// Killed anywhere in an export: afterwards the data are there, on the volume or on a plain device,
// and a second export ends it.
TEST_F(DeletionTest, AnExportCutShortLosesNothing) {
  for (const bool reboot : {false, true}) {
    for (std::uint64_t n = 1; n < 60; ++n) {
      Machine fresh;
      CreateRequest r;
      r.name = "db0";
      r.size_bytes = kFilled * kTestBlock;
      r.to = "hdd";
      r.block_bytes = kTestBlock;
      ASSERT_TRUE(fresh.engine().CreateVolume(r).ok());
      for (std::uint64_t b = 0; b < kFilled; ++b) {
        ASSERT_TRUE(fresh.world.target("db0").Write(b, 1000 + b));
      }
      fresh.world.CrashAt(n);
      std::string where = "the end";
      try {
        (void)fresh.engine().ExportVolume("db0");
      } catch (const sim::SimCrash& crash) {
        where = crash.where;
      }
      fresh.world.CrashAt(0);
      SCOPED_TRACE(where);
      if (reboot) fresh.world.Reboot();
      fresh.Boot();
      if (fresh.engine().GetVolume("db0").ok()) {
        EXPECT_EQ(*fresh.world.target("db0").Read(3), 1003U);
        ASSERT_TRUE(fresh.engine().ExportVolume("db0").ok());
      }
      ASSERT_EQ(fresh.world.lvs.size(), 1U);
      EXPECT_EQ(fresh.world.disks.at("/dev/vg_hdd/db0").content.at(3), 1003U);
      if (HasFailure()) return;
    }
  }
}

TEST_F(DeletionTest, AnAbortClearsATableThatWasLoadedAndNeverUsed) {
  Create();
  ModifyRequest r;
  r.volume = "db0";
  r.to = "nvme";
  r.request_id = "one";
  std::string id;
  // Killed between load and resume.
  for (std::uint64_t n = 1; n < 400; ++n) {
    m.world.CrashAt(n);
    try {
      auto started = m.engine().Modify(r);
      ASSERT_TRUE(started.ok());
      id = started->id;
      for (int i = 0; i < 40; ++i) m.engine().Step();
      break;
    } catch (const sim::SimCrash& crash) {
      m.world.CrashAt(0);
      m.Boot();
      if (crash.where == "before Resume db0" && m.world.devices.at("db0").inactive) break;
    }
  }
  m.world.CrashAt(0);
  ASSERT_TRUE(m.world.devices.at("db0").inactive) << "the scene";
  id = m.engine().ListModifications("db0", 10)->at(0).id;
  ASSERT_TRUE(m.engine().Abort(id).ok());
  ASSERT_TRUE(m.RunToEnd(id));
  EXPECT_FALSE(m.world.devices.at("db0").inactive);
}

// What a removal has begun cannot be taken back: the metadata may be wiped, and with them what is a
// hole. It goes on at the next start, and what is kept is kept.
TEST_F(DeletionTest, ARemovalThatWasBegunIsOnlyGoneOnWith) {
  m.world.AddForeignLv("/dev/vg_hdd/home", "hdd", kFilled * kTestBlock);
  m.world.AddDisk("/dev/meta", 4 * kTestMiB);
  ImportRequest r;
  r.name = "db0";
  r.device = "/dev/vg_hdd/home";
  r.metadata = "/dev/meta";
  r.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(r).ok());
  Fill("db0");
  m.world.FailNext("Release", MakeError(Code::kIoError, "Input/output error."));
  ASSERT_FALSE(m.engine().DeleteVolume({"db0"}).ok());
  m.world.FailNext("Store", MakeError(Code::kOutOfSpace, "The disk is full."));
  ASSERT_FALSE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_FALSE(m.world.HasDevice("db0")) << "with new metadata it would show what holes hide";
  m.Boot();
  EXPECT_TRUE(m.engine().ListVolumes()->empty());
  EXPECT_TRUE(DataOn("/dev/vg_hdd/home"));
}

TEST_F(DeletionTest, WhatWasNotWrittenOverStaysSomebodys) {
  m.world.AddDisk("/dev/a", kFilled * kTestBlock);
  m.world.AddDisk("/dev/b", kFilled * kTestBlock);
  m.world.disks.at("/dev/b").signatures = {{"swap", "", "u"}};
  ImportRequest r;
  r.name = "db0";
  r.device = "/dev/a";
  r.metadata = "/dev/b";
  r.overwrite = "swap";
  m.world.FailNext("ZeroStart", MakeError(Code::kIoError, "Input/output error."));
  ASSERT_FALSE(m.engine().ImportVolume(r).ok());
  r.overwrite.clear();
  const auto again = m.engine().ImportVolume(r);
  ASSERT_FALSE(again.ok());
  EXPECT_NE(again.error().message.find("swap"), std::string::npos) << again.error().ToString();
}

TEST_F(DeletionTest, WhatCannotBeUndoneKeepsItsName) {
  CreateRequest r;
  r.name = "db0";
  r.size_bytes = kFilled * kTestBlock;
  r.to = "hdd";
  m.world.FailNext("ZeroStart", MakeError(Code::kIoError, "Input/output error."));
  m.world.FailNext("RemoveLv", MakeError(Code::kIoError, "Input/output error."));
  ASSERT_FALSE(m.engine().CreateVolume(r).ok());
  ASSERT_FALSE(m.world.lvs.empty()) << "the scene";
  const auto again = m.engine().CreateVolume(r);
  ASSERT_FALSE(again.ok());
  EXPECT_EQ(again.error().code, Code::kAlreadyExists);
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_TRUE(m.world.lvs.empty());
  EXPECT_TRUE(m.engine().CreateVolume(r).ok());
}

// Its data may be destroyed already: it is neither kept nor changed any more.
TEST_F(DeletionTest, AVolumeOnItsWayOutIsOnlyDeleted) {
  m.world.AddDisk("/dev/d", kFilled * kTestBlock);
  CreateRequest r;
  r.name = "db0";
  r.size_bytes = kFilled * kTestBlock;
  r.to = "/dev/d";
  r.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().CreateVolume(r).ok());
  const ShadowTable table = m.world.target("db0").table();
  const std::string uuid = m.world.devices.at("db0").uuid;
  DeleteRequest gone;
  gone.name = "db0";
  gone.destroy_data = true;
  m.world.FailNext("RemoveLv", MakeError(Code::kIoError, "Input/output error."));
  ASSERT_FALSE(m.engine().DeleteVolume(gone).ok());
  // As dm-shadow-activate does, from the metadata that are left.
  m.world.Reboot();
  ASSERT_TRUE(m.world.dm().Create("db0", uuid, table.sectors, BuildTable(table).value()).ok());
  m.Boot();
  ModifyRequest modify;
  modify.volume = "db0";
  modify.to = "nvme";
  const auto refused = m.engine().Modify(modify);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("was interrupted"), std::string::npos);
  ASSERT_TRUE(m.engine().DeleteVolume(gone).ok());
  EXPECT_TRUE(m.world.devices.empty());
  EXPECT_TRUE(m.world.lvs.empty());
}

// The plain device shows what the volume showed: what was a hole is zeroes.
TEST_F(DeletionTest, ADeletedVolumeLeavesZeroesWhereItReadZeroes) {
  m.world.AddDisk("/dev/a", kFilled * kTestBlock);
  m.world.disks.at("/dev/a").content.assign(kFilled, 77);
  Import("/dev/a");
  m.world.target("db0").DiscardBlock(7);
  ASSERT_EQ(*m.world.target("db0").Read(7), 0U);
  m.world.devices.clear();
  const auto refused = m.engine().DeleteVolume({"db0"});
  ASSERT_FALSE(refused.ok()) << "holes of a volume that is down cannot be filled";
  EXPECT_NE(refused.error().hint.find("--destroy-data"), std::string::npos);
  m.Boot();
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_EQ(m.world.disks.at("/dev/a").content.at(3), 77U);
  EXPECT_EQ(m.world.disks.at("/dev/a").content.at(7), 0U) << "a hole is zeroes";
}

// Killed anywhere in a delete of a plain disk; at the next boot another disk has its name.
TEST_F(DeletionTest, ADeleteCutShortWipesNoOtherDisk) {
  for (const std::string used : {"", "mounted on /"}) {
    for (std::uint64_t n = 1; n < 60; ++n) {
      Machine fresh;
      for (const char* path : {"/dev/a", "/dev/b"}) {
        fresh.world.AddDisk(path, kFilled * kTestBlock);
        fresh.world.disks.at(path).content.assign(kFilled, 88);
      }
      ImportRequest r;
      r.name = "db0";
      r.device = "/dev/a";
      r.block_bytes = kTestBlock;
      ASSERT_TRUE(fresh.engine().ImportVolume(r).ok());
      fresh.world.CrashAt(n);
      std::string where = "the end";
      try {
        (void)fresh.engine().DeleteVolume({"db0", true});
      } catch (const sim::SimCrash& crash) {
        where = crash.where;
      }
      fresh.world.CrashAt(0);
      SCOPED_TRACE(where + " " + used);
      fresh.world.Reboot();
      fresh.world.SwapNames("/dev/a", "/dev/b");
      fresh.world.disks.at("/dev/a").used_by = used;
      fresh.Boot();
      EXPECT_EQ(fresh.world.disks.at("/dev/a").content, std::vector<std::uint64_t>(kFilled, 88));
      if (!fresh.engine().GetVolume("db0").ok()) {
        EXPECT_EQ(fresh.world.disks.at("/dev/b").content.at(0), 0U) << "it is done to the end";
      }
      if (HasFailure()) return;
    }
  }
}

TEST_F(DeletionTest, WhatIsNotThereIsNotCalledRemoved) {
  m.world.AddDisk("/dev/a", kFilled * kTestBlock);
  m.world.disks.at("/dev/a").content.assign(kFilled, 77);
  Import("/dev/a");
  m.world.Reboot();
  m.world.Disconnect("/dev/a");
  m.Boot();
  ASSERT_FALSE(m.engine().DeleteVolume({"db0"}).ok());
  const auto gone = m.engine().DeleteVolume({"db0", true});
  ASSERT_TRUE(gone.ok()) << gone.error().ToString();
  EXPECT_FALSE(gone->devices.at(0).removed);
  EXPECT_NE(gone->devices.at(0).reason.find("not there"), std::string::npos);
  m.world.Connect("/dev/a");
  m.Boot();
  EXPECT_EQ(m.world.disks.at("/dev/a").content.at(3), 77U);
  EXPECT_FALSE(m.engine().GetVolume("db0").ok());
}

// An administrator calls the volume's device something else and uses it.
TEST_F(DeletionTest, ARenamedDeviceIsNotTakenForNone) {
  m.world.AddDisk("/dev/a", kFilled * kTestBlock);
  Import("/dev/a");
  Fill("db0");
  auto device = m.world.devices.extract("db0");
  device.key() = "other";
  m.world.devices.insert(std::move(device));
  for (const int openers : {1, 0}) {
    m.world.devices.at("other").open_count = openers;
    const std::size_t calls = m.world.log.size();
    const auto gone = m.engine().DeleteVolume({"db0", true});
    ASSERT_FALSE(gone.ok());
    EXPECT_NE(gone.error().ToString().find("other"), std::string::npos) << gone.error().ToString();
    EXPECT_FALSE(m.engine().ExportVolume("db0").ok());
    EXPECT_EQ(m.world.log.size(), calls) << "nothing was changed";
  }
  EXPECT_TRUE(DataOn("/dev/a"));
}

// Killed anywhere in a creation, while another volume's disk is away. What a client was told to
// be a volume stays one.
TEST_F(DeletionTest, AVolumeThatAClientWasToldOfIsKept) {
  int told = 0;
  for (const bool reboot : {false, true}) {
    for (std::uint64_t n = 1; n < 60; ++n) {
      Machine fresh;
      CreateRequest r;
      r.name = "first";
      r.size_bytes = kFilled * kTestBlock;
      r.to = "hdd";
      r.block_bytes = kTestBlock;
      const std::string late = fresh.engine().CreateVolume(r)->origin;
      r.name = "db0";
      r.to = "nvme";
      r.request_id = "one";
      fresh.world.CrashAt(n);
      std::string where = "the end";
      try {
        (void)fresh.engine().CreateVolume(r);
      } catch (const sim::SimCrash& crash) {
        where = crash.where;
      }
      fresh.world.CrashAt(0);
      SCOPED_TRACE(where + (reboot ? ", reboot" : ""));
      if (reboot) fresh.world.Reboot();
      fresh.world.devices.erase("first");
      fresh.world.Disconnect(late);
      fresh.Boot();
      const bool ok = fresh.engine().CreateVolume(r).ok();
      fresh.Pass(1000);
      fresh.engine().Step();
      if (ok) {
        ++told;
        ASSERT_TRUE(fresh.world.HasDevice("db0"));
        ASSERT_TRUE(fresh.world.target("db0").Write(3, 1003));
      }
      fresh.world.Connect(late);
      for (int i = 0; i < 2; ++i) {
        fresh.world.Reboot();
        fresh.Boot();
      }
      if (ok) {
        ASSERT_TRUE(fresh.world.HasDevice("db0"));
        ASSERT_EQ(*fresh.world.target("db0").Read(3), 1003U);
      }
    }
  }
  EXPECT_GT(told, 60) << "those of which the creation was over";
}

// A device that was metadata, and was given another use while the volume was down.
TEST_F(DeletionTest, WhatSomebodyElseWroteIsNotOursToReuse) {
  for (const char* path : {"/dev/a", "/dev/b", "/dev/md"}) {
    m.world.AddDisk(path, kFilled * kTestBlock);
  }
  ImportRequest r;
  r.name = "db0";
  r.device = "/dev/a";
  r.metadata = "/dev/md";
  r.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(r).ok());
  m.world.Reboot();
  m.world.metadata.erase("/dev/md");
  m.world.disks.at("/dev/md").signatures = {{"ext4", "", "u"}};
  ASSERT_TRUE(m.engine().DeleteVolume({"db0", true}).ok());
  r.name = "again";
  r.device = "/dev/b";
  EXPECT_FALSE(m.engine().ImportVolume(r).ok()) << "it holds an ext4 that is not ours";
  EXPECT_EQ(m.world.disks.at("/dev/md").signatures.size(), 1U);
}

}  // namespace
}  // namespace shadow
