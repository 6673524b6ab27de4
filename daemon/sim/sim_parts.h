// SPDX-License-Identifier: Apache-2.0
// What the parts of the simulated world share with each other, and with nobody else.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "daemon/sim/sim_world.h"

namespace shadow::sim {

/// One call of the daemon into the world: holds its mutex, passes the crash points, fails if the
/// test wants it to. An empty name: a call without effect, which nothing can interrupt.
class Call {
 public:
  Call(SimWorld* world, std::string name, const std::string& what)
      : world_(*world), lock_(world->mutex), name_(std::move(name)), what_(what) {
    world_.Begin(name_);
    if (!name_.empty()) world_.Point("before " + name_ + " " + what_);
  }
  [[nodiscard]] Status before() const { return world_.Injected(name_); }
  [[nodiscard]] Status after() const {
    if (name_.empty()) return Ok();
    world_.log.push_back(name_ + " " + what_);
    world_.Point("after " + name_ + " " + what_);
    return world_.Injected("after " + name_);
  }

 private:
  SimWorld& world_;
  std::lock_guard<std::recursive_mutex> lock_;
  std::string name_, what_;
};

/// "<first>" or "<first>+<count>" of a message; nothing if it is neither.
std::optional<BlockRange> MessageRange(std::string_view word);
/// What the kernel answers when it refuses.
Error Refuse(const std::string& why);
/// Is the device a leg, or the metadata, of the table?
inline bool Uses(const ShadowTable& t, const std::string& device) {
  bool tier = false;
  for (const auto& one : t.tiers) tier = tier || (one && one->leg.device == device);
  return tier || t.origin.device == device || t.metadata == device ||
         (t.target && t.target->device == device);
}
inline constexpr std::size_t kSimQueueRanges = 16384;
inline constexpr std::size_t kSimAnswerRuns = 50;  // small on purpose: callers must go on asking

/// The bucket of the statistics' histogram that an I/O of so many microseconds falls into.
inline std::size_t LatencyBucket(std::uint64_t us) {
  const auto& bounds = BucketBoundsNs();
  return static_cast<std::size_t>(std::lower_bound(bounds.begin(), bounds.end(), us * 1000) -
                                  bounds.begin());
}

std::unique_ptr<DeviceMapper> MakeSimDeviceMapper(SimWorld* world);
std::unique_ptr<BlockDevices> MakeSimBlockDevices(SimWorld* world);
std::unique_ptr<LegProvider> MakeSimLegs(SimWorld* world);
std::unique_ptr<Identities> MakeSimIdentities(SimWorld* world);
std::unique_ptr<DeviceGuard> MakeSimGuard(SimWorld* world);
std::unique_ptr<Filesystems> MakeSimFilesystems(SimWorld* world);

}  // namespace shadow::sim
