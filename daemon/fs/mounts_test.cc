// SPDX-License-Identifier: Apache-2.0
// Mount tables and open devices, against a made-up /proc and what the machine itself has.
#include "daemon/fs/mounts.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <filesystem>
#include <fstream>

#include "daemon/fs/openers.h"

namespace shadow {
namespace {

namespace fs = std::filesystem;

class MountsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = fs::temp_directory_path() / "shadow-mounts-XXXXXX";
    dir_ = mkdtemp(pattern.data());
    fs::create_directories(dir_ / "self/ns");
    struct stat st {};
    ASSERT_EQ(stat(dir_.c_str(), &st), 0);
    here_ = st.st_dev;
    // A namespace is an inode: any file will do for one.
    std::ofstream(dir_ / "self/ns/mnt") << "ours";
  }
  void TearDown() override { fs::remove_all(dir_); }
  [[nodiscard]] std::string Line(dev_t device, const std::string& point,
                                 const std::string& type = "ext4") const {
    return "30 1 " + std::to_string(major(device)) + ":" + std::to_string(minor(device)) + " / " +
           point + " rw,relatime shared:1 - " + type + " /dev/mapper/db0 rw\n";
  }
  void Table(const std::string& process, const std::string& text) {
    std::ofstream(dir_ / process / "mountinfo") << text;
  }
  void Process(const std::string& pid, const std::string& text) {
    fs::create_directories(dir_ / pid / "ns");
    std::ofstream(dir_ / pid / "ns/mnt") << pid;
    fs::create_directories(dir_ / pid / "root/inside");
    Table(pid, text);
  }
  fs::path dir_;
  dev_t here_ = 0;
};

TEST_F(MountsTest, ReadsMountinfo) {
  Table("self", "22 1 0:21 / /proc rw - proc proc rw\n" + Line(makedev(253, 7), "/mnt/a\\040b"));
  const auto mounts = ReadMounts(dir_ / "self/mountinfo");
  ASSERT_EQ(mounts.size(), 2U);
  EXPECT_EQ(mounts[1].device, makedev(253, 7));
  EXPECT_EQ(mounts[1].point, "/mnt/a b");
  EXPECT_EQ(mounts[1].type, "ext4");
  EXPECT_TRUE(ReadMounts(dir_ / "nothing").empty());
  Table("self", "garbage\n");
  EXPECT_TRUE(FindMounted(makedev(1, 1), dir_).where.empty());
}

TEST_F(MountsTest, WhatIsOpenedIsOnTheDevice) {
  Table("self", Line(here_, dir_));
  const Mounted found = FindMounted(here_, dir_);
  EXPECT_EQ(found.where, dir_.string());
  EXPECT_EQ(found.type, "ext4");
  EXPECT_TRUE(found.root.ok());
}

// Something else is mounted over it: /proc is on another device than the table says.
TEST_F(MountsTest, ACoveredMountPointIsNotTheFileSystem) {
  const dev_t device = makedev(253, 7);
  Table("self", Line(device, "/proc"));
  const Mounted covered = FindMounted(device, dir_);
  EXPECT_EQ(covered.where, "/proc");
  EXPECT_FALSE(covered.root.ok());
}

TEST_F(MountsTest, TheNextMountIsTakenWhenTheFirstIsCovered) {
  Table("self", Line(here_, "/proc") + Line(here_, dir_));
  const Mounted found = FindMounted(here_, dir_);
  EXPECT_EQ(found.where, dir_.string());
  EXPECT_TRUE(found.root.ok());
}

TEST_F(MountsTest, MountsOfOtherNamespacesAreSeen) {
  Table("self", "");
  Process("77", Line(here_, "/inside"));
  const Mounted found = FindMounted(here_, dir_);
  EXPECT_EQ(found.where, "/inside in the mounts of process 77");
  EXPECT_TRUE(found.root.ok());
}

TEST_F(MountsTest, NoDeviceNodeIsOpenedForAMount) {
  struct stat st {};
  ASSERT_EQ(stat("/dev/null", &st), 0);
  Table("self", Line(st.st_dev, "/dev/null"));
  EXPECT_FALSE(FindMounted(st.st_dev, dir_).root.ok());
}

TEST_F(MountsTest, OpenersAreCountedAndWritersNamed) {
  // No block device is open on every machine: any node that is none must not count.
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  struct stat st {};
  ASSERT_EQ(fstat(null, &st), 0);
  EXPECT_EQ(FindOpeners(st.st_rdev).processes, 0U) << "a character device";
  close(null);
  fs::create_directories(dir_ / "sys/dev/block/253:7/holders/dm-3");
  const Openers found = FindOpeners(makedev(253, 7), dir_, dir_ / "sys");
  EXPECT_EQ(found.holders, 1U);
  EXPECT_EQ(found.holder, "dm-3");
  EXPECT_EQ(found.writer, "");
}

}  // namespace
}  // namespace shadow
