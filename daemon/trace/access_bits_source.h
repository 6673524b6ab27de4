// SPDX-License-Identifier: Apache-2.0
// Accesses from the kernel's `access` message: bits that the target keeps anyway, which tell that a
// block was read or written since they were last asked for.
//
// Loses nothing and costs next to nothing (docs/trace.md), but a bit is no count: the bits are
// taken kHarvests times a window, so `count` is the number of harvests that found the block read
// plus those that found it written, and says nothing above that. One thread owns it. A suspended
// volume takes no such message; its bits wait for the next harvest.
#pragma once

#include <memory>
#include <string>

#include "daemon/dm/device_mapper.h"
#include "daemon/trace/access_source.h"

namespace shadow {

/// Harvests in a window. The more, the closer is the count to the number of accesses; why this
/// many: docs/trace.md.
inline constexpr int kHarvests = 12;

struct AccessBitsOptions {
  std::string volume;             // dm name
  std::uint64_t block_bytes = 0;  // of the volume
  std::int64_t window_us = 60'000'000;
  std::string sysfs = "/sys";  // for the volume's own count of requests and bytes
};

/// `dm` must outlive it. Start() fails with what the message fails with (kNotFound, ...).
[[nodiscard]] std::unique_ptr<AccessSource> MakeAccessBitsSource(DeviceMapper* dm,
                                                                 const AccessBitsOptions& options);

}  // namespace shadow
