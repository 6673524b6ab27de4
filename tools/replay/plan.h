// SPDX-License-Identifier: Apache-2.0
// What to send to the device, and when: a trace cut to a piece of it, sped up and folded.
//
// Pure functions; one thread. Nothing here touches a device.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/base/result.h"
#include "pam/trace/request.h"

namespace shadow::replay {

inline constexpr std::uint32_t kLargestIo = 4u << 20;  // bytes; longer requests are cut

struct PlanOptions {
  double speed = 1;       // above 0: twice as fast with 2
  double start_s = 0;     // of the trace's time; what is before it is left out
  double duration_s = 0;  // of the trace's time; 0: to its end
  std::uint64_t device_bytes = 0;
  std::uint32_t align = 512;  // bytes, a power of two: the device's logical block
  bool fold = false;          // offsets modulo the size of the device
  bool skip_writes = false;
};

struct PlannedIo {
  std::int64_t due_ns = 0;   // since the beginning of the replay
  std::uint64_t offset = 0;  // bytes, aligned
  std::uint32_t length = 0;  // bytes, aligned, 1 .. kLargestIo
  bool write = false;
};

struct Plan {
  std::vector<PlannedIo> ios;  // ascending due_ns
  std::uint64_t requests = 0;  // of the trace that they stand for
  std::uint64_t folded = 0;    // requests that lay beyond the device's end
  std::uint64_t skipped = 0;   // writes left out
  std::int64_t span_ns = 0;    // when the last one is due
};

/// Devices of the trace are laid side by side. An unaligned request becomes the aligned one around
/// it. Errors: kInvalidArgument: options out of range, nothing left of the trace, or (without
/// `fold`) a request beyond the end of the device.
Result<Plan> MakePlan(const pam::Trace& trace, const PlanOptions& options);

}  // namespace shadow::replay
