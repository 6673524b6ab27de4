// SPDX-License-Identifier: Apache-2.0
#include "tests/crash/points.h"

#include <algorithm>

namespace shadow::crash {

std::vector<Point> ChoosePoints(const std::vector<std::size_t>& important, std::size_t end,
                                std::size_t limit, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Point> points;
  const std::size_t wanted = limit - limit / 3;
  // One draw in each of `wanted` equal parts of all (position, part of the cache) there are.
  const std::size_t all = important.size() * 3;
  const std::size_t taken = std::min(all, wanted);
  for (std::size_t i = 0; i < taken; ++i) {
    const std::size_t first = i * all / taken;
    const std::size_t next = (i + 1) * all / taken;
    const std::size_t choice = first + random() % (next - first);
    points.push_back({important[choice / 3], static_cast<Keep>(choice % 3), random()});
  }
  while (points.size() < limit) points.push_back({random() % (end + 1), Keep::kSome, random()});
  std::stable_sort(points.begin(), points.end(),
                   [](const Point& a, const Point& b) { return a.position < b.position; });
  return points;
}

}  // namespace shadow::crash
