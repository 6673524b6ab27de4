// SPDX-License-Identifier: GPL-2.0-only
// The module in the library: one volume from its first table to its removal, through a power cut.
#include "kernel/user/testing.h"

namespace {

using user::Request;

class ModuleTest : public user::MachineTest {
 protected:
  static constexpr u32 kCells = 24 * 4;
  static constexpr u64 kSectors = u64{kCells} * SIM_CELL_SIZE / 512;

  ModuleTest() {
    a_ = sim_disk_create("A", kCells, [](void*, u32 cell) { return 1000 + cell; }, nullptr);
    b_ = sim_disk_create("B", kCells, [](void*, u32) { return 0xbadu; }, nullptr);
    meta_ = sim_disk_create_bytes("M", 64 * 8);
    sim_boot();
  }

  void Create() { md_ = sim_dm_create("test", "SHADOW-test"); }
  int Table(const char* params) {
    char why[200] = "";
    const int r = sim_dm_load(md_, kSectors, params, why);
    if (r) ADD_FAILURE() << why;
    return r ? r : sim_dm_resume(md_);
  }
  void BringUp() {
    Create();
    ASSERT_EQ(Table("M 128 1 origin A 3 leg_id origin one"), 0);
  }
  std::string Message(const char* text) {
    char answer[4096];
    const int r = sim_dm_message(md_, text, answer, sizeof(answer));
    return r == 1 ? answer : std::to_string(r);
  }
  std::string Status() {
    std::string text;
    Run([&] {
      char answer[4096];
      sim_dm_status(md_, 0, false, answer, sizeof(answer));
      text = answer;
    });
    return text;
  }

  sim_disk *a_, *b_, *meta_;
  mapped_device* md_ = nullptr;
};

TEST_F(ModuleTest, ReadsAndWritesTheOrigin) {
  ASSERT_TRUE(Run([&] {
    BringUp();
    Request read(md_, SIM_IO_READ, 5, 3);
    EXPECT_EQ(read.Do(), SIM_OK);
    EXPECT_EQ(read.data[0], 1005u);
    EXPECT_EQ(read.data[2], 1007u);
    Request write(md_, SIM_IO_WRITE, 7, 2);
    write.data[0] = 1;
    write.data[1] = 2;
    EXPECT_EQ(write.Do(), SIM_OK);
    Request again(md_, SIM_IO_READ, 6, 4);
    EXPECT_EQ(again.Do(), SIM_OK);
    EXPECT_EQ(again.data[1], 1u);
    EXPECT_EQ(again.data[2], 2u);
  })) << machine.what;
  EXPECT_EQ(sim_disk_cell(a_, 8), 2u);
}

TEST_F(ModuleTest, MovesAndForgetsNothing) {
  ASSERT_TRUE(Run([&] {
    BringUp();
    ASSERT_EQ(Table("M 128 2 origin A target B 6 leg_id origin one leg_id target two"), 0);
    EXPECT_EQ(Message("copy 0+24"), "0");
  })) << machine.what;
  EXPECT_NE(Status().find("mirrored=24"), std::string::npos) << Status();
  ASSERT_TRUE(Run([&] {
    EXPECT_EQ(Message("cutover"), "0");
    EXPECT_EQ(Message("commit"), "0");
    sim_dm_remove(md_);
  })) << machine.what;
  EXPECT_EQ(machine.allocated, 0);
  for (u32 c = 0; c < kCells; c++) EXPECT_EQ(sim_disk_cell(b_, c), 1000 + c);
}

TEST_F(ModuleTest, AFlushWithDataThatWasAcknowledgedSurvives) {
  for (u64 seed = 1; seed < 20; seed++) {
    ASSERT_TRUE(Run(
        [&] {
          BringUp();
          Request write(md_, SIM_IO_WRITE, 7, 1);
          write.data[0] = 42;
          EXPECT_EQ(write.Do(), SIM_OK);
          Request both(md_, SIM_IO_WRITE, 30, 1);
          both.data[0] = 43;
          both.io.preflush = both.io.fua = true;
          EXPECT_EQ(both.Do(), SIM_OK);
        },
        seed))
        << machine.what;
    sim_power_cut(SIM_LOSE_ALL);
    EXPECT_EQ(sim_disk_cell(a_, 7), 42u);
    EXPECT_EQ(sim_disk_cell(a_, 30), 43u);
    sim_boot();
  }
}

TEST_F(ModuleTest, AFlushAloneHasNoPositionAndEnds) {
  for (u64 seed = 1; seed < 50; seed++) {
    bool over = false;
    ASSERT_TRUE(Run(
        [&] {
          BringUp();
          Request flush(md_, SIM_IO_WRITE, seed % 2 ? 30 : 0, 0);
          flush.io.preflush = true;
          EXPECT_EQ(flush.Do(), SIM_OK);
          over = true;
        },
        seed))
        << machine.what;
    EXPECT_TRUE(over) << seed << sim_who_waits();
    sim_power_cut(SIM_LOSE_ALL);
    sim_boot();
  }
}

// A journal's commit: a preflush with data whose block has a dirty shadow. Everything that was
// acknowledged before lies in the origin's cache, and has to be flushed there.
TEST_F(ModuleTest, APreflushOfADirtyShadowFlushesTheOrigin) {
  sim_disk* tier = sim_disk_create("T", 16, [](void*, u32) { return 7u; }, nullptr);
  ASSERT_TRUE(Run([&] {
    BringUp();
    ASSERT_EQ(Table("M 128 2 origin A tier1 T 8 leg_id origin one leg_id tier1 t writeback tier1"),
              0);
    EXPECT_EQ(Message("promote tier1 7+1"), "0");
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    Request dirty(md_, SIM_IO_WRITE, 7 * 4, 4);
    dirty.data.fill(9);
    EXPECT_EQ(dirty.Do(), SIM_OK);
  })) << machine.what;
  ASSERT_NE(Status().find("writeback:4:1:1"), std::string::npos) << Status();
  ASSERT_TRUE(Run([&] {
    Request write(md_, SIM_IO_WRITE, 50, 1);
    write.data[0] = 42;
    EXPECT_EQ(write.Do(), SIM_OK);
    const u64 before = sim_disk_flushes(a_), tiers = sim_disk_flushes(tier);
    Request both(md_, SIM_IO_WRITE, 7 * 4 + 1, 1);
    both.data[0] = 43;
    both.io.preflush = both.io.fua = true;
    EXPECT_EQ(both.Do(), SIM_OK);
    EXPECT_GT(sim_disk_flushes(a_), before);
    EXPECT_GT(sim_disk_flushes(tier), tiers);
  })) << machine.what;
  sim_power_cut(SIM_LOSE_ALL);
  EXPECT_EQ(sim_disk_cell(a_, 50), 42u);
}

TEST_F(ModuleTest, RefusesATableWithASentence) {
  ASSERT_TRUE(Run([&] {
    Create();
    char why[200] = "";
    EXPECT_LT(sim_dm_load(md_, kSectors, "M 128 2 origin A target A 6 leg_id origin o leg_id target t", why), 0);
    EXPECT_NE(std::string(why).find("same device"), std::string::npos) << why;
    sim_dm_remove(md_);
  })) << machine.what;
  EXPECT_EQ(machine.allocated, 0);
}

}  // namespace
