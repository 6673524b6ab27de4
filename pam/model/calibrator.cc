// SPDX-License-Identifier: Apache-2.0
// See calibrator.h.
#include "pam/model/calibrator.h"

#include <algorithm>
#include <cmath>

#include "pam/features/fastmath.h"
#include "pam/model/bytes.h"

namespace shadow::pam {
namespace {

// Chosen on the training parts (docs/pam.md): the intercept follows within some hundred hits, the
// slope is held.
constexpr double kInterceptPrior = 5;
constexpr double kSlopePrior = 1000;
constexpr double kMemory = 1500;  // hits after which evidence counts 1/e
constexpr double kCurvePrior = 5;

}  // namespace

double OutcomeLoss(double logit, bool hit, double share) {
  const double z = std::clamp(logit, -14.0, 14.0);
  if (hit) return std::log1p(std::exp(-z));
  if (share >= 1) return std::log1p(std::exp(z));
  return -std::log1p(-share * Sigmoid(z));
}

HitCurve::HitCurve(std::uint32_t spans) : hits_(spans, kCurvePrior / spans) {}

void HitCurve::Add(std::span<const double> hits) {
  for (std::size_t i = 0; i < hits_.size() && i < hits.size(); ++i) {
    hits_[i] = hits_[i] * 0.98 + hits[i] + 0.02 * kCurvePrior / static_cast<double>(hits_.size());
  }
}

double HitCurve::Share(std::uint32_t windows) const {
  if (windows >= hits_.size()) return 1;
  double part = 0;
  double all = 0;
  for (std::size_t i = 0; i < hits_.size(); ++i) {
    all += hits_[i];
    if (i < windows) part += hits_[i];
  }
  return all > 0 ? part / all : 0;
}

void HitCurve::Save(std::string* out) const { PutVector(out, hits_); }

Status HitCurve::Load(std::string_view* in) {
  std::vector<double> hits;
  bool good = GetVector(in, &hits, 1u << 20) && hits.size() == hits_.size();
  for (const double h : hits) good = good && h >= 0 && h < 1e300;
  if (!good) return MakeError(Code::kDataLoss, "a calibration in the model file is damaged");
  hits_ = std::move(hits);
  return Ok();
}

Calibrator::Calibrator() { resolved_.precision = {kInterceptPrior, 0, kSlopePrior}; }

float Calibrator::Apply(float logit) const {
  return static_cast<float>(std::clamp(now_[0] + now_[1] * logit, -14.0, 14.0));
}

void Calibrator::Newton(std::span<const Outcome> rows, Fit* fit) {
  const Pair start = fit->w;
  std::array<double, 3> h = fit->precision;
  for (int step = 0; step < 4; ++step) {
    h = fit->precision;
    const Pair d = {fit->w[0] - start[0], fit->w[1] - start[1]};
    Pair g = {h[0] * d[0] + h[1] * d[1], h[1] * d[0] + h[2] * d[1]};
    for (const Outcome& r : rows) {
      const double p = Sigmoid(std::clamp(fit->w[0] + fit->w[1] * r.logit, -14.0, 14.0));
      const double left = std::max(1 - r.share * p, 1e-6);
      const double slope = r.hit ? p - 1 : r.share * p * (1 - p) / left;
      const double curve =  // Fisher's information: never negative
          std::max(r.share * p * (1 - p) * (1 - p) / left, 1e-6) * r.weight;
      g[0] += r.weight * slope;
      g[1] += r.weight * slope * r.logit;
      h[0] += curve;
      h[1] += curve * r.logit;
      h[2] += curve * r.logit * r.logit;
    }
    const double det = h[0] * h[2] - h[1] * h[1];
    if (!(det > 0)) return;
    const Pair move = {(h[2] * g[0] - h[1] * g[1]) / det, (h[0] * g[1] - h[1] * g[0]) / det};
    const double largest = std::max(std::fabs(move[0]), std::fabs(move[1]));
    const double cut = largest > 0.5 ? 0.5 / largest : 1.0;  // a step is never wild
    fit->w[0] -= cut * move[0];
    fit->w[1] = std::clamp(fit->w[1] - cut * move[1], 0.2, 3.0);
    if (largest < 1e-5) break;
  }
  fit->precision = h;
}

void Calibrator::Update(std::span<const Outcome> resolved, std::span<const Outcome> waiting) {
  double hits = 0;
  for (const Outcome& r : resolved) hits += r.hit ? r.weight : 0.0;
  const double keep = std::clamp(std::exp(-hits / kMemory), 0.7, 0.998);
  for (double& p : resolved_.precision) p *= keep;
  resolved_.precision[0] += (1 - keep) * kInterceptPrior;  // the prior itself is not forgotten
  resolved_.precision[2] += (1 - keep) * kSlopePrior;
  if (!resolved.empty()) Newton(resolved, &resolved_);
  Fit peek = resolved_;
  if (!waiting.empty()) Newton(waiting, &peek);
  now_ = peek.w;
}

void Calibrator::Save(std::string* out) const {
  Put(out, resolved_.w);
  Put(out, resolved_.precision);
  Put(out, now_);
}

Status Calibrator::Load(std::string_view* in) {
  bool good = Get(in, &resolved_.w) && Get(in, &resolved_.precision) && Get(in, &now_);
  for (const double x : resolved_.w) good = good && std::isfinite(x);
  for (const double x : resolved_.precision) good = good && std::isfinite(x);
  for (const double x : now_) good = good && std::isfinite(x);
  if (!good) return MakeError(Code::kDataLoss, "a calibration in the model file is damaged");
  return Ok();
}

}  // namespace shadow::pam
