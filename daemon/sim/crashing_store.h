// SPDX-License-Identifier: Apache-2.0
// The real store, with crash points of the world around its writes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/sim/sim_world.h"
#include "daemon/store/store.h"

namespace shadow::sim {

class CrashingStore final : public Store {
 public:
  CrashingStore(Store* inner, SimWorld* world) : s_(*inner), w_(*world) {}
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

  /// How often something may have changed.
  [[nodiscard]] std::uint64_t writes() const { return writes_; }

 private:
  template <typename F>
  Status Guard(const char* what, F write) {
    w_.Point(std::string("before ") + what);
    SHADOW_TRY(w_.Injected("Store"));
    Status done = write();
    ++writes_;
    w_.Point(std::string("after ") + what);
    return done;
  }
  std::uint64_t writes_ = 0;
  Store& s_;
  SimWorld& w_;
};

}  // namespace shadow::sim
