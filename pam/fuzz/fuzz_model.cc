// SPDX-License-Identifier: Apache-2.0
// Fuzz target: model files and snapshots. The first byte picks which; the frame (magic, version,
// length, checksum) is rebuilt around the rest, so that the fuzzer gets past it to the parts.
#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "pam/model/access_model.h"
#include "pam/model/bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shadow::pam;  // NOLINT: a program of one function
  if (size < 1) return 0;
  const std::string body(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::string file = body;
  if ((data[0] & 2) == 0) {
    file.clear();
    Put(&file, (data[0] & 1) != 0 ? 0x53504853u : 0x4d504853u);
    Put(&file, kFileVersion);
    Put(&file, static_cast<std::uint64_t>(body.size()));
    Put(&file, static_cast<std::uint32_t>(
                   crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size())));
    Put(&file, static_cast<std::uint32_t>(kFeatures));
    Put(&file, static_cast<std::uint32_t>(kHidden));
    file += body;
  }
  ModelOptions options;
  options.blocks = 4096;
  options.record = false;
  AccessModel model(options);
  const bool loaded = (data[0] & 1) != 0 ? model.Restore(file).ok() : model.LoadModel(file).ok();
  if (!loaded) return 0;
  Window w;
  w.accesses = {{1, 2, 1}, {2, 1, 0}, {900, 3, 3}};
  if (!model.CloseWindow(w).ok()) __builtin_trap();
  const double p = model.Probability(1, 5);
  if (!(p >= 0 && p <= 1)) __builtin_trap();
  return 0;
}
