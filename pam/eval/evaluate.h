// SPDX-License-Identifier: Apache-2.0
// The honest evaluation: replays a trace through the on-line model, trains on its past, and scores
// what every predictor said about windows it could not know.
//
// One thread. Past-only split: training sees windows [0, split) and labels that end at split; the
// test part is [split, end); a prediction for window `at` is asked of a model that closed at - 1
// and nothing later, and counts only if its whole horizon lies before the end. On-line learning in
// the test part uses outcomes that are already in the past. Populations: seen (known before `at`),
// recent (seen, and accessed within the hour), unseen (never accessed before), all = seen + unseen.
// Of never-seen blocks only "pam" says more than the training part's rate of first touches.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "pam/eval/metrics.h"
#include "pam/model/access_model.h"
#include "pam/window/windowing.h"

namespace shadow::pam {

inline constexpr int kEvalHorizons = 3;  // 60 s, 5 min, 1 h
inline constexpr std::array<const char*, kEvalHorizons> kHorizonNames = {"60s", "5min", "1h"};

/// A predictor from outside (tests plant oracles and cheats with it): probability that engine block
/// number `block` (of the volume) is accessed in windows [at, at + span).
struct ExtraPredictor {
  std::string name;
  std::function<float(std::uint32_t block, std::uint32_t at, std::uint32_t span)> ask;
};

struct EvalOptions {
  double split = 0.6;  // share of the time that is training
  double end = 1.0;    // share of the time at which the test ends
  std::uint64_t seed = 1;
  int threads = 1;
  bool trees = true;
  bool online = true;     // learn on in the test part
  bool recurrent = true;  // false: the ablation without memory
  int update_minutes = 15;
  int epochs = 12;
  std::size_t max_samples = 200'000;  // as the worker
  std::size_t max_rows =
      1'500'000;  // scored per horizon; above it idle blocks are sampled, weighted
  MixerOptions mixer;
  std::vector<ExtraPredictor> extra;
  std::function<void(int done, int total)> progress;
};

/// Log loss of one test window, summed over the seen blocks; `blocks` is their (weighted) number.
struct WindowLoss {
  std::uint32_t window = 0;
  double blocks = 0;
  double model = 0, regression = 0, ewma = 0;
  Ruler ruler = Ruler::kModel;  // of this horizon
};

struct PredictorResult {
  std::string name;
  std::map<std::string, Metrics> population;  // "seen", "recent", "unseen", "all"
};

struct HorizonResult {
  std::string name;
  std::uint32_t windows = 0;
  double samples = 0;  // 0: the test part is shorter than the horizon, nothing can be said
  std::vector<PredictorResult> predictors;
  /// Skill of "pam" over the best rival: 1 - loss / loss of the better of "ewma" and "regression".
  double ratio = 0;  // loss(pam) / min(loss(ewma), loss(regression))
  std::vector<WindowLoss> over_time;
  std::array<std::uint32_t, kRulers> ruled{};  // test windows of each ruler
};

/// Rankings for the placement simulators, one per test window, and for the heat map.
struct Ranking {
  std::uint32_t at = 0;
  std::vector<std::uint32_t> block;
  std::vector<float> future;      // expected discounted accesses, by the network
  std::vector<float> heat;        // P(60 s)
  std::vector<std::uint8_t> hit;  // what came true, for the report only
};

struct EvalResult {
  std::uint32_t windows = 0, split = 0, end = 0;
  std::uint32_t known = 0;
  double train_seconds = 0;
  double update_seconds = 0;
  int updates = 0;
  double round_seconds_worst = 0;
  std::size_t state_bytes = 0;
  std::vector<HorizonResult> horizons;
  std::vector<Ranking> rankings;
};

/// Errors: kInvalidArgument if the trace is too short to split (at least 8 windows).
Result<EvalResult> Evaluate(const WindowedTrace& trace, const EvalOptions& options);

/// Holds training to its word: calls `train` on the windows as they are and on a copy whose windows
/// from `split` on are replaced by other ones. If the results differ, it looked into the future:
/// kFailedPrecondition. Used by tests and by `pam eval --check-leaks`.
Status CheckBlind(
    const std::vector<Window>& windows, std::uint32_t split,
    const std::function<std::string(const std::vector<Window>&, std::uint32_t)>& train);

}  // namespace shadow::pam
