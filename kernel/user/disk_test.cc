// SPDX-License-Identifier: GPL-2.0-only
// Devices: what a cache may lose, and what it may not (Documentation/block/writeback_cache_control).
#include <set>

#include "kernel/user/testing.h"

namespace {

using user::Request;

/// The module is the way to a leg: a volume on A alone passes requests on.
class DiskTest : public user::MachineTest {
 protected:
  static constexpr u32 kCells = 16;
  DiskTest() { PowerOn(); }

  void PowerOn() {
    sim_reset();
    a_ = sim_disk_create("A", kCells, [](void*, u32 cell) { return 100 + cell; }, nullptr);
    meta_ = sim_disk_create_bytes("M", 64 * 8);
    sim_boot();
  }
  /// @f with a volume, then a power cut.
  void Cut(u64 seed, sim_cut how, std::function<void(mapped_device*)> f) {
    ASSERT_TRUE(Run(
        [&] {
          mapped_device* md = sim_dm_create("t", "SHADOW-t");
          ASSERT_EQ(sim_dm_load(md, u64{kCells} * SIM_CELL_SIZE / 512,
                                "M 128 1 origin A 3 leg_id origin a", nullptr),
                    0);
          ASSERT_EQ(sim_dm_resume(md), 0);
          f(md);
        },
        seed))
        << machine.what;
    sim_begin_step(77, seed * 7919, false);
    sim_power_cut(how);
  }
  static u8 Write(mapped_device* md, u32 cell, u32 value, bool fua = false) {
    Request r(md, SIM_IO_WRITE, cell, 1);
    r.data[0] = value;
    r.io.fua = fua;
    return r.Do();
  }
  static u8 Flush(mapped_device* md) {
    Request r(md, SIM_IO_WRITE, 0, 0);
    r.io.preflush = true;
    return r.Do();
  }

  sim_disk *a_, *meta_;
};

TEST_F(DiskTest, AnUnflushedOverwriteIsLostThoughAnEarlierOneWasFlushed) {
  Cut(1, SIM_LOSE_ALL, [](mapped_device* md) {
    Write(md, 3, 1);
    Flush(md);
    Write(md, 3, 2);
  });
  EXPECT_EQ(sim_disk_cell(a_, 3), 1u);
}

TEST_F(DiskTest, FuaSurvivesAndFlushesNothingElse) {
  Cut(1, SIM_LOSE_ALL, [](mapped_device* md) {
    Write(md, 3, 1);
    Write(md, 4, 2, true);
  });
  EXPECT_EQ(sim_disk_cell(a_, 3), 103u);
  EXPECT_EQ(sim_disk_cell(a_, 4), 2u);
}

TEST_F(DiskTest, AnyPartOfACacheMaySurviveInAnyOrder) {
  std::set<u32> seen;
  for (u64 seed = 1; seed < 60; seed++) {
    PowerOn();
    Cut(seed, SIM_MIX, [](mapped_device* md) {
      Write(md, 3, 1);
      Write(md, 4, 1);
    });
    seen.insert((sim_disk_cell(a_, 3) == 1) + 2U * (sim_disk_cell(a_, 4) == 1));
  }
  EXPECT_EQ(seen.size(), 4u);
}

TEST_F(DiskTest, ACacheThatIsKeptIsStillVolatile) {
  Cut(1, SIM_KEEP_ALL, [](mapped_device* md) { Write(md, 3, 1); });
  EXPECT_EQ(sim_disk_cell(a_, 3), 1u);
  EXPECT_FALSE(sim_disk_all_durable(a_));
  sim_power_cut(SIM_LOSE_ALL);
  EXPECT_EQ(sim_disk_cell(a_, 3), 103u);
}

TEST_F(DiskTest, AWriteInFlightIsTornCellByCell) {
  std::set<u32> seen;
  for (u64 seed = 1; seed < 200; seed++) {
    PowerOn();
    bool sent = false;
    Request r(nullptr, SIM_IO_WRITE, 0, 4);
    Start([&] {
      mapped_device* md = sim_dm_create("t", "SHADOW-t");
      sim_dm_load(md, u64{kCells} * SIM_CELL_SIZE / 512, "M 128 1 origin A 3 leg_id origin a",
                  nullptr);
      sim_dm_resume(md);
      r.data.fill(5);
      r.io.md = md;
      sent = true;
      sim_dm_submit(&r.io);
    });
    for (u64 k = 0; !sent && k < 4000; k++) sim_run(seed * 100000 + k, 1);
    sim_run(seed, 1 + seed % 12);
    sim_power_cut(SIM_KEEP_ALL);
    u32 mask = 0;
    for (u32 c = 0; c < 4; c++) mask |= (sim_disk_cell(a_, c) == 5) << c;
    if (!r.over) seen.insert(mask);
  }
  EXPECT_GT(seen.size(), 4u);
}

TEST_F(DiskTest, ADeadDeviceFailsAndAHungOneWaits) {
  bool over = false;
  Cut(1, SIM_KEEP_ALL, [&](mapped_device* md) {
    sim_disk_set_dead(a_, true);
    EXPECT_EQ(Write(md, 3, 1), SIM_IOERR);
    sim_disk_set_dead(a_, false);
    sim_disk_set_hung(a_, true);
    Write(md, 3, 1);
    over = true;
  });
  EXPECT_FALSE(over);
}

TEST_F(DiskTest, AFailedFlushMakesNothingDurable) {
  Cut(1, SIM_LOSE_ALL, [&](mapped_device* md) {
    Write(md, 3, 1);
    machine.fault = 1;
    machine.fault_kinds = 1u << SIM_FLUSH;
    EXPECT_EQ(Flush(md), SIM_IOERR);
    machine.fault = 0;
  });
  EXPECT_EQ(sim_disk_cell(a_, 3), 103u);
}

TEST_F(DiskTest, ALegThatLosesPowerLosesItsCacheAndTellsByAFailedWrite) {
  Cut(1, SIM_KEEP_ALL, [&](mapped_device* md) {
    Write(md, 3, 1);
    Flush(md);
    Write(md, 3, 2);
    sim_disk_blip(a_, SIM_LOSE_ALL);
    EXPECT_FALSE(sim_disk_told(a_));
    EXPECT_EQ(Write(md, 4, 3), SIM_IOERR);
    EXPECT_TRUE(sim_disk_told(a_));
    sim_disk_back(a_);
    EXPECT_EQ(Write(md, 5, 4), SIM_OK);
  });
  EXPECT_EQ(sim_disk_cell(a_, 3), 1u);
  EXPECT_EQ(sim_disk_cell(a_, 4), 104u);
  EXPECT_EQ(sim_disk_cell(a_, 5), 4u);
}

}  // namespace
