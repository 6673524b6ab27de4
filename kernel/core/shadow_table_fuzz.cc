// SPDX-License-Identifier: GPL-2.0-only
// Fuzz target: the table parser. A table that is accepted has an origin, a usable block size, and
// two names where there are two legs; each tier has a name.
#include <algorithm>
#include <cstring>

#include "kernel/core/shadow_args.h"
#include "kernel/core/shadow_args_fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzWords words(data, size);
  shadow_table t;
  const char* error = nullptr;
  if (shadow_parse_table(words.argc(), words.argv(), &t, &error)) {
    if (!error || !*error) __builtin_trap();
    return 0;
  }
  const u32 bs = t.block_sectors;
  if (bs < SHADOW_MIN_BLOCK_SECTORS || bs > SHADOW_MAX_BLOCK_SECTORS || (bs & (bs - 1)))
    __builtin_trap();
  if (!t.metadata || !t.legs[SHADOW_LEG_ORIGIN].given || t.policy >= SHADOW_NR_POLICIES)
    __builtin_trap();
  bool there = false;
  for (int i = 0; i < SHADOW_NR_LEGS; i++) {
    const auto& leg = t.legs[i];
    const bool tier = i >= SHADOW_LEG_TIER1;
    if ((t.writeback >> i & 1) && !(tier && leg.given)) __builtin_trap();
    // Slots are worth nothing on another device.
    if (tier && leg.given && !leg.missing && !*leg.id) __builtin_trap();
    if (!leg.id || std::strlen(leg.id) > SHADOW_ID_MAX || (leg.given && !leg.path)) __builtin_trap();
    there |= !tier && leg.given && !leg.missing;
  }
  if (!there) __builtin_trap();
  return 0;
}
