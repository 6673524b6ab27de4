// SPDX-License-Identifier: Apache-2.0
// The edges a modification works on, and where its news go. All are owned by the engine and thread
// safe.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/base/ids.h"
#include "daemon/boot/superblock.h"
#include "daemon/dm/block_devices.h"
#include "daemon/dm/device_guard.h"
#include "daemon/dm/device_mapper.h"
#include "daemon/fs/filesystems.h"
#include "daemon/fs/references.h"
#include "daemon/identity/identities.h"
#include "daemon/legs/legs.h"
#include "daemon/modify/copy_order.h"
#include "daemon/store/store.h"

namespace shadow {

class LegHider;

struct Deps {
  Store* store = nullptr;
  DeviceMapper* dm = nullptr;
  BlockDevices* blocks = nullptr;
  DeviceGuard* guard = nullptr;
  Identities* identities = nullptr;
  LegProvider* legs = nullptr;
  Filesystems* fs = nullptr;
  LegHider* hider = nullptr;  // null: nobody looks at devices (tests)
  const Clock* clock = nullptr;
  IdSource* ids = nullptr;
  /// Blocks whose only current copy is on leg 0 (origin), 1 (target), 2 or 3 (tiers), by the
  /// metadata of a volume that is down (daemon/boot/superblock.h).
  std::function<Result<std::uint64_t>(const std::string& metadata, int leg)> only_copies;
  /// The newest superblock on a metadata device; nothing if there is none.
  std::function<Result<std::optional<shadow_superblock>>(const std::string& metadata)> superblock;
  /// Where the machine names a device by its path (daemon/fs/references.h); null: nobody looks.
  std::function<std::vector<Reference>(const std::string& device)> references;
  std::string state_dir;  // metadata backups go to <state_dir>/backup
  std::int64_t default_grace_ms = 600'000;
  /// Adds an event; never fails (it is logged if the store cannot take it).
  std::function<void(Event)> emit;
  /// The order blocks are copied in, for MakeCopyOrder().
  std::string copy_order = "heat";
  /// Who knows the heat of a volume's blocks; null, or a null answer: nobody.
  std::function<std::shared_ptr<const HeatSource>(const std::string& volume)> heat;
};

/// /dev/mapper/<name>
[[nodiscard]] inline std::string DevicePath(const std::string& volume) {
  return "/dev/mapper/" + volume;
}

}  // namespace shadow
