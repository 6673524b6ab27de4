// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/disk.h"

#include <gtest/gtest.h>

namespace shadow::crash {
namespace {

class DiskTest : public testing::Test {
 protected:
  Bytes Cut(const Disk& disk, Keep keep) {
    std::uint64_t fingerprint = 0;
    return disk.Cut(keep, random_, &fingerprint);
  }
  static Bytes Sectors(std::uint8_t value, std::size_t count) { return Bytes(count * 512, value); }
  std::mt19937_64 random_{1};
  const Bytes a_ = Sectors(1, 4), b_ = Sectors(2, 4);
};

TEST_F(DiskTest, UnflushedWritesMayBeLost) {
  Disk disk(8, 9, Plant::kNothing, 1);
  disk.Write(0, 4, a_.data(), false);
  EXPECT_EQ(Cut(disk, Keep::kNone)[0], 9);
  EXPECT_EQ(Cut(disk, Keep::kAll)[0], 1);
  disk.Flush();
  EXPECT_EQ(Cut(disk, Keep::kNone)[0], 1);
}

TEST_F(DiskTest, FuaIsDurableAndDoesNotFlushOthers) {
  Disk disk(8, 9, Plant::kNothing, 1);
  disk.Write(0, 1, a_.data(), false);
  disk.Write(4, 1, b_.data(), true);
  const Bytes medium = Cut(disk, Keep::kNone);
  EXPECT_EQ(medium[0], 9);
  EXPECT_EQ(medium[2048], 2);
}

TEST_F(DiskTest, LoggedBehindAFuaWriteIsOlder) {
  Disk disk(8, 9, Plant::kNothing, 1);
  disk.Write(0, 1, b_.data(), true);
  disk.Write(0, 2, a_.data(), false);  // was done before
  EXPECT_EQ(Cut(disk, Keep::kAll)[0], 2);
  EXPECT_EQ(Cut(disk, Keep::kAll)[512], 1);
  disk.OtherFlush();
  disk.Write(0, 1, a_.data(), false);  // was done after
  EXPECT_EQ(Cut(disk, Keep::kAll)[0], 1);
}

TEST_F(DiskTest, SomeWritesAreTorn) {
  bool torn = false;
  for (int i = 0; i < 100 && !torn; ++i) {
    Disk disk(8, 9, Plant::kNothing, 1);
    disk.Write(0, 4, a_.data(), false);
    const Bytes medium = Cut(disk, Keep::kSome);
    torn = medium[0] != medium[512];
    for (std::size_t s = 0; s < 8; ++s) EXPECT_EQ(medium[s * 512], medium[s * 512 + 511]);
  }
  EXPECT_TRUE(torn);
}

TEST_F(DiskTest, DiscardsAreZeroes) {
  Disk disk(8, 9, Plant::kNothing, 1);
  disk.Write(2, 2, nullptr, false);
  EXPECT_EQ(Cut(disk, Keep::kAll)[1024], 0);
  EXPECT_EQ(Cut(disk, Keep::kAll)[2048], 9);
}

TEST_F(DiskTest, PlantedFaults) {
  Disk stale(8, 9, Plant::kStale, 1);
  stale.Write(0, 1, a_.data(), true);
  EXPECT_EQ(Cut(stale, Keep::kNone)[0], 9);
  Disk lossy(200, 9, Plant::kDropFlushed, 1);
  for (std::uint64_t s = 0; s < 200; ++s) lossy.Write(s, 1, a_.data(), false);
  lossy.Flush();
  const Bytes medium = Cut(lossy, Keep::kAll);
  EXPECT_GT(std::count(medium.begin(), medium.end(), 9), 0);
}

}  // namespace
}  // namespace shadow::crash
