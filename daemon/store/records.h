// SPDX-License-Identifier: Apache-2.0
// What the store keeps, as plain types.
#pragma once

#include <cstdint>
#include <string>

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

struct ModificationRecord {
  std::string id;
  std::string volume;
  ModifyRequest request;
  Plan plan;
  MachineState state;
  Leg origin;  // as it was at the start
  Leg target;  // device "" until it is known
  std::uint64_t old_sectors = 0, new_sectors = 0;
  std::string error;  // last thing that went wrong, "" when nothing
  std::int64_t started_ms = 0, finished_ms = 0, grace_ends_ms = 0;
  std::uint64_t bytes_total = 0, bytes_copied = 0, cutover_pause_us = 0, mirrored_writes = 0;
  std::uint64_t baseline_p50_us = 0, baseline_p99_us = 0;
};

/// Who used a request id, and for what. `body` is the request as text: same id, same body.
struct RequestRecord {
  std::string id;
  std::string kind;  // "create", "import", "modify"
  std::string body;
  std::string object;  // volume name or modification id
};

}  // namespace shadow
