// SPDX-License-Identifier: Apache-2.0
// What a placement policy sees and says: accesses of a window in, a ranking of blocks out.
//
// Policies: pam (the model in its worker process), ewma, lru, off. A policy only ranks; which moves
// are worth their cost is decided from the ranking by the planner (daemon/place/planner.h), the
// same for all. Owned and called by one placement thread; nothing here is thread safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace shadow {

/// Accesses of one block in one window.
struct BlockAccess {
  std::uint32_t block = 0;
  std::uint32_t count = 0;   // at least 1; from `access` bits: 1 for each of read and written
  std::uint32_t writes = 0;  // among them
};

/// One closed window of a volume.
struct AccessWindow {
  std::int64_t start_us = 0;         // since the epoch
  std::int64_t length_us = 0;        // 60 s by default; scaled in replays
  std::vector<BlockAccess> blocks;   // ascending
  std::uint64_t ops = 0, bytes = 0;  // of the volume
  std::uint64_t lost = 0;            // trace events that were lost in it
};

/// What a policy expects of a block from now on.
struct BlockHeat {
  std::uint32_t block = 0;
  float heat = 0;      // probability of an access within the placement horizon, 0..1
  float accesses = 0;  // expected, discounted with a half-life of 30 min at 60 s windows
  float writes = 0;    // likewise
};

/// Who ranks now, and why it is not who was asked.
struct PolicyState {
  std::string asked;               // "pam", "ewma", "lru", "off"
  std::string ruling;              // who ranks now: "pam", "ewma", ...
  std::string reason;              // a sentence when `ruling` is not `asked`; else ""
  std::uint64_t windows = 0;       // seen
  std::uint64_t known_blocks = 0;  // ever touched
  std::uint64_t state_bytes = 0;   // of all of them, the model's included
};

class PlacementPolicy {
 public:
  virtual ~PlacementPolicy() = default;
  /// A window is over. Never fails: a policy that cannot use it falls back and says so in State().
  virtual void Observe(const AccessWindow& window) = 0;
  /// The blocks worth having on fast devices, by falling `accesses`, at most `most`, without ties
  /// that depend on anything but block numbers and history.
  virtual std::vector<BlockHeat> Rank(std::size_t most) = 0;
  [[nodiscard]] virtual PolicyState State() const = 0;
  /// The volume has another size now.
  virtual void Resize(std::uint64_t blocks) { (void)blocks; }
};

}  // namespace shadow
