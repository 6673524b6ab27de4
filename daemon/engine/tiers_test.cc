// SPDX-License-Identifier: Apache-2.0
// Tiers through the engine, in the simulated world: their life, their device's death, crashes.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

constexpr std::uint64_t kTierBlocks = 256;

class TiersTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateRequest r;
    r.name = "db0";
    r.size_bytes = kTierBlocks * kTestBlock;
    r.to = "hdd";
    r.block_bytes = kTestBlock;
    auto made = m.engine().CreateVolume(r);
    ASSERT_TRUE(made.ok()) << made.error().ToString();
    for (std::uint64_t b = 0; b < kTierBlocks; ++b) ASSERT_TRUE(target().Write(b, 1000 + b));
    m.world.AddDisk("/dev/fast", 16 * kTestBlock);
    free_ = m.world.lvs.size();
  }
  sim::SimTarget& target() { return m.world.target("db0"); }
  static AddTierRequest Add(TierLevel level, bool write_back, const std::string& to = "nvme") {
    AddTierRequest r;
    r.volume = "db0";
    r.level = level;
    r.to = to;
    r.size_bytes = to[0] == '/' ? 0 : 32 * kTestBlock;
    r.write_back = write_back;
    return r;
  }
  TierInfo Tier1(bool write_back, const std::string& to = "nvme") {
    auto added = m.engine().AddTier(Add(TierLevel::kTier1, write_back, to));
    EXPECT_TRUE(added.ok()) << added.error().ToString();
    return added.ok() ? *added : TierInfo{};
  }
  void Tell(const std::string& message) {
    const auto sent = m.world.dm().Message("db0", message);
    ASSERT_TRUE(sent.ok()) << sent.error().ToString();
    m.Pass(1000);
  }
  std::optional<TierInfo> Find(TierLevel level) {
    const auto all = m.engine().ListTiers("db0");
    EXPECT_TRUE(all.ok());
    for (const TierInfo& t : all->tiers) {
      if (t.level == level) return t;
    }
    return std::nullopt;
  }
  bool Wait(const std::function<bool()>& done, int ticks = 600) {
    for (int i = 0; i < ticks && !done(); ++i) {
      m.engine().Step();
      m.Pass(200);
    }
    return done();
  }
  void ExpectData(std::uint64_t changed = 0) {
    for (std::uint64_t b = 0; b < kTierBlocks; ++b) {
      ASSERT_EQ(target().Read(b), std::optional<std::uint64_t>(b < changed ? 5000 + b : 1000 + b))
          << b;
    }
  }
  Machine m;
  std::size_t free_ = 0;
};

TEST_F(TiersTest, ATierOfAClassIsMadeServesAndGoes) {
  const TierInfo t = Tier1(true);
  EXPECT_EQ(t.state, "active");
  EXPECT_EQ(t.health, "ok");
  EXPECT_TRUE(t.write_back);
  EXPECT_GE(t.size_bytes, 32 * kTestBlock);
  EXPECT_EQ(m.world.lvs.size(), free_ + 1);
  Tell("promote tier1 0+8");
  for (std::uint64_t b = 0; b < 8; ++b) ASSERT_TRUE(target().Write(b, 5000 + b));
  EXPECT_EQ(Find(TierLevel::kTier1)->dirty_bytes, 8 * kTestBlock);
  const auto map = m.engine().GetTierMap("db0");
  ASSERT_TRUE(map.ok());
  ASSERT_EQ(map->size(), 1U);
  EXPECT_EQ(map->front().range.count, 8U);

  RemoveTierRequest r;
  r.volume = "db0";
  const auto going = m.engine().RemoveTier(r);
  ASSERT_TRUE(going.ok()) << going.error().ToString();
  EXPECT_EQ(going->state, "removing");
  EXPECT_FALSE(m.engine().AddTier(Add(TierLevel::kTier1, false)).ok());
  ASSERT_TRUE(Wait([&] { return !Find(TierLevel::kTier1); }));
  EXPECT_EQ(m.world.lvs.size(), free_);
  ExpectData(8);
}

