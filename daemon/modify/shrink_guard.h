// SPDX-License-Identifier: Apache-2.0
// What keeps a shorter table from cutting what lies on the volume.
//
// Asked when a shrink is planned, and again right before the shorter table is loaded: between the
// two, minutes may pass in which the file system grows.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/modify/deps.h"

namespace shadow {

/// What a look at the volume's content found.
struct ShrinkVerdict {
  bool fits = false;   // what lies on it ends before the new end
  bool known = false;  // ... or reaches beyond it; false: it cannot be told
  std::string why;     // a sentence, if it does not fit
};

/// Looks at the volume as it is now. Never fails: what cannot be looked at cannot be told.
[[nodiscard]] ShrinkVerdict LookBeyond(const Deps& deps, const std::string& volume,
                                       std::uint64_t new_bytes);

/// Ok, or kFailedPrecondition with what has to happen first. `force` lets everything pass.
[[nodiscard]] Status GuardShrink(const Deps& deps, const std::string& volume,
                                 std::uint64_t new_bytes, bool force);

}  // namespace shadow
