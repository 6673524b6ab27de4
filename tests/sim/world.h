// SPDX-License-Identifier: GPL-2.0-only
// The simulated machine with the module in it: one or several volumes, everybody who deals with
// them, power cuts, and who checks what they see.
//
// World::Run() is one run: from a seed, or from a recorded list of steps.
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <functional>
#include <list>
#include <string>
#include <vector>

#include "tests/sim/volume.h"

namespace sim {

struct Step {
  u32 index;  // in the run it was recorded in
  u32 id;     // fiber or request; kNewAction
  u64 seed;
  bool plain;  // no faults, no other CPU in between: for shrinking
};
constexpr u32 kNewAction = ~0u;

struct Figures {
  u64 operations = 0;  // requests, copies, messages, table changes, restarts
  u64 crashes = 0, blips = 0, steps = 0, runs = 0, copies = 0, device_ops = 0, points = 0;
};

class World {
 public:
  World();
  /// A fresh run of @steps steps. False: something is wrong; see error(). @record: gets the steps.
  bool Run(u64 seed, u32 steps, std::vector<Step>* record = nullptr);
  /// The run of @seed again, with these of its steps. @told: in words.
  bool Replay(u64 seed, const std::vector<Step>& steps, std::vector<std::string>* told = nullptr);
  void WithoutTiers(bool without) { without_tiers_ = without; }
  /// In each run legs lose their caches, not in a sixth of them.
  void AllBlips(bool all) { all_blips_ = all; }
  const std::string& error() const { return error_; }
  const Figures& figures() const { return figures_; }

  // for the volumes
  bool trouble = false;  // errors are to be expected
  bool without_tiers() const { return without_tiers_; }
  bool blips() const { return blips_; }
  bool ErrorsExpected() const { return trouble || machine.faults || machine.dry; }
  Figures& counts() { return figures_; }
  /// Only while a failing run is told in words.
  void Note(const char* format, ...) __attribute__((format(printf, 2, 3)));
  void Fail(u32 volume, const char* format, ...) __attribute__((format(printf, 3, 4)));
  /// Runs @f on a fiber of its own. A power cut forgets it: @f keeps nothing that needs an end.
  void Spawn(const char* name, std::function<void()> f);
  /// Something was said to be durable. @failed: something failed meanwhile.
  void Acknowledged(bool failed);
  bool theme() const { return theme_; }
  bool several() const { return nr_volumes_ > 1; }

 private:
  static const u8 kUsual[kActions];
  static constexpr u32 kVolumes = 3;
  void Begin(u64 seed);
  void Weights(Random& r, bool narrow, bool theme);
  static u32 Theme(Action what, Random& r);
  static u32 BlipWeight(Action what, u32 usual, Random& r);
  void Execute(const Step& step);
  void Settle(u64 seed);
  bool RunToRest(Random& choice, u32* index);
  bool Quiet() const;
  bool OthersGoOn(Random& choice, u32* index);
  void InFiber(Random& choice, u32* index, const char* name, std::function<void()> f);
  void Act();
  void Crash();
  void Collect();

  struct Job {
    World* world;
    std::function<void()> f;
    bool over;
  };
  std::list<Job> jobs_;
  std::array<Volume, kVolumes> volumes_;
  u32 nr_volumes_ = 1;
  std::array<u8, kActions> weight_{};
  u32 total_weight_ = 0, action_odds_ = 4;
  u32 crash_again_ = 0;  // actions left before which another crash is likely
  bool without_tiers_ = false, blips_ = false, all_blips_ = false;
  bool theme_ = false;     // a few kinds of events on a few blocks
  bool cuts_ = false;      // the power is cut just after what is acknowledged as durable
  bool cut_soon_ = false;  // now
  std::string error_;
  Figures figures_;
  u64 copies_seen_ = 0;
};

}  // namespace sim

#endif  // TESTS_SIM_WORLD_H
