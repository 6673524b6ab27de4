// SPDX-License-Identifier: Apache-2.0
// Cuts a trace into windows: which blocks were accessed in each, how often, how many were writes.
//
// Pure functions over a Trace; one thread. A request that spans several blocks counts once for
// each. Several devices of one trace are laid side by side, each rounded up to whole regions.
#pragma once

#include <cstdint>
#include <vector>

#include "daemon/base/result.h"
#include "pam/trace/request.h"

namespace shadow::pam {

/// Accesses of one block in one window. reads = count - writes.
struct Access {
  std::uint32_t block = 0;
  std::uint32_t count = 0;
  std::uint32_t writes = 0;
};

/// One closed window: accesses ascending by block, and the operational parameters of the volume.
struct Window {
  std::vector<Access> accesses;
  std::uint64_t ops = 0;    // requests (IOPS x window)
  std::uint64_t bytes = 0;  // bytes moved (throughput x window)
};

/// A request as the placement simulators replay it: one per touched block.
struct BlockRequest {
  std::int64_t time_us = 0;  // since the start of the first window
  std::uint32_t block = 0;
  bool write = false;
};

struct WindowOptions {
  std::uint64_t block_bytes = 1u << 20;   // 4 KiB .. 1 GiB, a power of two
  std::int64_t window_us = 60'000'000;    // 1 s .. 1 h
  std::uint64_t volume_bytes = 0;         // 0: as far as the trace reaches
  std::uint64_t max_windows = 2'000'000;  // refuse longer traces (a gap of years is damage)
};

struct WindowedTrace {
  WindowOptions options;
  std::vector<Window> windows;  // the last, incomplete window is left out if there are others
  std::vector<BlockRequest> requests;  // those of `windows`, ascending time
  std::int64_t start_us = 0;           // trace time of the first window's start
  bool wall_clock = false;
  std::uint64_t blocks = 0;      // blocks of the volume
  std::uint64_t beyond_end = 0;  // requests (or parts) past volume_bytes, dropped
};

/// Errors: kInvalidArgument for options out of range, an empty trace, one that spans more than
/// max_windows, or more than 2^32 - 2 blocks.
Result<WindowedTrace> CutWindows(const Trace& trace, const WindowOptions& options);

}  // namespace shadow::pam
