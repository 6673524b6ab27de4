// SPDX-License-Identifier: Apache-2.0
// An engine in a simulated world, for tests: without threads, stepped by hand.
#pragma once

#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "daemon/base/ids.h"
#include "daemon/engine/engine_impl.h"
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

/// The store with crash points around its writes.
class CrashingStore final : public Store {
 public:
  CrashingStore(Store* inner, sim::SimWorld* world) : s_(*inner), w_(*world) {}
  Result<std::vector<VolumeRecord>> Volumes() override { return s_.Volumes(); }
  Result<std::vector<DamagedRow>> Damaged() override { return s_.Damaged(); }
  Status PutVolume(const VolumeRecord& record, const RequestRecord* request) override {
    return Guard("PutVolume", [&] { return s_.PutVolume(record, request); });
  }
  Status RemoveVolume(const std::string& name) override {
    return Guard("RemoveVolume", [&] { return s_.RemoveVolume(name); });
  }
  Result<TiersRecord> Tiers(const std::string& volume) override { return s_.Tiers(volume); }
  Status PutTiers(const TiersRecord& record, const RequestRecord* request) override {
    return Guard("PutTiers", [&] { return s_.PutTiers(record, request); });
  }
  Status PutModification(const ModificationUpdate& update) override {
    return Guard("PutModification", [&] { return s_.PutModification(update); });
  }
  Result<std::vector<ModificationRecord>> Modifications(const std::string& volume) override {
    return s_.Modifications(volume);
  }
  Result<std::optional<DeviceOwner>> OwnerOf(const std::string& device_id) override {
    return s_.OwnerOf(device_id);
  }
  Result<std::map<std::string, DeviceOwner>> Owners() override { return s_.Owners(); }
  Status PutReleased(const ReleasedDevice& device) override {
    return Guard("PutReleased", [&] { return s_.PutReleased(device); });
  }
  Result<std::optional<ReleasedDevice>> FindReleased(const std::string& device_id) override {
    return s_.FindReleased(device_id);
  }
  Result<std::vector<ModificationRecord>> NewestModifications(const std::string& volume,
                                                              std::size_t limit) override {
    return s_.NewestModifications(volume, limit);
  }
  Result<std::optional<ModificationRecord>> FindModification(const std::string& id) override {
    return s_.FindModification(id);
  }
  Status Prune(std::int64_t before_ms) override { return s_.Prune(before_ms); }
  Result<std::vector<HistoryEntry>> History(const std::string& id) override {
    return s_.History(id);
  }
  Result<std::optional<RequestRecord>> FindRequest(const std::string& id) override {
    return s_.FindRequest(id);
  }
  Result<std::uint64_t> AddEvent(const Event& event) override { return s_.AddEvent(event); }
  Result<std::vector<Event>> EventsAfter(std::uint64_t seq, std::size_t limit) override {
    return s_.EventsAfter(seq, limit);
  }
  Status PutSpeed(const std::string& key, const DeviceSpeed& speed) override {
    return s_.PutSpeed(key, speed);
  }
  Result<std::optional<DeviceSpeed>> FindSpeed(const std::string& key) override {
    return s_.FindSpeed(key);
  }
  Status CheckWritable() override {
    SHADOW_TRY(w_.Injected("Store"));
    return s_.CheckWritable();
  }

 private:
  template <typename F>
  Status Guard(const char* what, F write) {
    w_.Point(std::string("before ") + what);
    SHADOW_TRY(w_.Injected("Store"));
    Status done = write();
    w_.Point(std::string("after ") + what);
    return done;
  }
  Store& s_;
  sim::SimWorld& w_;
};

/// A machine with two volume groups and a daemon that can be killed and started again.
class Machine {
 public:
  explicit Machine(const std::string& state_file = ":memory:") {
    spdlog::set_level(spdlog::level::off);
    world.AddGroup("hdd", 512 * kTestMiB);
    world.AddGroup("nvme", 512 * kTestMiB);
    store_ = OpenStore({state_file}).value();
    crashing_ = std::make_unique<CrashingStore>(store_.get(), &world);
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
    crashing_ = std::make_unique<CrashingStore>(store_.get(), &world);
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
  std::unique_ptr<CrashingStore> crashing_;
  std::unique_ptr<EngineImpl> engine_;
};

}  // namespace shadow
