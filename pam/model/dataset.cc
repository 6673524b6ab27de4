// SPDX-License-Identifier: Apache-2.0
// See dataset.h.
#include "pam/model/dataset.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "pam/model/recorder.h"

namespace shadow::pam {

std::array<std::uint32_t, kHazards> HazardEnds(std::int64_t window_us) {
  constexpr std::int64_t kSeconds[kHazards] = {60, 300, 3600, 86'400};
  std::array<std::uint32_t, kHazards> ends{};
  std::uint32_t previous = 0;
  for (int j = 0; j < kHazards; ++j) {
    const auto windows = static_cast<std::uint32_t>(kSeconds[j] * 1'000'000 / window_us);
    ends[j] = std::max(previous + 1, windows);
    previous = ends[j];
  }
  return ends;
}

double SampleRate(std::uint32_t idle, double keep) {
  // Active ones always; then in proportion to 1 / idle, so every decade of age gets as many.
  return std::min(1.0, keep * 64.0 / (1.0 + idle));
}

double SampleDraw(std::uint32_t block, std::uint32_t window, std::uint64_t seed) {
  std::uint64_t x = (std::uint64_t{block} << 32 | window) + seed * 0x9e3779b97f4a7c15ull;
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1p-53;
}

Dataset Replay(std::span<const Window> windows, const EngineOptions& options,
               std::size_t max_samples, std::uint64_t seed) {
  FeatureEngine engine(options);
  Recorder recorder(options.window_us, max_samples, seed);
  for (const Window& w : windows) {
    engine.Close(w);
    recorder.Observe(engine, w);
  }
  return std::move(recorder.Labelled());
}

Status Label(Dataset* data, std::uint32_t end) {
  if (end > data->windows) {
    return MakeError(Code::kInvalidArgument,
                     "labels up to window " + std::to_string(end) + " of a replay of " +
                         std::to_string(data->windows) + " would look beyond what is known");
  }
  if (end < data->settled_to) {
    return MakeError(Code::kInvalidArgument, "labels up to window " + std::to_string(end) +
                                                 " of a record whose labels are settled up to " +
                                                 std::to_string(data->settled_to));
  }
  const double decay = std::exp2(-1.0 / data->half_life);
  // future[e]: discounted sum over events e, e+1, ... of the block, as of the window of e.
  std::vector<double> future(data->event_window.size(), 0.0);
  std::vector<double> writes(data->event_window.size(), 0.0);
  std::vector<std::uint32_t> following(data->event_window.size(), kNever);
  for (const auto& list : data->block_events) {
    double f = 0;
    double fw = 0;
    std::uint32_t next = kNever;
    for (auto it = list.rbegin(); it != list.rend(); ++it) {
      const std::uint32_t e = *it;
      const std::uint32_t w = data->event_window[e];
      if (w >= end) continue;
      if (next != kNever) {
        const double keep = std::pow(decay, data->event_window[next] - w);
        f *= keep;
        fw *= keep;
      }
      f += data->event_count[e];
      fw += data->event_writes[e];
      future[e] = f;
      writes[e] = fw;
      following[e] = next;
      next = e;
    }
  }
  for (Sample& s : data->samples) {
    if (s.settled) continue;
    s.exposure = s.at < end ? end - s.at : 0;
    const std::uint32_t e = s.exposure > 0 ? following[s.event] : kNever;
    s.next = e == kNever ? kNever : data->event_window[e];
    s.mass = static_cast<float>((1.0 - std::pow(decay, s.exposure)) / (1.0 - decay));
    s.future = s.future_writes = 0;
    if (e != kNever) {
      const double keep = std::pow(decay, s.next - s.at);
      s.future = static_cast<float>(future[e] * keep);
      s.future_writes = static_cast<float>(writes[e] * keep);
    }
  }
  return Ok();
}

}  // namespace shadow::pam
