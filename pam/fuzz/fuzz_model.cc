// SPDX-License-Identifier: Apache-2.0
// Fuzz target: model files and snapshots. The first byte picks which; the frame (magic, version,
// length, checksum) is rebuilt around the rest, so that the fuzzer gets past it to the parts.
#include <cstddef>
#include <cstdint>
#include <string>

#include "pam/model/access_model.h"
#include "pam/model/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shadow::pam;  // NOLINT: a program of one function
  if (size < 1) return 0;
  const std::string body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool snapshot = (data[0] & 1) != 0;
  const std::string file =
      (data[0] & 2) != 0 ? body : Frame(snapshot ? kSnapshotMagic : kModelMagic, body);
  ModelOptions options;
  options.blocks = 4096;
  options.record = false;
  AccessModel model(options);
  const bool loaded = snapshot ? model.Restore(file).ok() : model.LoadModel(file).ok();
  if (!loaded) return 0;
  Window w;
  w.accesses = {{1, 2, 1}, {2, 1, 0}, {900, 3, 3}};
  if (!model.CloseWindow(w).ok()) __builtin_trap();
  const double p = model.Probability(1, 5);
  if (!(p >= 0 && p <= 1)) __builtin_trap();
  return 0;
}
