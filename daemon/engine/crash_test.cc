// SPDX-License-Identifier: Apache-2.0
// The daemon is killed at every call it makes into the world, before and after the call's effect,
// with and without a reboot; then it runs to the end. No acknowledged write may be lost, nothing
// left over.
#include <gtest/gtest.h>

#include "daemon/engine/testing.h"

namespace shadow {
namespace {

constexpr std::uint64_t kBlocks = 64;

enum class Story { kMove, kMoveGrow, kEagerAbort, kRollBack, kGrowInPlace, kShrinkInPlace };

struct Case {
  Story story;
  bool reboot;
};

class Saga {
 public:
  explicit Saga(const Case& c) : case_(c) {
    CreateRequest r;
    r.name = "db0";
    r.size_bytes = kBlocks * kTestBlock;
    r.to = "hdd";
    r.block_bytes = kTestBlock;
    EXPECT_TRUE(m.engine().CreateVolume(r).ok());
    for (std::uint64_t b = 0; b < kBlocks; ++b) Write(b);
    // Slow enough that blocks are retired while others are still copied.
    m.world.device_kib_per_s = c.story == Story::kEagerAbort ? 1024 : 4 * 1024;
  }

  // Runs the story; a crash at the n-th point (0: none) is survived once. Returns the points
  // passed.
  std::uint64_t Run(std::uint64_t crash_at) {
    m.world.CrashAt(crash_at);
    bool crashed = false;
    for (int round = 0; round < 2; ++round) {
      try {
        Act();
        break;
      } catch (const sim::SimCrash& crash) {
        EXPECT_FALSE(crashed);
        crashed = true;
        where = crash.where;
        m.world.CrashAt(0);
        if (case_.reboot) m.world.Reboot();
        m.Boot();
      }
    }
    return m.world.points;
  }

  void Check() {
    ASSERT_TRUE(m.world.HasDevice("db0"));
    const std::uint64_t blocks = case_.story == Story::kShrinkInPlace ? kBlocks / 2 : kBlocks;
    for (std::uint64_t b = 0; b < blocks; ++b) {
      ASSERT_EQ(m.world.target("db0").Read(b), std::optional<std::uint64_t>(values_[b])) << b;
    }
    const ModificationInfo info = *m.engine().GetModification(id_);
    const bool back = case_.story == Story::kEagerAbort || case_.story == Story::kRollBack;
    EXPECT_EQ(PhaseName(info.phase),
              std::string(PhaseName(back ? Phase::kAborted : Phase::kCompleted)))
        << info.error;
    // Origin and metadata, nothing else, and the volume lies where it should.
    EXPECT_EQ(m.world.lvs.size(), 2U);
    const VolumeInfo v = *m.engine().GetVolume("db0");
    const bool moved = case_.story == Story::kMove || case_.story == Story::kMoveGrow;
    EXPECT_EQ(v.storage_class, moved ? "nvme" : "hdd");
    EXPECT_EQ(v.kernel.phase, "steady");
    EXPECT_FALSE(m.world.devices.at("db0").inactive.has_value()) << "it would hold a leg open";
    // And it is all there after one more reboot.
    m.world.Reboot();
    m.Boot();
    ASSERT_TRUE(m.world.HasDevice("db0"));
    EXPECT_EQ(m.world.target("db0").Read(1), std::optional<std::uint64_t>(values_[1]));
  }

  std::string where = "nowhere";

 private:
  void Write(std::uint64_t block) {
    ++next_;
    if (!m.world.HasDevice("db0")) return;
    if (m.world.target("db0").Write(block, next_)) values_[block] = next_;
  }

  // One tick of the daemon, and the application's writes all the while.
  bool Tick() {
    const bool more = m.engine().Step() > 0;
    if (case_.story != Story::kShrinkInPlace) Write(next_ * 7 % kBlocks);
    m.Pass(100);
    return more;
  }

