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
  /// The labels are final: what comes later says nothing about them, or is not known.
  bool settled = false;
};

struct Dataset {
  std::array<std::uint32_t, kHazards> ends{};
  std::uint32_t windows = 0;  // replayed
  double half_life = 30;      // of the future, windows
  std::vector<Sample> samples;
  std::vector<float> features;                           // [samples, kFeatures]
  std::vector<float> events;                             // [events, kEventInputs]
  std::vector<std::uint32_t> event_window;               // [events]
  std::vector<std::vector<std::uint32_t>> block_events;  // per engine index: event numbers
  std::vector<std::uint32_t> event_count, event_writes;  // [events]
  std::uint32_t settled_to = 0;  // settled labels speak of windows before this one

  [[nodiscard]] const float* feature(std::size_t sample) const {
    return features.data() + sample * kFeatures;
  }
};

/// A Recorder run over windows[0, count), labelled as of its end.
Dataset Replay(std::span<const Window> windows, const EngineOptions& engine,
               std::size_t max_samples, std::uint64_t seed);

/// Sets the labels of all samples that are not settled as seen from `end`: samples at or after it
/// get no exposure. Errors: kInvalidArgument if `end` lies beyond the replayed windows, or before
/// what settled labels speak of.
Status Label(Dataset* data, std::uint32_t end);

/// The share of idle blocks that is sampled at this idle age, so that about `target` of `expected`
/// samples remain: all that are active, fewer the longer they are idle. In (0, 1].
double SampleRate(std::uint32_t idle, double keep);
/// Deterministic uniform number in [0, 1) of (block, window, seed).
double SampleDraw(std::uint32_t block, std::uint32_t window, std::uint64_t seed);

}  // namespace shadow::pam
