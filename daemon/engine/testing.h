// SPDX-License-Identifier: Apache-2.0
// An engine in a simulated world, for tests: without threads, stepped by hand.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "daemon/base/ids.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/sim/crashing_store.h"
#include "daemon/sim/sim_world.h"

namespace shadow {

inline constexpr std::uint64_t kTestMiB = std::uint64_t{1} << 20;
inline constexpr std::uint64_t kTestBlock = std::uint64_t{64} << 10;

/// db0, 256 blocks on the class hdd.
inline CreateRequest SmallVolume() {
  CreateRequest r;
  r.name = "db0";
  r.size_bytes = 256 * kTestBlock;
  r.to = "hdd";
  r.block_bytes = kTestBlock;
  return r;
}

/// A machine with two volume groups and a daemon that can be killed and started again.
class Machine {
 public:
  explicit Machine(const std::string& state_file = ":memory:") {
    spdlog::set_level(spdlog::level::off);
    world.AddGroup("hdd", 512 * kTestMiB);
    world.AddGroup("nvme", 512 * kTestMiB);
    store_ = OpenStore({state_file}).value();
    crashing_ = std::make_unique<sim::CrashingStore>(store_.get(), &world);
    Boot();
  }

  /// (Re)starts the daemon.
  void Boot() {
    engine_.reset();
    Deps deps;
    deps.store = crashing_.get();
    deps.dm = &world.dm();
    deps.blocks = &world.blocks();
    deps.guard = &world.guard();
    deps.identities = &world.identities();
    deps.only_copies = [this](const std::string& metadata, int leg) {
      return world.OnlyCopies(metadata, leg);
    };
    deps.superblock = [this](const std::string& metadata) {
      return Result<std::optional<shadow_superblock>>(world.Superblock(metadata));
    };
    deps.legs = &world.legs();
    deps.fs = &world.fs();
    deps.clock = &clock;
    deps.ids = &ids;
    deps.state_dir = testing::TempDir() + "shadow-engine-test";
    EngineOptions options;
    options.threads = false;
    options.sleep = [this](std::int64_t ms) { Pass(ms); };
    engine_ = std::make_unique<EngineImpl>(deps, options);
    const Status started = engine_->Start();
    EXPECT_TRUE(started.ok()) << started.error().ToString();
  }

  /// The state directory is gone; the daemon starts with an empty one.
  void LoseState() {
    engine_.reset();
    store_ = OpenStore({":memory:"}).value();
    crashing_ = std::make_unique<sim::CrashingStore>(store_.get(), &world);
    Boot();
  }

  EngineImpl& engine() { return *engine_; }
  void Pass(std::int64_t ms) {
    clock.AdvanceMs(ms);
    world.Advance(ms);
  }
  /// Steps until nothing runs any more or `done` says so; false if it takes too long.
  bool RunUntil(const std::function<bool()>& done, int ticks = 3000) {
    for (int i = 0; i < ticks; ++i) {
      if (done()) return true;
      if (engine_->Step() == 0) return done();
      Pass(100);
    }
    return done();
  }
  bool RunToEnd(const std::string& id) {
    return RunUntil([&] { return IsFinal(engine_->GetModification(id)->phase); });
  }
  bool RunTo(const std::string& id, Phase phase) {
    return RunUntil([&] { return engine_->GetModification(id)->phase == phase; });
  }

  sim::SimWorld world;
  ManualClock clock;
  CountingIds ids;

 private:
  std::unique_ptr<Store> store_;
  std::unique_ptr<sim::CrashingStore> crashing_;
  std::unique_ptr<EngineImpl> engine_;
};

}  // namespace shadow
