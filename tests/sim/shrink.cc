// SPDX-License-Identifier: GPL-2.0-only
#include "tests/sim/shrink.h"

#include <algorithm>

namespace sim {

namespace {

/// The first words: numbers of blocks and writes may change while a run gets smaller.
std::string Kind(const std::string& error) {
  return error.substr(0, error.find_first_of("0123456789"));
}

class Shrinker {
 public:
  Shrinker(World& world, u64 seed, const std::string& error)
      : world_(world), seed_(seed), kind_(Kind(error)) {}

  bool Fails(const std::vector<Step>& steps) {
    return !world_.Replay(seed_, steps) && Kind(world_.error()) == kind_;
  }

  /// Leaves out runs of steps, long ones first, while that is possible.
  void LeaveOut(std::vector<Step>& steps) {
    for (size_t n = std::max<size_t>(steps.size() / 2, 1); n; n = n > 1 ? n / 2 : 0) {
      for (size_t at = 0; at < steps.size();) {
        std::vector<Step> fewer = steps;
        const auto from = fewer.begin() + static_cast<long>(at);
        fewer.erase(from, from + static_cast<long>(std::min(n, steps.size() - at)));
        if (Fails(fewer))
          steps = std::move(fewer);
        else
          at += n;
      }
    }
  }

  /// Steps during which nothing fails and no other CPU comes in between.
  void MakePlain(std::vector<Step>& steps) {
    for (auto& s : steps) {
      s.plain = true;
      if (!Fails(steps)) s.plain = false;
    }
  }

 private:
  World& world_;
  u64 seed_;
  std::string kind_;
};

}  // namespace

std::vector<Step> Shrink(World& world, u64 seed, std::vector<Step> steps,
                         const std::string& error) {
  Shrinker s(world, seed, error);
  if (!s.Fails(steps)) return steps;
  for (size_t before = 0; before != steps.size();) {
    before = steps.size();
    s.LeaveOut(steps);
    s.MakePlain(steps);
  }
  return steps;
}

}  // namespace sim
