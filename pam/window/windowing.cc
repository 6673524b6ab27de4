// SPDX-License-Identifier: Apache-2.0
// See windowing.h.
#include "pam/window/windowing.h"

#include <algorithm>
#include <bit>
#include <string>

namespace shadow::pam {
namespace {

constexpr std::uint64_t kRegionBlocks = 64;

Status CheckOptions(const WindowOptions& o) {
  if (!std::has_single_bit(o.block_bytes) || o.block_bytes < 4096 || o.block_bytes > (1u << 30)) {
    return MakeError(Code::kInvalidArgument,
                     "the block size is not a power of two, 4 KiB to 1 GiB");
  }
  if (o.window_us < 1'000'000 || o.window_us > 3'600'000'000) {
    return MakeError(Code::kInvalidArgument, "the window is not 1 second to 1 hour");
  }
  return Ok();
}

void CloseWindow(std::vector<BlockRequest>::const_iterator first,
                 std::vector<BlockRequest>::const_iterator last, std::vector<Access>& scratch,
                 Window& window) {
  scratch.clear();
  for (auto it = first; it != last; ++it) scratch.push_back({it->block, 1, it->write ? 1u : 0u});
  std::sort(scratch.begin(), scratch.end(),
            [](const Access& a, const Access& b) { return a.block < b.block; });
  for (const Access& a : scratch) {
    if (!window.accesses.empty() && window.accesses.back().block == a.block) {
      window.accesses.back().count += a.count;
      window.accesses.back().writes += a.writes;
    } else {
      window.accesses.push_back(a);
    }
  }
}

}  // namespace

Result<WindowedTrace> CutWindows(const Trace& trace, const WindowOptions& options) {
  SHADOW_TRY(CheckOptions(options));
  if (trace.requests.empty())
    return MakeError(Code::kInvalidArgument, "the trace holds no request");
  const std::uint64_t bs = options.block_bytes;
  WindowedTrace out;
  out.options = options;
  out.start_us = trace.requests.front().time_us;
  out.wall_clock = trace.wall_clock;

  // Where each device begins.
  std::size_t devices = 1;
  for (const auto& r : trace.requests) devices = std::max<std::size_t>(devices, r.device + 1u);
  std::vector<std::uint64_t> base(devices + 1, 0);
  for (const auto& r : trace.requests) {
    base[r.device + 1u] = std::max(base[r.device + 1u], (r.offset + r.length - 1) / bs + 1);
  }
  for (std::size_t d = 0; d < devices; ++d) {
    std::uint64_t blocks = base[d + 1];
    if (devices > 1) blocks = (blocks + kRegionBlocks - 1) / kRegionBlocks * kRegionBlocks;
    base[d + 1] = base[d] + blocks;
  }
  out.blocks = base[devices];
  if (options.volume_bytes != 0) out.blocks = (options.volume_bytes + bs - 1) / bs;
  if (out.blocks > 0xfffffffeu) {
    return MakeError(Code::kInvalidArgument,
                     "the volume has " + std::to_string(out.blocks) + " blocks, more than 2^32 - 2",
                     "use a larger --block");
  }
  const std::int64_t span = trace.requests.back().time_us - out.start_us;
  const auto windows = static_cast<std::uint64_t>(span / options.window_us) + 1;
  if (windows > options.max_windows) {
    return MakeError(Code::kInvalidArgument,
                     "the trace spans " + std::to_string(windows) + " windows, more than " +
                         std::to_string(options.max_windows),
                     "a damaged time stamp, or use a larger --window");
  }
  // The last window is complete only by chance; what it lacks would look like silence.
  const std::uint64_t whole = windows > 1 ? windows - 1 : windows;
  out.windows.resize(whole);
  for (const auto& r : trace.requests) {
    const auto w = static_cast<std::uint64_t>((r.time_us - out.start_us) / options.window_us);
    if (w >= whole) break;
    out.windows[w].ops += 1;
    out.windows[w].bytes += r.length;
    const std::uint64_t first = base[r.device] + r.offset / bs;
    const std::uint64_t last = base[r.device] + (r.offset + r.length - 1) / bs;
    for (std::uint64_t b = first; b <= last; ++b) {
      if (b >= out.blocks) {
        ++out.beyond_end;
        continue;
      }
      out.requests.push_back({r.time_us - out.start_us, static_cast<std::uint32_t>(b), r.write});
    }
  }
  std::vector<Access> scratch;
  auto from = out.requests.cbegin();
  for (std::uint64_t w = 0; w < whole; ++w) {
    const std::int64_t end = static_cast<std::int64_t>(w + 1) * options.window_us;
    auto to = from;
    while (to != out.requests.cend() && to->time_us < end) ++to;
    CloseWindow(from, to, scratch, out.windows[w]);
    from = to;
  }
  return out;
}

}  // namespace shadow::pam
