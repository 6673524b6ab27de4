// SPDX-License-Identifier: Apache-2.0
// What is wrong with a volume's metadata, in sentences, and what can be put right without a guess.
//
// Pure: an image in, a report out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/metadata/image.h"

namespace shadow::metadata {

/// What to believe where nothing on the device tells.
enum class Assume { kNothing, kOrigin, kTarget, kValid };

struct Finding {
  enum class Kind {
    kNote,       // nothing is wrong
    kRepair,     // wrong, and known how to put right
    kUncertain,  // wrong, and only --assume gets further
    kFatal,      // wrong, and no option of ours helps
  };
  Kind kind;
  std::string what;          // a sentence
  std::int64_t page = -1;    // state page, if it is about one
  std::uint64_t first = 0;   // uncertain blocks
  std::uint64_t blocks = 0;  // 0: none
};

struct Report {
  std::vector<Finding> findings;
  std::vector<Write> repairs;  // all that need no guess, and those the assumption allows
  [[nodiscard]] bool Clean() const;
  [[nodiscard]] bool Has(Finding::Kind kind) const;
};

/// @assume: what repairs may believe; kNothing for a plain check.
Report Check(const Image& image, std::uint64_t device_bytes, Assume assume = Assume::kNothing);

}  // namespace shadow::metadata
