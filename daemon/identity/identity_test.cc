// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "daemon/dm/table.h"
#include "daemon/identity/device_facts.h"
#include "daemon/identity/linux_identities.h"
#include "daemon/sim/sim_world.h"

namespace shadow {
namespace {

constexpr const char* kLvUuid = "w1NbZA-g9Ce-3Fk0-WdEw-2CcR-VxJ5-Ys9Jqz";
const std::string kVg = "q8dWJ7yGfYcEkL0sZcXv1bNm2aSd3fGh";
const std::string kLv = "w1NbZAg9Ce3Fk0WdEw2CcRVxJ5Ys9Jqz";

// A sysfs of files in a directory of its own.
class Sysfs : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string form = ::testing::TempDir() + "identityXXXXXX";
    ASSERT_NE(mkdtemp(form.data()), nullptr);
    root_ = form;
    std::filesystem::create_directories(root_ + "/class/block");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  // `under`: the disk of a partition.
  void Add(const std::string& name, const std::map<std::string, std::string>& files,
           const std::string& under = "") {
    const std::string at = root_ + "/devices/" + (under.empty() ? "" : under + "/") + name;
    std::filesystem::create_directories(at + "/holders");
    Write(at + "/dev", "259:" + std::to_string(next_++));
    Write(at + "/size", "2048");
    for (const auto& [file, text] : files) Write(at + "/" + file, text);
    std::filesystem::create_symlink(at, root_ + "/class/block/" + name);
  }
  void AddHolder(const std::string& name, const std::string& holder) {
    Write(root_ + "/class/block/" + name + "/holders/" + holder, "");
  }
  DeviceFacts Facts(const std::string& name) {
    auto facts = ReadFacts(root_ + "/class/block/" + name);
    EXPECT_TRUE(facts.ok());
    return *facts;
  }
  std::string Id(const std::string& name) { return IdentityOf(Facts(name)).id; }
  Result<DeviceIdentity> Resolve(const std::string& id) {
    return MakeLinuxIdentities({root_, root_ + "/dev"})->Resolve(id);
  }

  static void Write(const std::string& file, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(file).parent_path());
    std::ofstream(file) << text << "\n";
  }
  std::string root_;
  int next_ = 1;
};

TEST_F(Sysfs, AnLvHasLvmsUuidInLvmsSpelling) {
  Add("dm-0", {{"dm/name", "my--fast-db0"}, {"dm/uuid", "LVM-" + kVg + kLv}});
  const DeviceIdentity identity = IdentityOf(Facts("dm-0"));
  EXPECT_EQ(identity.id, kLvUuid);
  EXPECT_EQ(identity.kind, IdentityKind::kLogicalVolume);
  EXPECT_EQ(identity.description, "logical volume my-fast/db0");
  EXPECT_EQ(identity.size_bytes, 2048U * 512);
}

TEST_F(Sysfs, TheHiddenLayersOfAnLvAreNotTheLv) {
  Add("dm-0", {{"dm/name", "fast-db0-real"}, {"dm/uuid", "LVM-" + kVg + kLv + "-real"}});
  EXPECT_NE(Id("dm-0"), kLvUuid);
  EXPECT_FALSE(HasIdentity(Facts("dm-0"), kLvUuid));
  EXPECT_EQ(Resolve(kLvUuid).error().code, Code::kNotFound);
}

TEST_F(Sysfs, ARenamedGroupOrLvIsTheSame) {
  Add("dm-0", {{"dm/name", "nvme-other"}, {"dm/uuid", "LVM-" + kVg + kLv}});
  EXPECT_TRUE(HasIdentity(Facts("dm-0"), kLvUuid));
}

TEST_F(Sysfs, ADiskHasItsWwidBeforeItsSerial) {
  Add("sda", {{"device/wwid", "naa.600508b1001c4d41"}, {"device/serial", "S1"}});
  Add("nvme0n1", {{"wwid", "eui.0025388b81b2c3d4"}, {"device/serial", "S2"}});
  Add("vda", {{"serial", "disk-a"}});
  EXPECT_EQ(Id("sda"), "sn:naa.600508b1001c4d41");
  EXPECT_EQ(Id("nvme0n1"), "sn:eui.0025388b81b2c3d4");
  EXPECT_EQ(Id("vda"), "sn:disk-a");
}

TEST_F(Sysfs, ASerialOfZeroesIsNone) {
  Add("nvme0n1", {{"wwid", "eui.0000000000000000"}, {"serial", "0000"}});
  EXPECT_EQ(IdentityOf(Facts("nvme0n1")).kind, IdentityKind::kName);
}

TEST_F(Sysfs, APartitionIsNotItsDisk) {
  Add("sda", {{"device/wwid", "naa.1"}});
  Add("sda1", {{"partition", "1"}}, "sda");
  DeviceFacts facts = Facts("sda1");
  EXPECT_EQ(facts.parent, "sda");
  EXPECT_FALSE(HasIdentity(facts, "sn:naa.1"));
  facts.part_uuid = "0b7c1f2e-01";
  EXPECT_EQ(IdentityOf(facts).id, "partuuid:0b7c1f2e-01");
  EXPECT_TRUE(HasIdentity(facts, "partuuid:0b7c1f2e-01"));
  EXPECT_TRUE(HasIdentity(facts, "id:0b7c1f2e-01"));  // as it was written before
}

