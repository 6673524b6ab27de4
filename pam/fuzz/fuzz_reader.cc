// SPDX-License-Identifier: Apache-2.0
// Fuzz target: every trace reader and decompressor, then windowing. The first byte picks the
// format.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "pam/trace/reader.h"
#include "pam/window/windowing.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shadow::pam;  // NOLINT: a program of one function
  if (size < 1) return 0;
  ReadOptions options;
  options.format = static_cast<TraceFormat>(data[0] % 8);
  options.max_damaged = 1000;
  options.max_requests = 10'000;
  const auto trace =
      ReadTraceMemory(std::string_view(reinterpret_cast<const char*>(data) + 1, size - 1), options);
  if (!trace.ok()) return 0;
  WindowOptions windows;
  windows.max_windows = 10'000;
  windows.volume_bytes = 1u << 30;
  (void)CutWindows(*trace, windows).ok();
  return 0;
}
