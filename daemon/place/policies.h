// SPDX-License-Identifier: Apache-2.0
// The policies by name. A policy reads the history that its volume's Placement keeps; that has the
// window already when Observe() is called. Placement thread.
#pragma once

#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "daemon/place/history.h"
#include "daemon/place/policy.h"

namespace shadow {

class PamClient;

struct PolicySettings {
  double horizon_windows = 60;  // of heat: 1 h at 60 s
  int half_life = kHalf240;     // of ewma
  double model_share = 0.5;     // of the expectation of `pam`; the rest is EWMA's
};

/// `pam` policies also need these.
struct PamVolume {
  PamClient* client = nullptr;  // shared by all volumes; null: the model was not built in
  std::string volume;
  std::string identity;  // its UUID: a later volume of the same name is another one
  std::uint64_t blocks = 0;
  /// Length of a window as the model is to take it, us. 60 s by default, also in replays that are
  /// sped up with their windows.
  std::int64_t window_us = 60'000'000;
  bool wall_clock = true;  // false: windows are not those of the clock on the wall
};

[[nodiscard]] std::unique_ptr<PlacementPolicy> MakeEwma(const History& history,
                                                        const PolicySettings& settings);
[[nodiscard]] std::unique_ptr<PlacementPolicy> MakeLru(const History& history,
                                                       const PolicySettings& settings);
[[nodiscard]] std::unique_ptr<PlacementPolicy> MakeOff();
[[nodiscard]] std::unique_ptr<PlacementPolicy> MakePam(const History& history,
                                                       const PolicySettings& settings,
                                                       PamVolume volume);
/// By name: "pam", "ewma", "lru", "off". kInvalidArgument for another one.
[[nodiscard]] Result<std::unique_ptr<PlacementPolicy>> MakePolicy(const std::string& name,
                                                                  const History& history,
                                                                  const PolicySettings& settings,
                                                                  const PamVolume& volume);

}  // namespace shadow
