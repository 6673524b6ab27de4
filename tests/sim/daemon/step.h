// SPDX-License-Identifier: Apache-2.0
// What a run is made of: steps, each with its own numbers, so that a list with some of them left
// out can be run as well.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace shadow::judge {

enum class Verb : std::uint8_t {
  // an application
  kWrite,
  kDiscard,
  kMakeFs,
  kOpen,
  kClose,
  // time, and the daemon's own work
  kTick,
  kPass,
  kSetClock,
  // clients
  kCreate,
  kImport,
  kModify,
  kAsk,
  kExport,
  kDelete,
  kActivate,
  kAddTier,
  kRemoveTier,
  kTierWork,
  kRepeat,
  kRecover,
  // an administrator, and accidents
  kAdminWrite,
  kAdminMkfs,
  kAdminOpen,
  kAdminClose,
  kAdminMakeLv,
  kAdminRemoveLv,
  kAdminRenameLv,
  kAdminDmRemove,
  kDisconnect,
  kConnect,
  kSick,
  kHeal,
  kFailCall,
  kStop,
  kStart,
  kReboot,
  kCalm,
};
inline constexpr int kVerbs = static_cast<int>(Verb::kCalm) + 1;

/// What comes in between the calls of a step.
enum class Between : std::uint8_t { kNothing, kCrash, kSomebody };

struct Step {
  Verb verb = Verb::kTick;
  std::array<std::uint32_t, 5> a{};
  Between between = Between::kNothing;
  std::uint32_t at = 0;    // before or at which call
  Verb who = Verb::kTick;  // kSomebody: does this
  std::array<std::uint32_t, 5> b{};
  bool plain = false;  // leave out what comes in between
};

/// splitmix64: the same numbers on every machine.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 0x1234567) {}
  std::uint64_t Next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint32_t Below(std::uint32_t n) { return static_cast<std::uint32_t>(Next() % n); }

 private:
  std::uint64_t state_;
};

/// The steps of a seed; which of them come often is part of the seed, too.
[[nodiscard]] std::vector<Step> StepsOf(std::uint64_t seed, std::uint32_t count);

}  // namespace shadow::judge