TEST_F(TiersTest, TheKernelIsToldWhereReadsMayFetch) {
  const auto fetch = [&] { return ReadStatus(m.world.dm(), "db0")->kernel.fetch; };
  TierPolicy policy;
  policy.policy = "ewma";
  policy.window_ms = 1200;
  ASSERT_TRUE(m.engine().SetTierPolicy("db0", policy).ok());
  Tier1(false);
  EXPECT_TRUE(Wait([&] { return fetch() == "tier1"; })) << fetch();
  ASSERT_TRUE(m.engine().AddTier(Add(TierLevel::kTier2, false)).ok());
  EXPECT_TRUE(Wait([&] { return fetch() == "tier2"; })) << "the one that has the room";
  m.world.Reboot();
  m.Boot();
  EXPECT_TRUE(Wait([&] { return fetch() == "tier2"; })) << "after a reboot, too";
  policy.policy = "off";
  ASSERT_TRUE(m.engine().SetTierPolicy("db0", policy).ok());
  EXPECT_TRUE(Wait([&] { return fetch() == "off"; }));
  policy.policy = "ewma";
  ASSERT_TRUE(m.engine().SetTierPolicy("db0", policy).ok());
  EXPECT_TRUE(Wait([&] { return fetch() == "tier2"; }));
  RemoveTierRequest r;
  r.volume = "db0";
  r.level = TierLevel::kTier2;
  ASSERT_TRUE(m.engine().RemoveTier(r).ok());
  EXPECT_TRUE(Wait([&] { return !Find(TierLevel::kTier2); }));
  EXPECT_TRUE(Wait([&] { return fetch() == "tier1"; })) << fetch();
}

TEST_F(TiersTest, ARepeatedRequestIsTheSameTier) {
  AddTierRequest r = Add(TierLevel::kTier1, false);
  r.request_id = "one";
  ASSERT_TRUE(m.engine().AddTier(r).ok());
  EXPECT_TRUE(m.engine().AddTier(r).ok());
  r.write_back = true;
  EXPECT_EQ(m.engine().AddTier(r).error().code, Code::kAlreadyExists);
  EXPECT_EQ(m.world.lvs.size(), free_ + 1);
}

TEST_F(TiersTest, WhatCannotBeATierIsRefusedAndLeavesNothing) {
  AddTierRequest r = Add(TierLevel::kTier1, false, "/dev/nothing");
  EXPECT_EQ(m.engine().AddTier(r).error().code, Code::kNotFound);
  r = Add(TierLevel::kTier1, false);
  r.size_bytes = std::uint64_t{1} << 40;
  EXPECT_FALSE(m.engine().AddTier(r).ok());
  r.to = "";
  EXPECT_EQ(m.engine().AddTier(r).error().code, Code::kInvalidArgument);
  r = Add(TierLevel::kTier1, false);
  m.world.FailNext("Load", MakeError(Code::kIoError, "no"));
  EXPECT_FALSE(m.engine().AddTier(r).ok());
  EXPECT_EQ(m.world.lvs.size(), free_);
  EXPECT_FALSE(Find(TierLevel::kTier1));
  EXPECT_TRUE(m.engine().AddTier(r).ok()) << "the same again works";
  m.world.AddDisk("/dev/used", 16 * kTestBlock);
  m.world.filesystems["/dev/used"].type = "ext4";
  EXPECT_EQ(m.engine().AddTier(Add(TierLevel::kTier2, false, "/dev/used")).error().code,
            Code::kFailedPrecondition);
}