  ModifyRequest Request() const {
    ModifyRequest r;
    r.volume = "db0";
    r.request_id = "the-one";
    r.impact = Impact::kFull;
    r.grace_ms = 1000;
    switch (case_.story) {
      case Story::kMoveGrow:
        r.size_spec = "8M";
        [[fallthrough]];
      case Story::kMove:
        r.to = "nvme";
        break;
      case Story::kEagerAbort:
      case Story::kRollBack:
        r.to = "nvme";
        r.retire = Retire::kEager;
        r.grace_ms = 1'000'000;
        break;
      case Story::kGrowInPlace:
        r.size_spec = "8M";
        break;
      case Story::kShrinkInPlace:
        r.size_spec = "2M";
        r.force_shrink = true;
        break;
    }
    return r;
  }

  void Act() {
    // A client that retries with the same request id, as one should.
    auto started = m.engine().Modify(Request());
    ASSERT_TRUE(started.ok()) << started.error().ToString();
    id_ = started->id;
    for (int i = 0; i < 2000; ++i) {
      TurnBack();
      if (!Tick()) break;
    }
    EXPECT_TRUE(IsFinal(m.engine().GetModification(id_)->phase))
        << PhaseName(m.engine().GetModification(id_)->phase) << " "
        << m.engine().GetModification(id_)->error;
  }

  // The user changes her mind at a fixed place of the story.
  void TurnBack() {
    const ModificationInfo info = *m.engine().GetModification(id_);
    if (case_.story == Story::kEagerAbort && info.phase == Phase::kCopying &&
        m.engine().GetVolume("db0")->kernel.target > 8) {
      EXPECT_TRUE(m.engine().Abort(id_).ok());
    }
    if (case_.story == Story::kRollBack && info.phase == Phase::kGrace) {
      EXPECT_TRUE(m.engine().RollBack(id_).ok());
    }
  }

  Case case_;
  Machine m;
  std::string id_;
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, std::uint64_t> values_;
};

class CrashTest : public testing::TestWithParam<Case> {};

TEST_P(CrashTest, AtEveryCall) {
  std::uint64_t points = 0;
  {
    Saga calm(GetParam());
    points = calm.Run(0);
    calm.Check();
  }
  ASSERT_GT(points, 10U);
  for (std::uint64_t n = 1; n <= points; ++n) {
    Saga saga(GetParam());
    saga.Run(n);
    SCOPED_TRACE("killed at point " + std::to_string(n) + ": " + saga.where);
    saga.Check();
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Stories, CrashTest,
    testing::Values(Case{Story::kMove, false}, Case{Story::kMove, true},
                    Case{Story::kMoveGrow, false}, Case{Story::kMoveGrow, true},
                    Case{Story::kEagerAbort, false}, Case{Story::kEagerAbort, true},
                    Case{Story::kRollBack, false}, Case{Story::kRollBack, true},
                    Case{Story::kGrowInPlace, false}, Case{Story::kGrowInPlace, true},
                    Case{Story::kShrinkInPlace, false}, Case{Story::kShrinkInPlace, true}));

// Creating and deleting: after a crash the volume is there or it is not, and nothing is left over.
TEST(CrashVolumes, CreateAndDelete) {
  for (bool reboot : {false, true}) {
    for (std::uint64_t n = 1; n < 60; ++n) {
      Machine m;
      m.world.CrashAt(n);
      CreateRequest r;
      r.name = "db0";
      r.size_bytes = 4 * kTestMiB;
      r.to = "hdd";
      r.request_id = "c";
      try {
        if (m.engine().CreateVolume(r).ok()) (void)m.engine().DeleteVolume({"db0"});
        m.world.CrashAt(0);
      } catch (const sim::SimCrash& crash) {
        SCOPED_TRACE(crash.where);
        m.world.CrashAt(0);
        if (reboot) m.world.Reboot();
        m.Boot();
        const bool there = m.engine().GetVolume("db0").ok();
        EXPECT_EQ(m.world.HasDevice("db0"), there);
        EXPECT_EQ(m.world.lvs.size(), there ? 2U : 0U);
        EXPECT_TRUE(there || m.engine().CreateVolume(r).ok());
      }
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace shadow
