// SPDX-License-Identifier: Apache-2.0
// What the store keeps, as plain types.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/dm/block_devices.h"
#include "daemon/engine/engine.h"
#include "daemon/legs/legs.h"
#include "daemon/modify/machine.h"

namespace shadow {

/// Where a volume is in its own life. Anything but kActive was interrupted if it is found at start.
enum class VolumeState : std::uint8_t { kCreating, kActive, kRemoving };

struct VolumeRecord {
  std::string name;
  std::string uuid;
  VolumeState state = VolumeState::kCreating;
  Leg origin;  // the leg that is the volume's home
  Leg metadata;
  std::uint64_t sectors = 0;
  std::uint32_t block_sectors = 512;
  bool fresh = false;          // created, not imported: every block was born a hole
  bool remove_origin = false;  // kRemoving: the origin goes as well
  bool imported = false;       // the origin holds data from before: never removed unless asked
  std::int64_t created_ms = 0;
};

/// When a grace period ends. The time of day does not count: it may be set.
struct GraceTime {
  std::string boot_id;            // in which boot `ends_boot_ms` means something; "": not begun
  std::int64_t ends_boot_ms = 0;  // Clock::BootMs() at its end
  std::int64_t left_ms = 0;       // what was left when this was stored; after a reboot, of that
};

struct ModificationRecord {
  std::string id;
  std::string volume;
  ModifyRequest request;
  Plan plan;
  MachineState state;
  Leg origin;                   // as it was at the start
  Leg target;                   // device "" until it is known
  bool target_touched = false;  // it may have been written over
  std::uint64_t old_sectors = 0, new_sectors = 0;
  std::string error;                  // last thing that went wrong, "" when nothing
  std::vector<std::string> left_out;  // what was asked for and not done; sentences
  std::vector<std::string> wiped;     // "offset:hex", what the old origin's signatures were
  std::int64_t started_ms = 0, finished_ms = 0;
  std::int64_t grace_ends_ms = 0;  // for people: the clock may be set meanwhile
  GraceTime grace;                 // what counts
  std::uint64_t bytes_total = 0, bytes_copied = 0, cutover_pause_us = 0, mirrored_writes = 0;
  std::uint64_t baseline_p50_us = 0, baseline_p99_us = 0;
};

/// How far a tier is on its way in or out. Tables have it while kActive and kRemoving.
enum class TierPhase : std::uint8_t {
  kNone,
  kAdding,  // its leg is made; the table with it is tried again after a crash
  kActive,
  kRemoving,    // its shadows go home
  kForgetting,  // its shadows are dropped; the kernel may know it still, or not any more
  kReleasing,   // no table has it; its leg is removed
};
inline constexpr int kTierPhases = 6;

struct TierRecord {
  TierPhase phase = TierPhase::kNone;
  std::string to;               // class or device, as asked
  Leg leg;                      // device "" until it is known
  std::string overwrite;        // what may be written over on it, as asked
  bool touched = false;         // it may have been written over
  bool unstable_names = false;  // a device with nothing but a name will do
  std::uint64_t size_bytes = 0;
  bool write_back = false;
  bool lost = false;  // kForgetting: dirty shadows may be dropped
  std::string request_id;
};

/// The tiers of a volume and who decides what lies on them.
struct TiersRecord {
  std::string volume;
  std::array<TierRecord, kTiers> tiers;
  TierPolicy policy;
  std::uint64_t metadata_end = 0;  // where the slot area ends, bytes; 0: there is none

  [[nodiscard]] bool Any() const {
    return tiers[0].phase != TierPhase::kNone || tiers[1].phase != TierPhase::kNone;
  }
};

/// Who has a device. One owner for each, whether the volume is active or not.
struct DeviceOwner {
  std::string volume;
  std::string role;  // "origin", "target", "metadata", "tier1", "tier2"
};

/// A device that a volume had.
struct ReleasedDevice {
  std::string id;
  bool reusable = false;   // shadowd's own data is on it; else somebody's
  std::string signatures;  // a fingerprint of what was recognised on it then
  std::string note;        // "the data of volume db0, which was exported"
};

/// Who used a request id, and for what. `body` is the request as text: same id, same body.
struct RequestRecord {
  std::string id;
  std::string kind;  // "create", "import", "modify", "tier-add", ...
  std::string body;
  std::string object;  // volume name or modification id
};

}  // namespace shadow
