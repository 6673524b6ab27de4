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
  int Table(const char* params, u64 sectors = kSectors) {
    char why[200] = "";
    const int r = sim_dm_load(md_, sectors, params, why);
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

  /// A new machine with blank metadata.
  void Anew() {
    sim_power_cut(SIM_LOSE_ALL);
    sim_disk_clear(meta_);
    sim_boot();
  }
  /// Blocks 0 on are being copied for the second time, because the last of them was written; A hangs.
  void CopyAgain(u64 seed, u32 blocks) {
    ASSERT_TRUE(Run([&] {
      BringUp();
      ASSERT_EQ(Table("M 128 2 origin A target B 6 leg_id origin one leg_id target two"), 0);
      for (u32 i = 0; i < blocks; i++) {
        Request warm(md_, SIM_IO_WRITE, i * 4, 1);
        EXPECT_EQ(warm.Do(), SIM_OK);
      }
    }, seed)) << machine.what;
    sim_disk_set_hung(b_, true);
    ASSERT_TRUE(Run([&] { EXPECT_EQ(Message(blocks > 1 ? "copy 0+2" : "copy 0+1"), "0"); }, seed));
    ASSERT_TRUE(Run([&] {
      Request write(md_, SIM_IO_WRITE, blocks * 4 - 4, 1);
      EXPECT_EQ(write.Do(), SIM_OK);
    }, seed)) << machine.what;
    sim_disk_set_hung(a_, true);
    sim_disk_set_hung(b_, false);
    ASSERT_TRUE(RunAll(seed)) << machine.what;
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

// A table misses what holds current copies, and their loss cannot be written down: the metadata will
// call them current when it is back, so what they do not get is not acknowledged.
TEST_F(ModuleTest, WritesNothingThatWhatIsMissingWouldHide) {
  sim_disk_create("T", 16, [](void*, u32) { return 0xbadu; }, nullptr);
  struct {
    const char *whole, *fill, *missing;
  } cases[] = {
      {"M 128 2 origin A tier1 T 6 leg_id origin one leg_id tier1 fast", "promote tier1 0+1",
       "M 128 2 origin A tier1 - 6 leg_id origin one leg_id tier1 fast"},
      {"M 128 2 origin A target B 6 leg_id origin one leg_id target two", "copy 0+1",
       "M 128 2 origin A target - 6 leg_id origin one leg_id target two"},
  };
  for (const auto& c : cases)
    for (const bool written : {true, false}) {
      ASSERT_TRUE(Run([&] {
        BringUp();
        ASSERT_EQ(Table(c.whole), 0);
        EXPECT_EQ(Message(c.fill), "0");
      })) << machine.what;
      ASSERT_TRUE(Run([&] {
        sim_dm_remove(md_);
        Create();
        machine.fault = written ? 0 : 1;
        machine.fault_kinds = 1u << SIM_META_WRITE;
        ASSERT_EQ(Table(c.missing), 0);
        Request write(md_, SIM_IO_WRITE, 0, 4);
        write.data = {1, 2, 3, 4};
        EXPECT_EQ(write.Do() == SIM_OK, written) << c.missing;
        Request read(md_, SIM_IO_READ, 0, 1);
        EXPECT_EQ(read.Do(), SIM_OK) << c.missing;
        machine.fault = 0;
      })) << machine.what;
      EXPECT_EQ(Status().substr(0, 3), written ? "rw " : "ro ");
      sim_power_cut(SIM_KEEP_ALL);
      sim_disk_clear(meta_);
      sim_boot();
    }
}

// What a shrink hides comes back with "abort", and no flush asks for it meanwhile.
TEST_F(ModuleTest, WhatAShrinkHidesIsDurable) {
  ASSERT_TRUE(Run([&] {
    BringUp();
    Request write(md_, SIM_IO_WRITE, kCells - 4, 4);
    EXPECT_EQ(write.Do(), SIM_OK);
    EXPECT_FALSE(sim_disk_all_durable(a_));
    ASSERT_EQ(Table("M 128 2 origin A target B 7 leg_id origin one leg_id target two shrink", kSectors / 2), 0);
    EXPECT_TRUE(sim_disk_all_durable(a_));
  })) << machine.what;
}

// Both legs are full, each has done another part of the write: one of them is the block from then on.
TEST_F(ModuleTest, AWriteThatFailsOnBothLegsLeavesOneContent) {
  for (u64 seed = 1; seed < 30; seed++) {
    ASSERT_TRUE(Run([&] {
      BringUp();
      ASSERT_EQ(Table("M 128 2 origin A target B 6 leg_id origin one leg_id target two"), 0);
      EXPECT_EQ(Message("copy 0+24"), "0");
    }, seed)) << machine.what;
    ASSERT_TRUE(Run([&] {
      machine.fault = 1;
      machine.fault_kinds = 1u << SIM_WRITE;
      machine.full = true;
      Request write(md_, SIM_IO_WRITE, 0, 4);
      write.data = {1, 2, 3, 4};
      EXPECT_NE(write.Do(), SIM_OK);
      machine.fault = 0;
      EXPECT_EQ(Message("read origin"), "0");
      Request one(md_, SIM_IO_READ, 0, 4);
      EXPECT_EQ(one.Do(), SIM_OK);
      EXPECT_EQ(Message("read target"), "0");
      Request other(md_, SIM_IO_READ, 0, 4);
      EXPECT_EQ(other.Do(), SIM_OK);
      EXPECT_EQ(one.data, other.data);
    }, seed)) << machine.what;
    sim_power_cut(SIM_LOSE_ALL);
    sim_disk_clear(meta_);
    sim_boot();
  }
}

// A block was written while it was copied, and is copied again: the module may hold it for that.
TEST_F(ModuleTest, ADiscardTakesAHeldBlock) {
  for (u64 seed = 1; seed < 30; seed++) {
    CopyAgain(seed, 1);
    Request discard(md_, SIM_IO_DISCARD, 0, 4);
    ASSERT_TRUE(Run([&] { sim_dm_submit(&discard.io); }, seed)) << machine.what;
    sim_disk_set_hung(a_, false);
    ASSERT_TRUE(RunAll(seed)) << machine.what;
    ASSERT_TRUE(discard.over);
    EXPECT_EQ(discard.io.status, SIM_OK);
    Request read(md_, SIM_IO_READ, 1, 1);
    ASSERT_TRUE(Run([&] { read.Do(); }, seed)) << machine.what;
    EXPECT_EQ(read.data[0], 0u) << seed;
    Anew();
  }
}

// A leg loses its cache, and another block's write tells of it.
TEST_F(ModuleTest, AWriteThatFailsTellsOfALostCache) {
  ASSERT_TRUE(Run([&] {
    BringUp();
    ASSERT_EQ(Table("M 128 2 origin A target B 6 leg_id origin one leg_id target two"), 0);
    EXPECT_EQ(Message("copy 0+24"), "0");
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    Request write(md_, SIM_IO_WRITE, 0, 1), other(md_, SIM_IO_WRITE, 4, 1);
    write.data[0] = 7;
    EXPECT_EQ(write.Do(), SIM_OK);
    sim_disk_blip(b_, SIM_LOSE_ALL);
    EXPECT_EQ(other.Do(), SIM_OK);
    sim_disk_back(b_);
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    EXPECT_EQ(Message("read target"), "0");
    Request read(md_, SIM_IO_READ, 0, 1);
    EXPECT_EQ(read.Do(), SIM_OK);
    EXPECT_EQ(read.data[0], 7u);
  })) << machine.what;
}

TEST_F(ModuleTest, ATierThatLostItsCacheIsNotRead) {
  sim_disk* t = sim_disk_create("T", 16, [](void*, u32) { return 0xbadu; }, nullptr);
  ASSERT_TRUE(Run([&] {
    BringUp();
    ASSERT_EQ(Table("M 128 2 origin A tier1 T 6 leg_id origin one leg_id tier1 fast"), 0);
    EXPECT_EQ(Message("promote tier1 0+2"), "0");
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    Request write(md_, SIM_IO_WRITE, 0, 1), other(md_, SIM_IO_WRITE, 4, 1);
    write.data[0] = 7;
    EXPECT_EQ(write.Do(), SIM_OK);
    sim_disk_blip(t, SIM_LOSE_ALL);
    EXPECT_EQ(other.Do(), SIM_OK);
    sim_disk_back(t);
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    Request read(md_, SIM_IO_READ, 0, 1);
    EXPECT_EQ(read.Do(), SIM_OK);
    EXPECT_EQ(read.data[0], 7u);
  })) << machine.what;
}

// A flush of the origin fails while both legs count; when it is dealt with "abort" is over, and the
// origin is the only leg: it has lost what only it is to hold.
TEST_F(ModuleTest, AFlushThatFailedOnTheLegThatIsKeptFails) {
  ASSERT_TRUE(Run([&] {
    BringUp();
    ASSERT_EQ(Table("M 128 2 origin A target B 6 leg_id origin one leg_id target two"), 0);
    EXPECT_EQ(Message("copy 0+24"), "0");
  })) << machine.what;
  Request warm(md_, SIM_IO_WRITE, 0, 1), write(md_, SIM_IO_WRITE, 0, 1), flush(md_, SIM_IO_WRITE, 0, 0);
  flush.io.preflush = true;
  ASSERT_TRUE(Run([&] { warm.Do(); })) << machine.what;  // the write-intent bit
  sim_disk_set_hung(b_, true);
  ASSERT_TRUE(Run([&] { sim_dm_submit(&write.io); })) << machine.what;
  machine.fault = 1;
  machine.fault_kinds = 1u << SIM_FLUSH;
  ASSERT_TRUE(Run([&] { sim_dm_submit(&flush.io); })) << machine.what;
  machine.fault = 0;
  std::string aborted;
  ASSERT_TRUE(Run([&] { aborted = Message("abort"); })) << machine.what;
  EXPECT_EQ(aborted, "0") << sim_who_waits();
  sim_disk_set_hung(b_, false);
  ASSERT_TRUE(RunAll()) << machine.what;
  ASSERT_TRUE(flush.over);
  EXPECT_NE(flush.io.status, SIM_OK);
}

// No allocation succeeds, and the reserve of jobs is smaller than what one look at the queue asks for. Every
// second block lives on the target already, so the others are runs of one block each; and they are
// written while they are copied.
TEST_F(ModuleTest, MovesWithNoMemoryButItsReserve) {
  for (u64 seed = 1; seed < 40; seed++) {
    ASSERT_TRUE(Run(
        [&] {
          BringUp();
          ASSERT_EQ(Table("M 128 2 origin A target B 6 leg_id origin one leg_id target two"), 0);
          EXPECT_EQ(Message("copy 1+1 3+1 5+1 7+1 9+1 11+1 13+1 15+1 17+1 19+1 21+1 23+1"), "0");
        },
        seed))
        << machine.what;
    machine.preempt = 3;
    ASSERT_TRUE(Run(
        [&] {
          EXPECT_EQ(Message("copy 0+24"), "0");
          machine.dry = 1;
          for (u32 i = 0; i < 24; i++) {
            Request write(md_, SIM_IO_WRITE, i * 4, 1);
            write.data[0] = i;
            EXPECT_EQ(write.Do(), SIM_OK);
          }
        },
        seed))
        << machine.what;
    EXPECT_NE(Status().find("mirrored=24"), std::string::npos) << seed << Status() << sim_who_waits();
    machine.dry = 0;
    sim_power_cut(SIM_LOSE_ALL);
    sim_disk_clear(meta_);
    sim_boot();
  }
}

// The target fails a read while blocks are being copied to it: what it got so far may be lost, so it is
// sent again. Nobody has to ask twice.
TEST_F(ModuleTest, ACopyThatALostCacheMadeVoidIsMadeAgain) {
  for (u64 seed = 1; seed < 20; seed++) {
    ASSERT_TRUE(Run(
        [&] {
          BringUp();
          ASSERT_EQ(Table("M 128 2 origin A target B 6 leg_id origin one leg_id target two"), 0);
          EXPECT_EQ(Message("copy 0+1"), "0");
        },
        seed))
        << machine.what;
    Request read(md_, SIM_IO_READ, 0, 1);
    sim_disk_set_hung(a_, true);
    ASSERT_TRUE(Run([&] { EXPECT_EQ(Message("copy 1+23"), "0"); }, seed)) << machine.what;
    ASSERT_NE(Status().find("copying=23"), std::string::npos) << Status();
    sim_disk_set_dead(b_, true);
    ASSERT_TRUE(Run([&] { sim_dm_submit(&read.io); }, seed)) << machine.what;
    sim_disk_set_dead(b_, false);
    sim_disk_set_hung(a_, false);
    ASSERT_TRUE(RunAll(seed)) << machine.what;
    EXPECT_TRUE(read.over);
    EXPECT_EQ(read.io.status, SIM_OK);
    EXPECT_NE(Status().find(" copying=0 mirrored=24"), std::string::npos) << seed << Status();
    EXPECT_NE(Status().find(" copied=24 recopied=23"), std::string::npos) << seed << Status();
    sim_power_cut(SIM_LOSE_ALL);
    sim_disk_clear(meta_);
    sim_boot();
  }
}

// A home leg is missing, and its blocks have shadows on a tier. Write-intent bits go all the same, but for regions
// where a shadow has nothing else behind it.
TEST_F(ModuleTest, TheSweepGoesOnWithTiersAndAMissingHome) {
  sim_disk_create("T", 64, [](void*, u32) { return 7u; }, nullptr);
  const std::string legs = "leg_id origin one leg_id target two leg_id tier1 t";
  ASSERT_TRUE(Run([&] {
    BringUp();
    ASSERT_EQ(Table(("M 128 3 origin A target B tier1 T 9 " + legs).c_str()), 0);
    EXPECT_EQ(Message("copy 0+24"), "0");
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    EXPECT_EQ(Message("cutover"), "0");
    EXPECT_EQ(Message("retire 0+12"), "0");
    EXPECT_EQ(Message("promote tier1 0+2 18+2"), "0");
  })) << machine.what;
  ASSERT_NE(Status().find("promoted=4"), std::string::npos) << Status();
  ASSERT_TRUE(Run([&] {
    ASSERT_EQ(Table(("M 128 3 origin - target B tier1 T 9 " + legs).c_str()), 0);
    for (const u32 block : {0u, 19u}) {
      Request write(md_, SIM_IO_WRITE, block * 4, 1);
      write.data[0] = 5;
      EXPECT_EQ(write.Do(), SIM_OK);
    }
  })) << machine.what;
  for (int i = 0; i < 5; i++) EXPECT_TRUE(Run([] {})) << machine.what;
  EXPECT_NE(Status().find("dirty_regions=0"), std::string::npos) << Status();
}

// The origin has failed a flush, and is not flushed any more. What is written to it, and to a clean shadow of the
// same block, may be lost at home alone: the shadow must not be believed afterwards.
TEST_F(ModuleTest, ACleanShadowOverAFailedHomeIsNotBelievedAfterACut) {
  sim_disk_create("T", 64, [](void*, u32) { return 7u; }, nullptr);
  const char* table = "M 128 3 origin A target B tier1 T 9 leg_id origin one leg_id target two leg_id tier1 t";
  ASSERT_TRUE(Run([&] {
    BringUp();
    ASSERT_EQ(Table(table), 0);
    EXPECT_EQ(Message("copy 20+2"), "0");
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    sim_disk_set_dead(a_, true);
    Request flush(md_, SIM_IO_WRITE, 0, 0);
    flush.io.preflush = true;
    flush.Do();
    sim_disk_set_dead(a_, false);
  })) << machine.what;
  ASSERT_NE(Status().find(" mirrored=0 retiring=0 target=2"), std::string::npos) << Status();
  ASSERT_TRUE(Run([&] { EXPECT_EQ(Message("promote tier1 5+1"), "0"); })) << machine.what;
  ASSERT_NE(Status().find("promoted=1"), std::string::npos) << Status();
  ASSERT_TRUE(Run([&] {
    Request write(md_, SIM_IO_WRITE, 20, 1);
    write.data[0] = 42;
    EXPECT_EQ(write.Do(), SIM_OK);
  })) << machine.what;
  for (int i = 0; i < 5; i++) EXPECT_TRUE(Run([] {})) << machine.what;
  EXPECT_NE(Status().find("dirty_regions=1"), std::string::npos) << Status();
  sim_power_cut(SIM_LOSE_ALL);
  sim_boot();
  u32 found[2] = {};
  ASSERT_TRUE(Run([&] {
    Create();
    ASSERT_EQ(Table(table), 0);
    Request read(md_, SIM_IO_READ, 20, 1);
    EXPECT_EQ(read.Do(), SIM_OK);
    found[0] = read.data[0];
    EXPECT_EQ(Message("demote 5+1"), "0");
  })) << machine.what;
  ASSERT_TRUE(Run([&] {
    Request read(md_, SIM_IO_READ, 20, 1);
    EXPECT_EQ(read.Do(), SIM_OK);
    found[1] = read.data[0];
  })) << machine.what;
  EXPECT_EQ(found[0], found[1]);
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