TEST_F(TiersTest, TiersAreThereAfterARestartAndAReboot) {
  Tier1(true);
  Tell("promote tier1 0+8");
  for (std::uint64_t b = 0; b < 8; ++b) ASSERT_TRUE(target().Write(b, 5000 + b));
  m.Boot();
  EXPECT_EQ(Find(TierLevel::kTier1)->dirty_bytes, 8 * kTestBlock);
  m.world.Reboot();
  m.Boot();
  ASSERT_TRUE(m.world.HasDevice("db0"));
  EXPECT_EQ(Find(TierLevel::kTier1)->dirty_bytes, 8 * kTestBlock);
  ExpectData(8);
}

TEST_F(TiersTest, AVolumeWithTiersMovesAndGrows) {
  Tier1(true);
  Tell("promote tier1 0+8");
  for (std::uint64_t b = 0; b < 8; ++b) ASSERT_TRUE(target().Write(b, 5000 + b));
  ModifyRequest r;
  r.volume = "db0";
  r.to = "nvme";
  r.size_spec = "+25%";
  r.grace_ms = 0;
  const auto begun = m.engine().Modify(r);
  ASSERT_TRUE(begun.ok()) << begun.error().ToString();
  ASSERT_TRUE(m.RunToEnd(begun->id));
  EXPECT_EQ(m.engine().GetModification(begun->id)->phase, Phase::kCompleted);
  EXPECT_EQ(Find(TierLevel::kTier1)->used_bytes, 8 * kTestBlock);
  ExpectData(8);
}

TEST_F(TiersTest, AShrinkSendsShadowsBeyondTheEndHome) {
  Tier1(true);
  Tell("promote tier1 0+4 250+4");
  for (std::uint64_t b = 0; b < 4; ++b) ASSERT_TRUE(target().Write(b, 5000 + b));
  ModifyRequest r;
  r.volume = "db0";
  r.size_bytes = kTierBlocks / 2 * kTestBlock;
  r.force_shrink = true;
  r.grace_ms = 0;
  const auto begun = m.engine().Modify(r);
  ASSERT_TRUE(begun.ok()) << begun.error().ToString();
  ASSERT_TRUE(m.RunToEnd(begun->id));
  EXPECT_EQ(m.engine().GetModification(begun->id)->phase, Phase::kCompleted);
  EXPECT_EQ(Find(TierLevel::kTier1)->used_bytes, 4 * kTestBlock);
}

TEST_F(TiersTest, ExportBringsTheNewestDataHome) {
  Tier1(true);
  Tell("promote tier1 0+8");
  for (std::uint64_t b = 0; b < 8; ++b) ASSERT_TRUE(target().Write(b, 5000 + b));
  const auto plain = m.engine().ExportVolume("db0");
  ASSERT_TRUE(plain.ok()) << plain.error().ToString();
  for (std::uint64_t b = 0; b < kTierBlocks; ++b) {
    const std::uint64_t cell = b;  // the world keeps a value for each 64 KiB
    EXPECT_EQ(m.world.disks.at(*plain).content.at(cell), b < 8 ? 5000 + b : 1000 + b) << b;
  }
  EXPECT_EQ(m.world.lvs.size(), 1U) << "home alone";
}

TEST_F(TiersTest, DeleteLeavesNothing) {
  Tier1(true);
  ASSERT_TRUE(m.engine().AddTier(Add(TierLevel::kTier2, false, "/dev/fast")).ok());
  Tell("promote tier1 0+8");
  ASSERT_TRUE(m.engine().DeleteVolume({"db0"}).ok());
  EXPECT_EQ(m.world.lvs.size(), 0U);
}

