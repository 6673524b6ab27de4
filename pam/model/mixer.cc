// SPDX-License-Identifier: Apache-2.0
// See mixer.h.
#include "pam/model/mixer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "pam/baseline/logistic.h"
#include "pam/features/fastmath.h"
#include "pam/model/bytes.h"

namespace shadow::pam {

Mixer::Mixer(const MixerOptions& options) : options_(options) {
  w_ = {0, 0.5, 0, 0, 0.5};
  for (int i = 0; i < kMixInputs; ++i) {
    precision_[static_cast<std::size_t>(i) * (kMixInputs + 1)] =
        i == 0 ? options.intercept_prior : options.prior;
  }
}

float Mixer::Mix(const std::array<float, kExperts>& logit) const {
  double z = w_[0];
  for (int i = 0; i < kExperts; ++i)
    z += w_[static_cast<std::size_t>(i) + 1] * logit[static_cast<std::size_t>(i)];
  return static_cast<float>(std::clamp(z, -14.0, 14.0));
}

void Mixer::Newton(std::span<const MixRow> rows, int steps) {
  // Minimises loss(rows) + 1/2 (w - w0)' P (w - w0); afterwards P takes the curvature in.
  constexpr std::size_t n = kMixInputs;
  const auto start = w_;
  std::vector<double> hessian;
  for (int step = 0; step < steps; ++step) {
    hessian.assign(precision_.begin(), precision_.end());
    std::vector<double> gradient(n, 0.0);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j < n; ++j) gradient[i] += precision_[i * n + j] * (w_[j] - start[j]);
    }
    for (const MixRow& row : rows) {
      const double x[n] = {1.0, row.logit[0], row.logit[1], row.logit[2], row.logit[3]};
      double z = 0;
      for (std::size_t i = 0; i < n; ++i) z += w_[i] * x[i];
      const double p = Sigmoid(std::clamp(z, -14.0, 14.0));
      const double g = row.weight * (p - row.hit);
      const double h = row.weight * std::max(p * (1 - p), 1e-6);
      for (std::size_t i = 0; i < n; ++i) {
        gradient[i] += g * x[i];
        for (std::size_t j = 0; j < n; ++j) hessian[i * n + j] += h * x[i] * x[j];
      }
    }
    std::vector<double> factor = hessian;
    if (!SolveSpd(&factor, &gradient)) break;
    double largest = 0;
    for (std::size_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(gradient[i]));
    const double cut = largest > 0.5 ? 0.5 / largest : 1.0;  // a step is never wild
    for (std::size_t i = 0; i < n; ++i) w_[i] -= cut * gradient[i];
    if (largest < 1e-6) break;
  }
  if (!hessian.empty()) std::copy(hessian.begin(), hessian.end(), precision_.begin());
}

void Mixer::Update(std::span<const MixRow> rows) {
  double hits = 0;
  for (const MixRow& row : rows) hits += row.weight * row.hit;
  const double forget = std::clamp(std::exp(-hits / options_.memory), 0.9, 0.998);
  for (double& p : precision_) p *= forget;
  for (int i = 0; i < kMixInputs; ++i) {  // the prior itself is not forgotten
    precision_[static_cast<std::size_t>(i) * (kMixInputs + 1)] +=
        (1 - forget) * (i == 0 ? options_.intercept_prior : options_.prior);
  }
  if (!rows.empty()) Newton(rows, 3);
}

void Mixer::Fit(std::span<const MixRow> rows) {
  *this = Mixer(options_);
  if (!rows.empty()) Newton(rows, 30);
}

void Mixer::Save(std::string* out) const {
  Put(out, w_);
  Put(out, precision_);
}

Status Mixer::Load(std::string_view* in) {
  bool good = Get(in, &w_) && Get(in, &precision_);
  for (const double x : w_) good = good && std::isfinite(x);
  for (const double x : precision_) good = good && std::isfinite(x);
  if (!good) return MakeError(Code::kDataLoss, "a mixture in the model file is damaged");
  return Ok();
}

}  // namespace shadow::pam
