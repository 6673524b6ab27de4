// SPDX-License-Identifier: Apache-2.0
// Against file systems that the real mkfs makes in files.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "daemon/fs/linux_filesystems.h"
#include "daemon/fs/superblock.h"

namespace shadow {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

class FsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = std::filesystem::temp_directory_path() / "shadow-fs-XXXXXX";
    dir_ = mkdtemp(pattern.data());
    image_ = dir_ / "image";
    std::ofstream(image_).close();
    std::filesystem::resize_file(image_, 512 * kMiB);
    fs_ = MakeLinuxFilesystems(runner_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  bool Make(std::vector<std::string> argv) {
    argv.push_back(image_);
    const auto r = runner_.Run(argv, 60'000);
    return r.ok() && r->exit_code == 0;
  }
  RealProcessRunner runner_;
  std::filesystem::path dir_;
  std::string image_;
  std::unique_ptr<Filesystems> fs_;
};

TEST_F(FsTest, NothingIsNothing) {
  auto info = fs_->Inspect(image_);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->type, "");
  EXPECT_EQ(info->end_bytes, 0U);
  EXPECT_EQ(fs_->Inspect(image_ + "x").error().code, Code::kNotFound);
  EXPECT_EQ(fs_->Grow(image_).error().code, Code::kUnimplemented);
}

TEST_F(FsTest, Ext4EndsWhereItsSuperblockSays) {
  ASSERT_TRUE(Make({"mkfs.ext4", "-q", "-F"})) << "mkfs.ext4 (e2fsprogs) is needed";
  auto info = fs_->Inspect(image_);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->type, "ext4");
  EXPECT_EQ(info->end_bytes, 512 * kMiB);
  EXPECT_EQ(info->mount_point, "");
  std::filesystem::resize_file(image_, 600 * kMiB);
  EXPECT_EQ(fs_->Inspect(image_)->end_bytes, 512 * kMiB)
      << "the device's size is not the file system's";
  ASSERT_TRUE(fs_->Grow(image_).ok());
  EXPECT_EQ(fs_->Inspect(image_)->end_bytes, 600 * kMiB);
}

TEST_F(FsTest, AnExt4ThatHasToBeCheckedIsSaidBefore) {
  ASSERT_TRUE(Make({"mkfs.ext4", "-q", "-F"}));
  EXPECT_EQ(fs_->Inspect(image_)->cannot_grow, "");
  ASSERT_TRUE(Make({"debugfs", "-w", "-R", "set_super_value mtime 20380101000000"}));
  std::filesystem::resize_file(image_, 600 * kMiB);
  EXPECT_NE(fs_->Inspect(image_)->cannot_grow.find("e2fsck"), std::string::npos);
  EXPECT_EQ(fs_->Grow(image_).error().code, Code::kFailedPrecondition);
  const auto judge = runner_.Run({"resize2fs", image_}, 60'000);
  EXPECT_NE(judge->exit_code, 0) << "resize2fs sees it likewise";
}

TEST_F(FsTest, XfsEndsWhereItsSuperblockSays) {
  ASSERT_TRUE(Make({"mkfs.xfs", "-q", "-f"})) << "mkfs.xfs (xfsprogs) is needed";
  auto info = fs_->Inspect(image_);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->type, "xfs");
  EXPECT_EQ(info->end_bytes, 512 * kMiB);
  EXPECT_EQ(fs_->Grow(image_).error().code, Code::kFailedPrecondition) << "not mounted";
}

TEST_F(FsTest, BtrfsEndsWhereItsSuperblockSays) {
  ASSERT_TRUE(Make({"mkfs.btrfs", "-q", "-f"})) << "mkfs.btrfs (btrfs-progs) is needed";
  auto info = fs_->Inspect(image_);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->type, "btrfs");
  EXPECT_EQ(info->end_bytes, 512 * kMiB);
  EXPECT_EQ(fs_->Grow(image_).error().code, Code::kFailedPrecondition) << "not mounted";
}

TEST_F(FsTest, WhatIsNotMountedIsNotTrimmed) {
  EXPECT_EQ(fs_->Trim(image_, 0, kMiB).error().code, Code::kFailedPrecondition);
}

TEST(FilesystemEnd, DamagedSuperblocksTellNothing) {
  std::vector<std::uint8_t> b(kSuperblockBytes, 0xff);
  EXPECT_EQ(FilesystemEnd("ext4", b), 0U);
  EXPECT_EQ(FilesystemEnd("xfs", b), 0U);
  EXPECT_EQ(FilesystemEnd("btrfs", b), 0U);
  EXPECT_EQ(FilesystemEnd("ext4", {}), 0U);
}

RC_GTEST_PROP(FilesystemEnd, NoBytesCrashIt, (std::vector<std::uint8_t> bytes)) {
  bytes.resize(kSuperblockBytes);
  (void)FilesystemEnd("xfs", bytes);
  bytes[1024 + 0x38] = 0x53;
  bytes[1024 + 0x39] = 0xef;
  RC_ASSERT(FilesystemEnd("ext4", bytes) <= (std::uint64_t{1} << 62));
  (void)FilesystemEnd("btrfs", bytes);
}

}  // namespace
}  // namespace shadow