TEST_F(TiersTest, ADeadDeviceIsForgottenOnlyWithItsDataIfItHasAny) {
  Tier1(true, "/dev/fast");
  Tell("promote tier1 0+8");
  for (std::uint64_t b = 0; b < 4; ++b) ASSERT_TRUE(target().Write(b, 5000 + b));
  m.world.Reboot();
  m.world.Disconnect("/dev/fast");
  m.Boot();
  EXPECT_FALSE(m.world.HasDevice("db0")) << "the newest data of some blocks are not there";
  RemoveTierRequest r;
  r.volume = "db0";
  EXPECT_EQ(m.engine().RemoveTier(r).error().code, Code::kFailedPrecondition);
  r.forget = true;
  EXPECT_EQ(m.engine().RemoveTier(r).error().code, Code::kFailedPrecondition);
  r.forget = false;
  r.lost = true;
  EXPECT_EQ(m.engine().RemoveTier(r).error().code, Code::kInvalidArgument);

  m.world.Connect("/dev/fast");  // it is back: nothing was lost
  m.engine().Step();
  ASSERT_TRUE(m.world.HasDevice("db0"));
  ASSERT_TRUE(Wait([&] { return Find(TierLevel::kTier1)->health == "ok"; }));
  for (std::uint64_t b = 0; b < 4; ++b) EXPECT_EQ(target().Read(b), 5000 + b);

  m.world.Reboot();
  m.world.Disconnect("/dev/fast");
  m.Boot();
  r.forget = r.lost = true;
  const auto forgotten = m.engine().RemoveTier(r);
  ASSERT_TRUE(forgotten.ok()) << forgotten.error().ToString();
  EXPECT_FALSE(Find(TierLevel::kTier1));
  ExpectData();  // the blocks read as home has them
}

TEST_F(TiersTest, HotBlocksArePromotedAndExplained) {
  Tier1(false);
  TierPolicy policy;
  policy.policy = "ewma";
  policy.window_ms = 1200;
  ASSERT_TRUE(m.engine().SetTierPolicy("db0", policy).ok());
  policy.policy = "clairvoyant";
  EXPECT_FALSE(m.engine().SetTierPolicy("db0", policy).ok());
  const auto hot = [&] {
    for (std::uint64_t b = 40; b < 48; ++b) (void)target().Read(b);
    return Find(TierLevel::kTier1)->used_bytes >= 8 * kTestBlock &&
           m.engine().ListTiers("db0")->placement.windows > 2;
  };
  ASSERT_TRUE(Wait(hot, 3000)) << m.engine().ListTiers("db0")->placement.notes.size();
  const auto why = m.engine().ExplainBlock("db0", 40);
  ASSERT_TRUE(why.ok());
  EXPECT_EQ(why->place, "tier1");
  EXPECT_FALSE(why->why.empty());
  EXPECT_FALSE(m.engine().ExplainBlock("db0", kTierBlocks).ok());
  const auto heat = m.engine().GetHeatMap("db0", 32);
  ASSERT_TRUE(heat.ok());
  ASSERT_EQ(heat->size(), 32U);
  EXPECT_GT((*heat)[5].warmest, (*heat)[20].warmest);
  const PlacementInfo info = m.engine().ListTiers("db0")->placement;
  EXPECT_EQ(info.ruling, "ewma");
  EXPECT_EQ(info.source, "access");
  EXPECT_GT(info.windows, 0U);
  EXPECT_GT(info.moved_bytes, 0U);
  ExpectData();
}

TEST_F(TiersTest, ABudgetThatIsUsedUpIsSaidOnce) {
  Tier1(false);
  TierPolicy policy;
  policy.policy = "ewma";
  policy.window_ms = 1200;
  policy.budget_bytes_per_minute = kTestBlock;  // one block
  ASSERT_TRUE(m.engine().SetTierPolicy("db0", policy).ok());
  const auto hot = [&] {
    for (std::uint64_t b = 40; b < 60; ++b) (void)target().Read(b);
    return m.engine().ListTiers("db0")->placement.windows > 10;
  };
  ASSERT_TRUE(Wait(hot));
  EXPECT_FALSE(m.engine().ListTiers("db0")->placement.notes.empty());
  const auto events = m.engine().WaitEvents(0, 1000, 0);
  ASSERT_TRUE(events.ok());
  EXPECT_EQ(
      std::count_if(events->begin(), events->end(),
                    [](const Event& e) { return e.message.find("budget") != std::string::npos; }),
      1);
}

