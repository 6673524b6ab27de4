// SPDX-License-Identifier: Apache-2.0
// Puts one volume together from its metadata device: what dm-shadow-activate and shadowd share.
//
// The superblock names the legs by identity; they are looked up, logical volumes among them are
// activated, sizes are verified, and the device is made. Everything or nothing: a leg that is not
// there, is too short, or is not the one that was recorded makes the volume wait. Only if the
// caller allows it is a volume started without a leg, and then only if no block has its only
// current copy there. One process at a time works on a volume (a lock in /run/dm-shadow).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/process.h"
#include "daemon/base/result.h"
#include "daemon/boot/leg_table.h"
#include "daemon/boot/superblock.h"
#include "daemon/dm/block_devices.h"
#include "daemon/dm/device_mapper.h"
#include "daemon/identity/identities.h"

namespace shadow {

/// The edges it works on.
struct ActivatorDeps {
  DeviceMapper* dm = nullptr;
  Identities* identities = nullptr;
  ProcessRunner* runner = nullptr;  // LVM's commands; null: logical volumes are active or missing
  const LegTables* legs = nullptr;
  std::string lock_directory = "/run/dm-shadow";
};

struct ActivateOptions {
  bool without_missing = false;  // start without legs that no block needs
  std::string name;              // overrides the name in the metadata, for recover
};

struct Activation {
  enum class State { kUp, kWaiting };
  State state = State::kWaiting;
  std::string name, uuid;
  bool made = false;                 // by this call; false: it was up before
  std::vector<std::string> missing;  // legs, as sentences; up: it runs without them
};

class Activator {
 public:
  explicit Activator(ActivatorDeps deps) : deps_(deps) {}

  /// kNotFound: no metadata of a volume lies there. kUnavailable: somebody else is at it, or the
  /// kernel has no shadow target. kFailedPrecondition: the name is taken, or the kernel refused.
  Result<Activation> Activate(const std::string& metadata, const ActivateOptions& options);

  /// The legs of a superblock where they are now; what is missing, as sentences.
  struct Found {
    LegPaths paths;
    std::vector<std::string> missing;
    std::vector<int> missing_legs;
  };
  Found Find(const shadow_superblock& sb);

 private:
  Result<std::string> FindLeg(const shadow_superblock& sb, int leg);
  void ActivateLogicalVolume(const std::string& uuid);

  ActivatorDeps deps_;
};

/// Is the id one of a logical volume (LVM's UUID)?
[[nodiscard]] bool IsLvUuid(const std::string& id);

/// Metadata devices of volumes on this machine: every block device whose first 8 KiB say so and
/// that is not itself a volume. Devices that cannot be read are left out.
[[nodiscard]] std::vector<std::string> FindMetadataDevices(const std::string& sys = "/sys");

}  // namespace shadow
