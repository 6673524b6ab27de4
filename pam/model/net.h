// SPDX-License-Identifier: Apache-2.0
// The network's weights and its hand-written inference: one LSTM step per active block, one head
// pass per scored block. Defined and trained with LibTorch (trainer.h); a test compares the two.
//
// Weights are plain data, shared read-only between threads; inference keeps nothing.
// Architecture: LSTM 8 -> 32 (Hochreiter and Schmidhuber 1997, gates in the order i, f, g, o);
// head [h, query features] -> 32 -> 32 -> 6 with ReLU: four hazard logits and the logs of the rates
// of discounted future accesses and writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "pam/features/engine.h"
#include "pam/model/dataset.h"

namespace shadow::pam {

inline constexpr int kHeadIn = kHidden + kFeatures;
inline constexpr int kHead = 32;
inline constexpr int kOutputs = kHazards + 2;
enum Output : std::uint8_t { kOutFuture = kHazards, kOutWrites = kHazards + 1 };

/// (x - mean) * scale, cut to [low, high]: what training did not see cannot pull the output away.
struct Normaliser {
  std::vector<float> mean, scale, low, high;
  void Apply(const float* in, float* out) const {
    for (std::size_t i = 0; i < mean.size(); ++i) {
      const float x = (in[i] - mean[i]) * scale[i];
      out[i] = x < low[i] ? low[i] : x > high[i] ? high[i] : x;
    }
  }
};

struct NetWeights {
  Normaliser event;           // [kEventInputs]
  Normaliser query;           // [kFeatures]
  std::vector<float> w_ih;    // [4 * kHidden, kEventInputs]
  std::vector<float> w_hh;    // [4 * kHidden, kHidden]
  std::vector<float> bias;    // [4 * kHidden]
  std::vector<float> w1, b1;  // [kHead, kHeadIn], [kHead]
  std::vector<float> w2, b2;  // [kHead, kHead]
  std::vector<float> w3, b3;  // [kOutputs, kHead]

  /// All shapes right and every number finite.
  [[nodiscard]] bool Valid() const;
  void Save(std::string* out) const;
  Status Load(std::string_view* in);
};

/// Recurrent state of a block. h lies within -1..1: 8 bits, 1/127 apart; c as half floats.
struct LstmState {
  std::int8_t h[kHidden] = {};
  std::uint16_t c[kHidden] = {};
};

/// One step for `n` blocks. events: [n, kEventInputs] unnormalised; states[i] is read and written.
void LstmStep(const NetWeights& net, const float* events, LstmState* const* states, std::size_t n);

/// Head for `n` blocks. features: [n, kFeatures] unnormalised; out: [n, kOutputs]. Without states
/// (null) the memory is taken as zero.
void HeadForward(const NetWeights& net, const LstmState* const* states, const float* features,
                 std::size_t n, float* out);

/// True if the AVX2 kernels are in use (else the portable ones).
bool NetUsesAvx2();

}  // namespace shadow::pam
