// SPDX-License-Identifier: GPL-2.0-only
// Fuzz target: the message parser. A message that is accepted has ranges that lie in the volume and
// values that the volume can use; one that is refused says why.
#include <algorithm>

#include "kernel/core/shadow_args.h"
#include "kernel/core/shadow_args_fuzz.h"
#include "kernel/core/shadow_format.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr u64 kBlocks[] = {1, 4049, SHADOW_MAX_BLOCKS};
  for (const u64 blocks : kBlocks) {
    FuzzWords words(data, size);
    shadow_message message;
    const char* error = nullptr;
    if (shadow_parse_message(words.argc(), words.argv(), blocks, &message, &error)) {
      if (!error || !*error) __builtin_trap();
      continue;
    }
    if (message.type >= SHADOW_NR_MESSAGES) __builtin_trap();
    if (message.type == SHADOW_MSG_READ && message.value >= SHADOW_NR_POLICIES) __builtin_trap();
    const bool fetch_off = message.type == SHADOW_MSG_FETCH && !message.tier;
    const bool of_tier = message.type == SHADOW_MSG_PROMOTE || message.type == SHADOW_MSG_MODE ||
                         message.type == SHADOW_MSG_FORGET || message.type == SHADOW_MSG_FETCH;
    const bool is_tier = message.tier >= SHADOW_LEG_TIER1 && message.tier < SHADOW_NR_LEGS;
    if (of_tier ? !is_tier && !fetch_off : message.tier != 0) __builtin_trap();
    if (message.first_range + message.nr_ranges > words.argc()) __builtin_trap();
    for (unsigned i = 0; i < message.nr_ranges; i++) {
      shadow_range range;
      if (!shadow_parse_range(words.argv()[message.first_range + i], blocks, &range) ||
          !range.count || range.first >= blocks || range.count > blocks - range.first)
        __builtin_trap();
    }
  }
  return 0;
}
