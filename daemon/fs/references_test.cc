// SPDX-License-Identifier: Apache-2.0
// Who names a device, in the files of a machine that lies in a directory.
#include "daemon/fs/references.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace shadow {
namespace {

class ReferencesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string shape = testing::TempDir() + "referencesXXXXXX";
    root_ = mkdtemp(shape.data());
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(root_ + "/" + file).parent_path());
    std::ofstream(root_ + "/" + file) << text;
  }
  [[nodiscard]] std::string Found(const DeviceNames& names) const {
    std::string text;
    for (const Reference& r : FindReferences(names, root_)) text += r.place + ": " + r.name + "\n";
    return text;
  }
  std::string root_;
};

TEST_F(ReferencesTest, ArePathsAndPartitionsAndNotTheContent) {
  Write("etc/fstab",
        "# /dev/slow/db0 in a comment\n"
        "UUID=1234 /a ext4 defaults 0 0\n"
        "/dev/slow/db0 /b ext4 defaults 0 0 # /dev/slow/db0\n"
        "/dev/slow/db0-old /c ext4 defaults 0 0\n"
        "PARTUUID=\"aa-01\" /d ext4 defaults 0 0\n");
  Write("etc/crypttab", "safe /dev/mapper/slow-db0 none luks\n");
  Write("proc/cmdline", "quiet root=/dev/slow/db0 ro resume=PARTUUID=aa-01\n");
  Write("etc/systemd/system/b.mount", "[Mount]\nWhat=/dev/slow/db0\nWhere=/b\n");
  Write("etc/systemd/system/readme.txt", "/dev/slow/db0\n");
  EXPECT_EQ(Found({{"/dev/slow/db0", "/dev/mapper/slow-db0"}, ""}),
            "/etc/fstab, line 3: /dev/slow/db0\n"
            "/etc/crypttab, line 1: /dev/mapper/slow-db0\n"
            "/proc/cmdline, line 1: /dev/slow/db0\n"
            "/etc/systemd/system/b.mount, line 2: /dev/slow/db0\n");
  EXPECT_EQ(Found({{"/dev/sdq1"}, "aa-01"}),
            "/etc/fstab, line 5: PARTUUID=\"aa-01\"\n"
            "/proc/cmdline, line 1: PARTUUID=aa-01\n");
  EXPECT_EQ(Found({{"/dev/other"}, ""}), "");
}

TEST_F(ReferencesTest, AreNoneWhereThereAreNoFiles) { EXPECT_EQ(Found({{"/dev/x"}, "y"}), ""); }

}  // namespace
}  // namespace shadow
