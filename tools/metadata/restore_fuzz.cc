// SPDX-License-Identifier: Apache-2.0
// Fuzz target: shadow_restore's input, any text. A dump that is taken makes an image that the
// kernel's decoder takes, too.
#include <cstdint>
#include <string>

#include "tools/metadata/dump.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shadow::metadata;  // NOLINT: a program of one function
  const auto image = ImageFromJson(std::string(reinterpret_cast<const char*>(data), size));
  if (!image.ok()) return 0;
  if (!image->newest()) __builtin_trap();
  for (std::uint32_t p = 0; p < image->nr_pages(); p++)
    if (!image->Pick(p)) __builtin_trap();
  for (std::uint32_t p = 0; p < image->nr_slot_pages(); p++)
    if (!image->PickSlotPage(p)) __builtin_trap();
  return 0;
}
