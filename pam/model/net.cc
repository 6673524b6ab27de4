// SPDX-License-Identifier: Apache-2.0
// Choice of kernel, loops over batches, and the bytes of the weights. See net.h.
#include "pam/model/net.h"

#include <algorithm>
#include <cmath>

#include "pam/model/bytes.h"
#include "pam/model/net_variants.h"

namespace shadow::pam {
namespace {

const internal::NetKernels& Kernels() {
  static const internal::NetKernels& chosen =
      NetUsesAvx2() ? internal::kNetAvx2 : internal::kNetBase;
  return chosen;
}

bool Finite(const std::vector<float>& v, std::size_t size) {
  return v.size() == size &&
         std::all_of(v.begin(), v.end(), [](float x) { return std::isfinite(x); });
}

bool ValidNormaliser(const Normaliser& n, std::size_t size) {
  return Finite(n.mean, size) && Finite(n.scale, size) && Finite(n.low, size) &&
         Finite(n.high, size);
}

constexpr std::uint64_t kMost = 1u << 20;

}  // namespace

bool NetUsesAvx2() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
#else
  return false;
#endif
}

void LstmStep(const NetWeights& net, const float* events, LstmState* const* states, std::size_t n) {
  for (std::size_t i = 0; i < n; i += 8) {
    Kernels().step(net, events + i * kEventInputs, states + i,
                   static_cast<int>(std::min<std::size_t>(8, n - i)));
  }
}

void HeadForward(const NetWeights& net, const LstmState* const* states, const float* features,
                 std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += 8) {
    Kernels().head(net, states == nullptr ? nullptr : states + i, features + i * kFeatures,
                   static_cast<int>(std::min<std::size_t>(8, n - i)), out + i * kOutputs);
  }
}

bool NetWeights::Valid() const {
  return ValidNormaliser(event, kEventInputs) && ValidNormaliser(query, kFeatures) &&
         Finite(w_ih, std::size_t{4} * kHidden * kEventInputs) &&
         Finite(w_hh, std::size_t{4} * kHidden * kHidden) &&
         Finite(bias, std::size_t{4} * kHidden) && Finite(w1, std::size_t{kHead} * kHeadIn) &&
         Finite(b1, kHead) && Finite(w2, std::size_t{kHead} * kHead) && Finite(b2, kHead) &&
         Finite(w3, std::size_t{kOutputs} * kHead) && Finite(b3, kOutputs);
}

void NetWeights::Save(std::string* out) const {
  for (const auto* v :
       {&event.mean, &event.scale, &event.low, &event.high, &query.mean, &query.scale, &query.low,
        &query.high, &w_ih, &w_hh, &bias, &w1, &b1, &w2, &b2, &w3, &b3}) {
    PutVector(out, *v);
  }
}

Status NetWeights::Load(std::string_view* in) {
  bool good = true;
  for (auto* v : {&event.mean, &event.scale, &event.low, &event.high, &query.mean, &query.scale,
                  &query.low, &query.high, &w_ih, &w_hh, &bias, &w1, &b1, &w2, &b2, &w3, &b3}) {
    good = good && GetVector(in, v, kMost);
  }
  if (!good || !Valid()) {
    return MakeError(Code::kDataLoss, "the network in the model file has a wrong shape or numbers",
                     "train the model again");
  }
  return Ok();
}

}  // namespace shadow::pam
