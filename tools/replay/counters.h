// SPDX-License-Identifier: Apache-2.0
// What the device under a replay counted: hits of each tier, blocks moved, bytes of the devices
// below.
//
// For volumes of dm-shadow and dm-cache; any other device has no tiers. Two snapshots, before and
// after. Parsers are pure, and treat the status line as hostile. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/dm/device_mapper.h"
#include "tools/replay/plan.h"

namespace shadow::replay {

/// Bytes that a device has moved since it was made (/sys/block/*/stat).
struct DeviceBytes {
  std::uint64_t read = 0, written = 0;
};

struct Snapshot {
  std::string type;                             // "shadow", "cache", or "" (no tiers)
  std::uint64_t block_bytes = 0;                // of the volume or the cache
  std::map<std::string, std::uint64_t> counts;  // from the status line
  std::map<std::string, DeviceBytes> legs;      // devices right below, by the kernel's name
};

/// Parses what dm says of one target. kDataLoss: not as documented.
Result<Snapshot> ParseTarget(const std::string& type, std::string_view params);

/// The dm name of a device (/dev/mapper/x, /dev/dm-0), "" if it is none.
[[nodiscard]] std::string DmName(const std::string& path, const std::string& sysfs = "/sys");

/// Of the device at `path`. A device that is not device mapper's has legs only if the kernel lists
/// some.
Result<Snapshot> TakeSnapshot(DeviceMapper* dm, const std::string& path,
                              const std::string& sysfs = "/sys");

/// Hits of one tier. `of` counts the pieces into which the volume's blocks cut the requests.
struct TierHits {
  std::string tier;  // "tier1", "tier2", "cache"
  std::uint64_t reads = 0, writes = 0;
};

struct Difference {
  std::string type;
  std::uint64_t pieces_read = 0, pieces_written = 0;  // what the hits are out of
  std::vector<TierHits> tiers;
  std::optional<std::uint64_t> promoted, demoted, written_back;  // blocks; none: not counted
  std::uint64_t block_bytes = 0;
  std::uint64_t legs_read = 0, legs_written = 0;  // bytes, of all devices below
};

[[nodiscard]] Difference Compare(const Snapshot& before, const Snapshot& after, const Plan& plan);

}  // namespace shadow::replay
