// SPDX-License-Identifier: Apache-2.0
// Where in a log the power is cut, and what of the caches survives each time.
//
// Before and after every flush and FUA write of the legs and the metadata, and at random places in
// between; at each place with everything cached lost, everything kept, and random parts of it.
// Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/crash/disk.h"

namespace shadow::crash {

struct Point {
  std::size_t position;  // so many entries of the log have happened
  Keep keep;
  std::uint64_t seed;  // of kSome
};

/// @param important  positions around flushes and FUA writes, ascending, each once
/// @param end        positions 0..end exist
/// @param limit      at most so many; evenly spread if there are more
/// @return ascending by position; about a third at random places
std::vector<Point> ChoosePoints(const std::vector<std::size_t>& important, std::size_t end,
                                std::size_t limit, std::uint64_t seed);

}  // namespace shadow::crash
