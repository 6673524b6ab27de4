// SPDX-License-Identifier: Apache-2.0
// What a start of the daemon does about damage that it finds: rows of the store that are no
// records, and what was left suspended.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"
#include "daemon/store/sqlite.h"

namespace shadow {
namespace {

TEST(Damage, OneRowCostsOneVolume) {
  const std::string file = testing::TempDir() + "shadow-damage.db";
  for (const char* suffix : {"", "-wal", "-shm"}) std::remove((file + suffix).c_str());
  Machine m(file);
  for (const char* name : {"db0", "db1"}) {
    CreateRequest r;
    r.name = name;
    r.size_bytes = kTestMiB;
    r.to = "hdd";
    ASSERT_TRUE(m.engine().CreateVolume(r).ok());
  }
  const auto db = sqlite::Open(file);
  ASSERT_TRUE(db.ok());
  ASSERT_TRUE(
      sqlite::Execute(db->get(), "UPDATE volumes SET record = '{' WHERE name = 'db0'").ok());
  const std::size_t lvs = m.world.lvs.size();
  m.world.Reboot();
  m.Boot();
  EXPECT_TRUE(m.world.HasDevice("db1"));
  EXPECT_FALSE(m.world.HasDevice("db0"));
  EXPECT_EQ(m.world.lvs.size(), lvs) << "nothing is removed";
  ASSERT_EQ(m.engine().ListVolumes()->size(), 1U);
  bool told = false;
  const std::vector<Event> events = m.engine().WaitEvents(0, 100, 0).value();
  for (const Event& e : events) {
    told = told || (e.volume == "db0" && e.what == "damaged_record" && e.severity == "error");
  }
  EXPECT_TRUE(told);

  CreateRequest again;
  again.name = "db0";
  again.size_bytes = kTestMiB;
  again.to = "hdd";
  const auto refused = m.engine().CreateVolume(again);
  ASSERT_FALSE(refused.ok()) << "its record would be overwritten";
  EXPECT_EQ(refused.error().code, Code::kAlreadyExists);
}

// The record of a move is damaged, and the kernel goes on with it: the target has what nobody else
// has. What is known of the volume is not what it is.
TEST(Damage, WhatTheRecordDoesNotKnowIsNotGivenAway) {
  const std::string file = testing::TempDir() + "shadow-damage-move.db";
  for (const char* suffix : {"", "-wal", "-shm"}) std::remove((file + suffix).c_str());
  Machine m(file);
  m.world.AddDisk("/dev/a", 64 * kTestBlock);
  ImportRequest import;
  import.name = "db0";
  import.device = "/dev/a";
  import.block_bytes = kTestBlock;
  ASSERT_TRUE(m.engine().ImportVolume(import).ok());
  ModifyRequest r;
  r.volume = "db0";
  r.to = "nvme";
  r.impact = Impact::kFull;
  r.grace_ms = 600'000;
  const std::string id = m.engine().Modify(r).value().id;
  ASSERT_TRUE(m.RunTo(id, Phase::kGrace));
  const auto db = sqlite::Open(file);
  ASSERT_TRUE(db.ok());
  ASSERT_TRUE(sqlite::Execute(db->get(), "UPDATE modifications SET record = '{'").ok());
  m.Boot();
  ASSERT_TRUE(m.world.target("db0").Write(3, 1003));
  for (const bool destroy : {false, true}) {
    EXPECT_FALSE(m.engine().DeleteVolume({"db0", destroy}).ok());
  }
  const auto refused = m.engine().ExportVolume("db0");
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("record"), std::string::npos) << refused.error().message;
  ASSERT_TRUE(m.world.HasDevice("db0"));
  EXPECT_EQ(m.world.target("db0").Read(3), std::optional<std::uint64_t>(1003));
}

int Count(const std::vector<std::string>& log, const std::string& call) {
  int n = 0;
  for (const std::string& line : log) n += line.rfind(call, 0) == 0 ? 1 : 0;
  return n;
}

TEST(Boot, TheLegsOfAllVolumesAreWokenAtOnce) {
  Machine m;
  for (int i = 0; i < 5; ++i) {
    CreateRequest r;
    r.name = "db" + std::to_string(i);
    r.size_bytes = kTestMiB;
    r.to = "hdd";
    ASSERT_TRUE(m.engine().CreateVolume(r).ok());
  }
  m.world.Reboot();
  m.world.log.clear();
  m.Boot();
  EXPECT_EQ(Count(m.world.log, "ActivateAll"), 1);
  EXPECT_TRUE(m.world.HasDevice("db4"));
  m.world.log.clear();
  m.Boot();
  EXPECT_EQ(Count(m.world.log, "ActivateAll"), 0) << "all of them are up";
}

// lvextend was killed between its suspend and its resume, and shadowd with it.
TEST(Boot, WhatAKilledLvmLeftSuspendedIsResumed) {
  Machine m;
  for (const char* name : {"db0", "db1"}) {
    CreateRequest r;
    r.name = name;
    r.size_bytes = kTestMiB;
    r.to = "hdd";
    ASSERT_TRUE(m.engine().CreateVolume(r).ok());
  }
  const std::string origin = m.engine().ListVolumes()->front().origin;
  const std::string id = m.world.disks.at(origin).id;
  m.world.suspended_lvs = {id, "of-somebody-else"};
  m.Boot();
  EXPECT_EQ(m.world.suspended_lvs, std::set<std::string>{"of-somebody-else"});
  bool told = false;
  const std::vector<Event> events = m.engine().WaitEvents(0, 100, 0).value();
  for (const Event& e : events) told = told || e.what == "suspended";
  EXPECT_TRUE(told);
}

}  // namespace
}  // namespace shadow