TEST_F(TiersTest, WithoutAModelEwmaRulesAndSaysSo) {
  Tier1(false);
  TierPolicy policy;
  policy.window_ms = 1200;
  ASSERT_TRUE(m.engine().SetTierPolicy("db0", policy).ok());
  ASSERT_TRUE(Wait([&] { return m.engine().ListTiers("db0")->placement.windows > 2; }));
  const PlacementInfo info = m.engine().ListTiers("db0")->placement;
  EXPECT_EQ(info.policy.policy, "pam");
  EXPECT_EQ(info.ruling, "ewma");
  EXPECT_FALSE(info.notes.empty());
  const auto events = m.engine().WaitEvents(0, 1000, 0);
  ASSERT_TRUE(events.ok());
  EXPECT_TRUE(std::any_of(events->begin(), events->end(),
                          [](const Event& e) { return e.what == "placement"; }));
}

// A crash anywhere: afterwards the tier is there or not, the data are, and nothing is left over.
TEST_F(TiersTest, CrashesAnywhere) {
  for (const bool reboot : {false, true}) {
    int points = 0;
    for (std::uint64_t n = 1; n < 200; ++n) {
      Machine machine;
      CreateRequest c;
      c.name = "db0";
      c.size_bytes = 16 * kTestBlock;
      c.to = "hdd";
      c.block_bytes = kTestBlock;
      ASSERT_TRUE(machine.engine().CreateVolume(c).ok());
      for (std::uint64_t b = 0; b < 16; ++b) machine.world.target("db0").Write(b, 1000 + b);
      const std::size_t before = machine.world.lvs.size();
      machine.world.CrashAt(n);
      std::uint64_t changed = 0;
      bool crashed = false;
      const auto gone = [&] { return machine.engine().ListTiers("db0")->tiers.empty(); };
      const auto wait = [&](const std::function<bool()>& done) {
        for (int i = 0; i < 200 && !done(); ++i) {
          machine.engine().Step();
          machine.Pass(200);
        }
        return done();
      };
      try {
        AddTierRequest r = Add(TierLevel::kTier1, true);
        r.request_id = "t";
        ASSERT_TRUE(machine.engine().AddTier(r).ok());
        (void)machine.world.dm().Message("db0", "promote tier1 0+4");
        machine.Pass(1000);
        for (; changed < 4; ++changed) machine.world.target("db0").Write(changed, 5000 + changed);
        RemoveTierRequest remove;
        remove.volume = "db0";
        ASSERT_TRUE(machine.engine().RemoveTier(remove).ok());
        wait(gone);
        machine.world.CrashAt(0);
      } catch (const sim::SimCrash& crash) {
        SCOPED_TRACE(crash.where);
        crashed = true;
        ++points;
        machine.world.CrashAt(0);
        if (reboot) machine.world.Reboot();
        machine.Boot();
        ASSERT_TRUE(machine.world.HasDevice("db0"));
        for (std::uint64_t b = 0; b < 16; ++b) {
          ASSERT_EQ(machine.world.target("db0").Read(b),
                    std::optional<std::uint64_t>(b < changed ? 5000 + b : 1000 + b))
              << b;
        }
        const auto tiers = machine.engine().ListTiers("db0")->tiers;
        if (!tiers.empty() && tiers.front().state == "active") {
          RemoveTierRequest remove;
          remove.volume = "db0";
          const auto removed = machine.engine().RemoveTier(remove);
          ASSERT_TRUE(removed.ok()) << removed.error().ToString();
        }
        ASSERT_TRUE(wait(gone));
        EXPECT_EQ(machine.world.lvs.size(), before);
        for (std::uint64_t b = 0; b < 16; ++b) {
          ASSERT_EQ(machine.world.target("db0").Read(b),
                    std::optional<std::uint64_t>(b < changed ? 5000 + b : 1000 + b))
              << b;
        }
      }
      if (!crashed || HasFailure()) break;
    }
    EXPECT_GT(points, 10);
  }
}

}  // namespace
}  // namespace shadow
