// SPDX-License-Identifier: Apache-2.0
// Training examples: a replay of closed windows through the feature engine, with labels from what
// came later, but never from beyond a stated end.
//
// One thread. A sample is (block, window `at`): features as of the end of window at - 1, labels
// from windows at, at + 1, ... < `end`. Nothing here knows about a test part; the caller passes
// windows of the training part only, and Label() refuses an end beyond what was replayed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "daemon/base/result.h"
#include "pam/features/engine.h"
#include "pam/window/windowing.h"

namespace shadow::pam {

inline constexpr int kHazards = 4;
inline constexpr std::uint32_t kNever = 0xffffffffu;
/// Half-life of the discounted future, in minutes.
inline constexpr double kFutureHalfLife = 30.0;

/// Ends of the four hazard intervals in windows: 60 s, 5 min, 1 h, 24 h (each at least one more
/// window than the one before, if the window is longer than that).
std::array<std::uint32_t, kHazards> HazardEnds(std::int64_t window_us);

struct Sample {
  std::uint32_t block = 0;      // engine index
  std::uint32_t event = 0;      // global number of the block's last event
  std::uint32_t at = 0;         // first window asked about
  std::uint32_t next = kNever;  // next window with an access, before the end; kNever if none
  std::uint32_t exposure = 0;   // windows at..end-1 that can be looked at
  float future = 0;             // sum of count * 2^(-age / half-life) over the exposure
  float future_writes = 0;
  float mass = 0;    // sum of 2^(-age / half-life) over the exposure: what `future` is out of
  float weight = 1;  // 1 / sampling rate
};

struct Dataset {
  std::array<std::uint32_t, kHazards> ends{};
  std::uint32_t windows = 0;  // replayed
  double half_life = 30;      // of the future, windows
  std::vector<Sample> samples;
  std::vector<std::uint32_t> sample_idle, sample_block;  // [samples]: for thinning out
  std::vector<float> features;                           // [samples, kFeatures]
  std::vector<float> events;                             // [events, kEventInputs]
  std::vector<std::uint32_t> event_window;               // [events]
  std::vector<std::vector<std::uint32_t>> block_events;  // per engine index: event numbers
  std::vector<std::uint32_t> event_count, event_writes;  // [events]

  [[nodiscard]] const float* feature(std::size_t sample) const {
    return features.data() + sample * kFeatures;
  }
};

/// Collects a Dataset window by window, within bounds: when it has more than `max_samples` samples
/// or twice as many events, idle blocks are sampled more thinly (with weights), then the oldest go.
class Recorder {
 public:
  Recorder(std::int64_t window_us, std::size_t max_samples, std::uint64_t seed);
  /// After engine.Close(window). Takes the window's events and the samples about the next window.
  void Observe(const FeatureEngine& engine, const Window& window);
  [[nodiscard]] const Dataset& data() const { return data_; }
  /// Labels as of now: from everything observed so far, nothing later.
  Dataset& Labelled();
  [[nodiscard]] std::size_t Bytes() const;

 private:
  void Thin();
  Dataset data_;
  std::size_t max_samples_;
  std::uint64_t seed_;
  double keep_ = 1e9;
  std::uint32_t oldest_ = 0;  // samples before this window were dropped
};

/// A Recorder run over windows[0, count), labelled as of its end.
Dataset Replay(std::span<const Window> windows, const EngineOptions& engine,
               std::size_t max_samples, std::uint64_t seed);

/// Sets the labels of all samples as seen from `end`: samples at or after it get no exposure.
/// Errors: kInvalidArgument if `end` lies beyond the replayed windows.
Status Label(Dataset* data, std::uint32_t end);

/// The share of idle blocks that is sampled at this idle age, so that about `target` of `expected`
/// samples remain: all that are active, fewer the longer they are idle. In (0, 1].
double SampleRate(std::uint32_t idle, double keep);
/// Deterministic uniform number in [0, 1) of (block, window, seed).
double SampleDraw(std::uint32_t block, std::uint32_t window, std::uint64_t seed);

}  // namespace shadow::pam
