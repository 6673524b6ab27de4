// SPDX-License-Identifier: GPL-2.0-only
// Cuts a failing run down to the steps it needs (delta debugging).
#ifndef TESTS_SIM_SHRINK_H
#define TESTS_SIM_SHRINK_H

#include <algorithm>
#include <string>
#include <vector>

#include "tests/sim/base.h"

namespace sim {

template <class World, class Step>
class Shrinker {
 public:
  Shrinker(World& world, u64 seed, const std::string& error)
      : world_(world), seed_(seed), kind_(Kind(error)) {}

  /// The smallest list found that fails like @steps does: with an error that begins alike.
  std::vector<Step> Run(std::vector<Step> steps) {
    if (!Fails(steps)) return steps;
    for (size_t before = 0; before != steps.size();) {
      before = steps.size();
      LeaveOut(steps);
      MakePlain(steps);
    }
    return steps;
  }

 private:
  /// The first words: numbers of blocks and writes may change while a run gets smaller.
  static std::string Kind(const std::string& error) {
    return error.substr(0, error.find_first_of("0123456789"));
  }

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

  World& world_;
  u64 seed_;
  std::string kind_;
};

}  // namespace sim

#endif  // TESTS_SIM_SHRINK_H
