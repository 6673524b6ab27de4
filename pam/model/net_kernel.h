// SPDX-License-Identifier: Apache-2.0
// The arithmetic of net.h on eight blocks at a time (one per vector lane). Included by two files
// that compile it for AVX2 and for the base instruction set; both live in their own namespace.
//
// Written with the compiler's vector extension: no intrinsics, the same code for every machine.
// The three templates below are internal; see net.cc for who calls them.
#pragma once

#include <cstdint>
#include <cstring>

#include "pam/model/net.h"

namespace shadow::pam::SHADOW_NET_NAMESPACE {

using V = float __attribute__((vector_size(32)));
using Vi = std::int32_t __attribute__((vector_size(32)));
inline constexpr int kLanes = 8;

inline V Splat(float x) { return V{x, x, x, x, x, x, x, x}; }

inline V Min(V a, V b) { return a < b ? a : b; }
inline V Max(V a, V b) { return a > b ? a : b; }

/// e^x, relative error below 2e-6 within +-80.
inline V Exp(V x) {
  x = Max(Min(x, Splat(80.0f)), Splat(-80.0f));
  const V t = x * Splat(1.44269504f);
  const V magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const V n = (t + magic) - magic;
  const V f = x - n * Splat(0.693145752f) - n * Splat(1.42860677e-6f);
  V p = Splat(1.3981999e-3f);
  p = p * f + Splat(8.3334519e-3f);
  p = p * f + Splat(4.1665796e-2f);
  p = p * f + Splat(1.6666666e-1f);
  p = p * f + Splat(0.5f);
  p = p * f + Splat(1.0f);
  p = p * f + Splat(1.0f);
  Vi e = __builtin_convertvector(n, Vi);
  e = (e + 127) << 23;
  V scale;
  std::memcpy(&scale, &e, sizeof(scale));
  return p * scale;
}

inline V SigmoidV(V x) { return Splat(1.0f) / (Splat(1.0f) + Exp(-x)); }
inline V TanhV(V x) { return Splat(2.0f) / (Splat(1.0f) + Exp(x * Splat(-2.0f))) - Splat(1.0f); }

/// out[r] += sum_c w[r, c] * in[c] for r in [row, row + 8), c from `first` on.
template <int kCols>
inline void MatTile(const float* w, int row, const V* in, V* acc, int first = 0) {
  const float* w0 = w + static_cast<std::ptrdiff_t>(row) * kCols;
  for (int c = first; c < kCols; ++c) {
    const V x = in[c];
    acc[0] += x * w0[c];
    acc[1] += x * w0[kCols + c];
    acc[2] += x * w0[2 * kCols + c];
    acc[3] += x * w0[3 * kCols + c];
    acc[4] += x * w0[4 * kCols + c];
    acc[5] += x * w0[5 * kCols + c];
    acc[6] += x * w0[6 * kCols + c];
    acc[7] += x * w0[7 * kCols + c];
  }
}

inline void Step8(const NetWeights& net, const float* events, LstmState* const* states, int n) {
  V x[kEventInputs];
  V h[kHidden];
  V c[kHidden];
  for (int l = 0; l < kLanes; ++l) {
    const int s = l < n ? l : 0;
    float row[kEventInputs];
    net.event.Apply(events + std::ptrdiff_t{s} * kEventInputs, row);
    for (int i = 0; i < kEventInputs; ++i) x[i][l] = row[i];
    for (int i = 0; i < kHidden; ++i) {
      h[i][l] = static_cast<float>(states[s]->h[i]) * (1.0f / 127.0f);
      c[i][l] = FromHalf(states[s]->c[i]);
    }
  }
  V gates[4 * kHidden];
  for (int r = 0; r < 4 * kHidden; r += 8) {
    V acc[8];
    for (int k = 0; k < 8; ++k) acc[k] = Splat(net.bias[static_cast<std::size_t>(r) + k]);
    MatTile<kEventInputs>(net.w_ih.data(), r, x, acc);
    MatTile<kHidden>(net.w_hh.data(), r, h, acc);
    for (int k = 0; k < 8; ++k) gates[r + k] = acc[k];
  }
  for (int i = 0; i < kHidden; ++i) {
    const V in = SigmoidV(gates[i]);
    const V forget = SigmoidV(gates[kHidden + i]);
    const V cell = TanhV(gates[2 * kHidden + i]);
    const V out = SigmoidV(gates[3 * kHidden + i]);
    const V next = forget * c[i] + in * cell;
    const V hidden = out * TanhV(next) * Splat(127.0f);
    for (int l = 0; l < n; ++l) {
      const float q = hidden[l];
      states[l]->h[i] = static_cast<std::int8_t>(q < 0 ? q - 0.5f : q + 0.5f);
      states[l]->c[i] = ToHalf(next[l]);
    }
  }
}

inline void Head8(const NetWeights& net, const LstmState* const* states, const float* features,
                  int n, float* out) {
  V in[kHeadIn];
  for (int l = 0; l < kLanes; ++l) {
    const int s = l < n ? l : 0;
    float row[kFeatures];
    net.query.Apply(features + static_cast<std::ptrdiff_t>(s) * kFeatures, row);
    for (int i = 0; states != nullptr && i < kHidden; ++i) {
      in[i][l] = static_cast<float>(states[s]->h[i]) * (1.0f / 127.0f);
    }
    for (int i = 0; i < kFeatures; ++i) in[kHidden + i][l] = row[i];
  }
  const int first = states != nullptr ? 0 : kHidden;
  V a[kHead];
  V b[kHead];
  for (int r = 0; r < kHead; r += 8) {
    V acc[8];
    for (int k = 0; k < 8; ++k) acc[k] = Splat(net.b1[static_cast<std::size_t>(r) + k]);
    MatTile<kHeadIn>(net.w1.data(), r, in, acc, first);
    for (int k = 0; k < 8; ++k) a[r + k] = Max(acc[k], Splat(0.0f));
  }
  for (int r = 0; r < kHead; r += 8) {
    V acc[8];
    for (int k = 0; k < 8; ++k) acc[k] = Splat(net.b2[static_cast<std::size_t>(r) + k]);
    MatTile<kHead>(net.w2.data(), r, a, acc);
    for (int k = 0; k < 8; ++k) b[r + k] = Max(acc[k], Splat(0.0f));
  }
  for (int r = 0; r < kOutputs; ++r) {
    V acc = Splat(net.b3[static_cast<std::size_t>(r)]);
    for (int c = 0; c < kHead; ++c) acc += b[c] * net.w3[static_cast<std::size_t>(r) * kHead + c];
    for (int l = 0; l < n; ++l) out[l * kOutputs + r] = acc[l];
  }
}

}  // namespace shadow::pam::SHADOW_NET_NAMESPACE