TEST_F(Sysfs, IdsOfEarlierVersionsGoOnMatching) {
  Add("dm-0", {{"dm/name", "fast-db0"}, {"dm/uuid", "LVM-" + kVg + kLv}});
  Add("sda", {{"device/wwid", "t10.ATA     QEMU HARDDISK   QM00001"}, {"device/serial", "QM1"}});
  Add("ram0", {});
  EXPECT_TRUE(HasIdentity(Facts("dm-0"), ToLegId("dm:LVM-" + kVg + kLv)));
  EXPECT_TRUE(HasIdentity(Facts("sda"), "sn:t10.ATA_____QEMU_HARDDISK___QM00001"));
  EXPECT_TRUE(HasIdentity(Facts("sda"), "sn:QM1"));
  DeviceFacts linked = Facts("sda");
  linked.links = {"ata-QEMU_HARDDISK_QM00001", "wwn-0x5000"};
  EXPECT_TRUE(HasIdentity(linked, "id:ata-QEMU_HARDDISK_QM00001"));
  EXPECT_TRUE(HasIdentity(Facts("ram0"), "name:ram0"));
}

TEST_F(Sysfs, ALoopDeviceIsItsFileNotItsNumber) {
  const std::string file = root_ + "/image";
  Write(file, "x");
  Add("loop3", {{"loop/backing_file", file}, {"loop/offset", "0"}});
  const std::string id = Id("loop3");
  EXPECT_EQ(id.substr(0, 5), "loop:");
  EXPECT_TRUE(IsLegId(id));
  std::filesystem::rename(file, file + ".old");
  Write(file, "another");  // the old one is kept, so it has another inode
  EXPECT_FALSE(HasIdentity(Facts("loop3"), id));
}

TEST_F(Sysfs, WhatHasNothingSaysSo) {
  Add("ram0", {});
  Add("dm-1", {{"dm/name", "plain"}});
  EXPECT_FALSE(IdentityOf(Facts("ram0")).Lasts());
  EXPECT_FALSE(IdentityOf(Facts("dm-1")).Lasts());
  EXPECT_EQ(Id("dm-1"), "dmname:plain");  // not the number, which changes
}

TEST_F(Sysfs, TwoDevicesOfOneIdentityAreNotGuessed) {
  Add("sda", {{"device/wwid", "naa.1"}});
  Add("sdb", {{"device/wwid", "naa.1"}});
  const auto found = Resolve("sn:naa.1");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, Code::kFailedPrecondition);
  EXPECT_NE(found.error().message.find("sda and sdb"), std::string::npos);
}

TEST_F(Sysfs, PathsOfAMultipathDeviceAreThatDevice) {
  Add("sda", {{"device/wwid", "naa.1"}});
  Add("sdb", {{"device/wwid", "naa.1"}});
  Add("dm-5", {{"dm/name", "mpatha"}, {"dm/uuid", "mpath-3600"}});
  AddHolder("sda", "dm-5");
  AddHolder("sdb", "dm-5");
  const auto found = Resolve("sn:naa.1");
  ASSERT_FALSE(found.ok());  // this tree has no nodes: it is named as the one without
  EXPECT_NE(found.error().message.find("dm-5"), std::string::npos);
  EXPECT_EQ(found.error().code, Code::kNotFound);
}

TEST(Identity, LvmsNamesAreTakenApart) {
  EXPECT_EQ(LvNameOf("fast-db0"), "fast/db0");
  EXPECT_EQ(LvNameOf("my--fast-d--b"), "my-fast/d-b");
  EXPECT_EQ(LvNameOf("crypt"), "");
  EXPECT_EQ(LvNameOf("a-b-c"), "");
}

TEST(Identity, EveryIdIsALegId) {
  DeviceFacts facts;
  facts.name = "sda";
  facts.serials = {std::string(200, 'x') + " \t\n'\"$("};
  EXPECT_TRUE(IsLegId(IdentityOf(facts).id));
  EXPECT_TRUE(HasIdentity(facts, IdentityOf(facts).id));
}

TEST(Identity, NoDeviceIsAnAnswer) {
  const auto identities = MakeLinuxIdentities();
  EXPECT_EQ(identities->Identify("/dev/nothing-here").error().code, Code::kNotFound);
  EXPECT_EQ(identities->Identify("/dev/null").error().code, Code::kInvalidArgument);
  EXPECT_EQ(identities->Resolve("sn:nobody-has-this").error().code, Code::kNotFound);
}

TEST(Identity, TheSimulatedWorldSwapsNames) {
  sim::SimWorld world;
  world.AddDisk("/dev/sda", 1 << 20);
  world.AddDisk("/dev/sdb", 1 << 20);
  const auto a = world.identities().Identify("/dev/sda");
  ASSERT_TRUE(a.ok());
  world.SwapNames("/dev/sda", "/dev/sdb");
  const auto found = world.identities().Resolve(a->id);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->path, "/dev/sdb");
  world.disks.at("/dev/sda").id = a->id;
  EXPECT_EQ(world.identities().Resolve(a->id).error().code, Code::kFailedPrecondition);
}

}  // namespace
}  // namespace shadow
