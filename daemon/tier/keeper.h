// SPDX-License-Identifier: Apache-2.0
// Keeps one volume placed: reads its accesses, lets Placement decide, tells the kernel.
//
// The tier thread owns it and calls Tick(); it waits at most for the model's worker (2 s a window)
// and for ioctls. Info(), Explain() and the HeatSource are thread safe. Nothing here can make I/O
// of the volume wait or fail: a source, a worker or a message that fails is a note, and is tried
// again.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/dm/device_mapper.h"
#include "daemon/dm/status.h"
#include "daemon/place/placement.h"
#include "daemon/tier/types.h"
#include "daemon/trace/source_switch.h"

namespace shadow {

/// What is the same for all volumes.
struct KeeperOptions {
  PamClient* pam = nullptr;  // null: the model is not there
  SourceOptions source;      // volume, sizes and on_event are filled in
};

/// What a keeper cannot find out by itself, as of now.
struct KeeperView {
  std::string uuid;  // of the volume
  std::uint64_t blocks = 0;
  TierPolicy policy;
  LegSpeed home;
  std::array<LegSpeed, kTiers> speeds;   // read_ms 0: not measured, nothing is moved there
  std::array<bool, kTiers> usable = {};  // false: on its way in or out
};

class TierKeeper final : public HeatSource {
 public:
  /// (severity, sentence): what people should hear of.
  using SayFn = std::function<void(const char*, const std::string&)>;

  /// `dm`, `clock` and what `options` points to must outlive it. kInvalidArgument for a volume that
  /// cannot be placed (docs/placement.md).
  static Result<std::shared_ptr<TierKeeper>> Make(DeviceMapper* dm, const Clock* clock,
                                                  const KeeperOptions& options,
                                                  const std::string& volume,
                                                  std::uint64_t block_bytes, const KeeperView& view,
                                                  SayFn say);
  ~TierKeeper() override;
  TierKeeper(const TierKeeper&) = delete;
  TierKeeper& operator=(const TierKeeper&) = delete;

  /// Does what is due; returns the microseconds until it wants to be called again.
  std::int64_t Tick(const KeeperView& view);
  /// The window's length cannot change while it lives: make another one then.
  [[nodiscard]] std::int64_t window_ms() const { return policy_.window_ms; }

  [[nodiscard]] PlacementInfo Info() const;
  [[nodiscard]] BlockExplanation Explain(std::uint64_t block) const;

  [[nodiscard]] std::vector<WarmBlock> Warm() const override;
  [[nodiscard]] std::uint64_t Version() const override;
  [[nodiscard]] bool Watching() const override;

 private:
  TierKeeper(DeviceMapper* dm, const Clock* clock, std::string volume, TierPolicy policy,
             SayFn say);
  [[nodiscard]] std::int64_t NowUs() const;  // since the epoch, never backwards
  void Adapt(const KeeperView& view);
  void EndPart(const KeeperView& view, std::int64_t now);
  void Plan(const KeeperView& view, bool round);
  Result<TierWorld> World(const KeeperView& view, const TargetStatus& status);
  void SendLimits(const KeeperView& view, TargetStatus* status);
  void SendPromotes();
  Status Send(const std::vector<Move>& moves, MoveKind kind);
  void Remember(Status trouble);
  void Tell(const PlacementInfo& now, const PlanState& plan);

  DeviceMapper& dm_;
  const Clock& clock_;
  const std::string volume_;
  const SayFn say_;
  const std::int64_t epoch_us_;  // wall clock minus monotonic clock at the start
  std::unique_ptr<SourceSwitch> source_;
  TierPolicy policy_;
  std::uint64_t blocks_ = 0;
  bool started_ = false;
  int part_ = 0;  // of the window, 0..kParts
  std::int64_t part_at_us_ = 0, poll_at_us_ = 0;
  std::vector<Move> promotes_;  // wait for the demotes before them
  std::string limits_;          // as last sent
  std::string told_;            // who ruled when that was last told
  std::string held_;            // what held moves back when that was last told
  std::uint64_t held_at_ = 0;   // the last window in which something did

  mutable std::mutex mutex_;  // placement_ while it plans or explains
  std::unique_ptr<Placement> placement_;
  mutable std::mutex info_mutex_;  // info_
  PlacementInfo info_;
  std::string trouble_;  // of the last messages to the kernel; "" when they worked
};

}  // namespace shadow
