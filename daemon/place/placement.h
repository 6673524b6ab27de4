// SPDX-License-Identifier: Apache-2.0
// The placement of one volume: accesses in, plans of moves out. Ties history, policy, planner and
// budget together; does no I/O but its policy's talk to the worker.
//
// One placement thread owns it. The thread reads an access source several times a window and gives
// each part to AddPart(); Round() at the end of a window plans from the ranking, React() in
// between only for blocks that are touched hard right now. Warm() is thread safe: modifications
// ask it for the heat.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/modify/copy_order.h"
#include "daemon/place/planner.h"
#include "daemon/place/policies.h"

namespace shadow {

struct PlacementSettings {
  std::string policy = "pam";
  std::int64_t window_us = 60'000'000;                       // everything else scales with it
  int parts = 12;                                            // of a window, for the reactive path
  std::uint64_t budget_per_minute = std::uint64_t{1} << 30;  // bytes moved; per 60 s of real time
  /// At most so many bytes are moved for each byte served, plus so many to begin with.
  double served_share = 1;
  std::uint64_t free_bytes = std::uint64_t{64} << 20;
  bool reactive = true;
  /// A touch just now promises so many accesses to come (counted with a half-life of 2 windows).
  double reactive_worth = 4;
  PlanSettings plan;
  PolicySettings policies;
};

/// What the kernel and the machine say, at the time of a plan.
struct TierWorld {
  std::vector<Shadow> shadows;  // ascending; dirty_windows is filled in by Placement
  LegSpeed home;
  TierState tier1, tier2;
  std::uint64_t rate = 0;      // see PlanInput
  double foreground_iops = 0;  // 0: taken from the windows
  double foreground_ms = -1;   // negative: taken from the speeds
};

struct PlacementStatus {
  PolicyState policy;
  PlanState plan;                                   // of the last plan
  std::uint64_t budget_left = 0;                    // bytes
  std::uint64_t moved_bytes = 0, served_bytes = 0;  // since the start
  std::uint64_t rounds = 0, reactions = 0;
  std::int64_t round_us = 0;  // the last round took so long
  std::uint64_t lost = 0;     // trace events lost
  std::string note;           // a sentence when something is held back; else ""
};

class Placement final : public HeatSource {
 public:
  /// kInvalidArgument for a policy that does not exist.
  static Result<std::unique_ptr<Placement>> Make(const PlacementSettings& settings,
                                                 std::uint64_t blocks, std::uint64_t block_bytes,
                                                 const PamVolume& pam, const Clock& clock);

  /// Accesses of a part of the window that runs. Parts of a window come in order.
  void AddPart(const AccessWindow& part);
  /// Moves worth making before the window ends.
  [[nodiscard]] TierPlan React(const TierWorld& world);
  /// The window is over (all its parts were given): ranks and plans.
  [[nodiscard]] TierPlan Round(const TierWorld& world);
  /// Other settings, another size of the volume; what is known of the blocks stays. The window
  /// stays as it is.
  Status Configure(const PlacementSettings& settings, std::uint64_t blocks);

  /// By the last plan's input.
  [[nodiscard]] Explanation Explain(std::uint32_t block) const;
  [[nodiscard]] PlacementStatus GetStatus() const;
  /// What the last plan was made from, in any order.
  [[nodiscard]] const std::vector<BlockHeat>& ranking() const { return asked_; }

  // HeatSource; thread safe.
  [[nodiscard]] std::vector<WarmBlock> Warm() const override;
  [[nodiscard]] std::uint64_t Version() const override;
  [[nodiscard]] bool Watching() const override;

 private:
  Status SetPolicy(const std::string& name);
  Placement(const PlacementSettings& settings, std::uint64_t blocks, std::uint64_t block_bytes,
            PamVolume pam, const Clock& clock);
  [[nodiscard]] TierPlan Plan(const TierWorld& world, std::vector<BlockHeat> ranking);
  [[nodiscard]] PlanInput Input() const;
  void Earn(const AccessWindow& part);

  PlacementSettings settings_;
  std::uint64_t blocks_, block_bytes_;
  PamVolume pam_;
  const Clock& clock_;
  History history_;
  std::unique_ptr<PlacementPolicy> policy_;
  AccessWindow window_;                 // parts so far
  std::vector<BlockHeat> asked_;        // what the last plan was made from
  std::vector<std::uint32_t> touched_;  // in the last part
  TierWorld world_;
  TierPlan plan_;
  std::unordered_map<std::uint32_t, std::uint64_t> dirty_since_;  // window
  PlacementStatus status_;
  double budget_ = 0, earned_ = 0;  // bytes: by time, by bytes served
  std::int64_t budget_us_ = 0;
  double iops_ = 0;

  /// Held while history_, asked_, world_ or version_ change, and by Warm(): it needs no copy.
  mutable std::mutex mutex_;
  std::uint64_t version_ = 0;
};

}  // namespace shadow
