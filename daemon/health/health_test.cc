// SPDX-License-Identifier: Apache-2.0
#include "daemon/health/health.h"

#include <gtest/gtest.h>

namespace shadow {
namespace {

VolumeInfo Well(const std::string& name) {
  VolumeInfo v;
  v.name = name;
  v.storage_class = "hdd";
  v.metadata = "/dev/fast/meta";
  v.kernel.mode = "rw";
  v.kernel.phase = "steady";
  return v;
}

ModificationInfo In(Phase phase) {
  ModificationInfo m;
  m.id = "m1";
  m.volume = "db0";
  m.phase = phase;
  m.bytes_total = 200;
  m.bytes_done = 50;
  return m;
}

TEST(Health, SaysThatAllIsWell) {
  const Health h = Assess({{Well("db0"), Well("logs")}, {}, {}, {}});
  EXPECT_EQ(h.level, HealthLevel::kOk);
  EXPECT_EQ(h.sentence, "All is well: 2 volumes in service.");
  EXPECT_EQ(h.volumes.at(1).sentence, "Well, on hdd.");
  EXPECT_TRUE(h.todos.empty());
}

TEST(Health, ARunningModificationIsNoTrouble) {
  const Health h = Assess({{Well("db0")}, {In(Phase::kCopying)}, {}, {}});
  EXPECT_EQ(h.level, HealthLevel::kBusy);
  EXPECT_EQ(h.volumes.at(0).sentence, "Being modified, 25 % copied.");
  EXPECT_TRUE(h.todos.empty());
}

TEST(Health, WhatWaitsForSomebodyIsToldWithItsCommand) {
  Health h = Assess({{Well("db0")}, {In(Phase::kGrace)}, {}, {}});
  ASSERT_EQ(h.todos.size(), 1U);
  EXPECT_EQ(h.todos[0].command, "shadowctl op commit db0");
  EXPECT_EQ(h.level, HealthLevel::kBusy);
  h = Assess({{Well("db0")}, {In(Phase::kPaused)}, {}, {}});
  EXPECT_EQ(h.todos.at(0).command, "shadowctl op resume db0");
  ModificationInfo failed = In(Phase::kFailed);
  failed.error = "The target broke.";
  h = Assess({{Well("db0")}, {failed}, {}, {}});
  EXPECT_EQ(h.level, HealthLevel::kWarning);
  EXPECT_EQ(h.todos.at(0).command, "shadowctl op show m1");
}

TEST(Health, AnOldFailureIsForgottenWhenALaterModificationIsGood) {
  ModificationInfo old = In(Phase::kFailed);
  old.started_ms = 1;
  ModificationInfo good = In(Phase::kCompleted);
  good.started_ms = 2;
  EXPECT_EQ(Assess({{Well("db0")}, {good, old}, {}, {}}).level, HealthLevel::kOk);
}

TEST(Health, EveryKernelTroubleOfAVolumeIsAnError) {
  const auto with = [](auto change) {
    VolumeInfo v = Well("db0");
    change(v.kernel);
    return Assess({{v, Well("logs")}, {}, {}, {}});
  };
  for (const Health& h :
       {with([](KernelStatus& k) { k.mode = ""; }), with([](KernelStatus& k) { k.mode = "ro"; }),
        with([](KernelStatus& k) { k.mode = "fail"; }),
        with([](KernelStatus& k) { k.needs_check = true; }), with([](KernelStatus& k) {
          k.tiers[0] = KernelTier{"missing", true, 8, 4, 2};
        })}) {
    EXPECT_EQ(h.level, HealthLevel::kError);
    EXPECT_EQ(h.volumes.at(0).level, HealthLevel::kError);
    EXPECT_EQ(h.volumes.at(1).level, HealthLevel::kOk);
    EXPECT_EQ(h.sentence, "1 volume needs help now.");
    ASSERT_FALSE(h.todos.empty());
  }
  const Health clean = with([](KernelStatus& k) {
    k.tiers[1] = KernelTier{"failed", false, 8, 4, 0};
  });
  EXPECT_EQ(clean.level, HealthLevel::kWarning);
  EXPECT_EQ(clean.todos.at(0).command, "shadowctl tier remove db0 tier2 --forget");
}

TEST(Health, TheWorstComesFirstAndDoctorIsHeard) {
  ClassInfo full;
  full.name = "nvme";
  full.volume_group = "fast";
  full.size_bytes = 1000;
  full.free_bytes = 10;
  const Health h =
      Assess({{Well("db0")},
              {In(Phase::kGrace)},
              {full},
              {{"lvm", "error", "lvs does not work.", "install lvm2"}, {"store", "ok", "", ""}}});
  ASSERT_EQ(h.todos.size(), 3U);
  EXPECT_EQ(h.todos[0].sentence, "lvm: lvs does not work.");
  EXPECT_EQ(h.todos[1].command, "vgextend fast DEVICE");
  EXPECT_EQ(h.todos[2].level, HealthLevel::kBusy);
  EXPECT_EQ(h.sentence, "Volumes work, but shadowd does not in every respect.");
}

}  // namespace
}  // namespace shadow
