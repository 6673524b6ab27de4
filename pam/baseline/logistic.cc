// SPDX-License-Identifier: Apache-2.0
// See logistic.h.
#include "pam/baseline/logistic.h"

#include <algorithm>
#include <cmath>

#include "pam/features/fastmath.h"
#include "pam/model/bytes.h"

namespace shadow::pam {

bool SolveSpd(std::vector<double>* a, std::vector<double>* b) {
  const std::size_t n = b->size();
  auto& m = *a;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double s = m[i * n + j];
      for (std::size_t k = 0; k < j; ++k) s -= m[i * n + k] * m[j * n + k];
      if (i == j) {
        if (!(s > 1e-300)) return false;
        m[i * n + i] = std::sqrt(s);
      } else {
        m[i * n + j] = s / m[j * n + j];
      }
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t k = 0; k < i; ++k) (*b)[i] -= m[i * n + k] * (*b)[k];
    (*b)[i] /= m[i * n + i];
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) (*b)[i] -= m[k * n + i] * (*b)[k];
    (*b)[i] /= m[i * n + i];
  }
  return true;
}

void Logistic::Fit(std::size_t width, const std::function<void(const Visit&)>& rows, double l2) {
  mean_.assign(width, 0);
  scale_.assign(width, 0);
  low_.assign(width, 1e30f);
  high_.assign(width, -1e30f);
  w_.assign(width + 1, 0);
  std::vector<double> square(width, 0);
  double total = 0;
  double positive = 0;
  rows([&](const float* x, float y, float weight) {
    total += weight;
    positive += weight * y;
    for (std::size_t i = 0; i < width; ++i) {
      mean_[i] += weight * x[i];
      square[i] += weight * x[i] * x[i];
      low_[i] = std::min(low_[i], x[i]);
      high_[i] = std::max(high_[i], x[i]);
    }
  });
  const double base = (positive + 0.5) / (total + 1.0);
  w_[0] = Logit(base);
  if (total <= 0) {
    std::fill(low_.begin(), low_.end(), 0.0f);
    std::fill(high_.begin(), high_.end(), 0.0f);
    Fold();
    return;
  }
  for (std::size_t i = 0; i < width; ++i) {
    mean_[i] /= total;
    const double sd = std::sqrt(std::max(0.0, square[i] / total - mean_[i] * mean_[i]));
    scale_[i] = sd > 1e-5 ? 1.0 / sd : 0.0;
  }
  Fold();
  if (positive <= 0 || positive >= total) return;

  const std::size_t n = width + 1;
  double previous = 1e300;
  std::vector<double> best = w_;
  double damping = 1e-6;
  for (int iteration = 0; iteration < 50; ++iteration) {
    std::vector<double> hessian(n * n, 0), gradient(n, 0), z(n, 1.0);
    double loss = 0;
    rows([&](const float* x, float y, float weight) {
      double logit = w_[0];
      for (std::size_t i = 0; i < width; ++i) {
        z[i + 1] = (x[i] - mean_[i]) * scale_[i];
        logit += w_[i + 1] * z[i + 1];
      }
      const double p = Sigmoid(logit);
      loss += weight * (y > 0.5f ? std::log1p(std::exp(-logit)) : std::log1p(std::exp(logit)));
      const double g = weight * (p - y);
      const double h = weight * std::max(p * (1 - p), 1e-9);
      for (std::size_t i = 0; i < n; ++i) {
        gradient[i] += g * z[i];
        const double hz = h * z[i];
        for (std::size_t j = 0; j <= i; ++j) hessian[i * n + j] += hz * z[j];
      }
    });
    for (std::size_t i = 1; i < n; ++i) loss += 0.5 * l2 * w_[i] * w_[i];
    if (!(loss < previous)) {  // overshot: go back half of the way
      damping = std::max(damping * 10, 1e-3);
      for (std::size_t i = 0; i < n; ++i) w_[i] = 0.5 * (w_[i] + best[i]);
      if (damping > 1e3) break;
      continue;
    }
    const bool done = previous - loss < 1e-7 * std::max(1.0, loss);
    previous = loss;
    best = w_;
    if (done) break;
    for (std::size_t i = 0; i < n; ++i) {
      if (i > 0) gradient[i] += l2 * w_[i];
      hessian[i * n + i] += (i > 0 ? l2 : 0.0) + damping;
    }
    if (!SolveSpd(&hessian, &gradient)) break;
    for (std::size_t i = 0; i < n; ++i) w_[i] -= std::clamp(gradient[i], -5.0, 5.0);
  }
  w_ = best;
  Fold();
}

void Logistic::Fold() {
  double offset = w_[0];
  slope_.resize(mean_.size());
  for (std::size_t i = 0; i < mean_.size(); ++i) {
    slope_[i] = static_cast<float>(w_[i + 1] * scale_[i]);
    offset -= w_[i + 1] * scale_[i] * mean_[i];
  }
  offset_ = static_cast<float>(offset);
}

double Logistic::Predict(const float* x) const {
  float logit = offset_;
  for (std::size_t i = 0; i < slope_.size(); ++i) {
    const float cut = x[i] < low_[i] ? low_[i] : x[i] > high_[i] ? high_[i] : x[i];
    logit += slope_[i] * cut;
  }
  return std::clamp(logit, -30.0f, 30.0f);
}

void Logistic::Save(std::string* out) const {
  PutVector(out, w_);
  PutVector(out, mean_);
  PutVector(out, scale_);
  PutVector(out, low_);
  PutVector(out, high_);
}

Status Logistic::Load(std::string_view* in, std::size_t width) {
  const std::uint64_t most = 1024;
  bool good = GetVector(in, &w_, most) && GetVector(in, &mean_, most) &&
              GetVector(in, &scale_, most) && GetVector(in, &low_, most) &&
              GetVector(in, &high_, most);
  good = good && w_.size() == width + 1 && mean_.size() == width && scale_.size() == width &&
         low_.size() == width && high_.size() == width;
  for (std::size_t i = 0; good && i < width; ++i) {
    good = std::isfinite(mean_[i]) && std::isfinite(scale_[i]) && low_[i] <= high_[i];
  }
  for (const double w : w_) good = good && std::isfinite(w);
  if (!good) return MakeError(Code::kDataLoss, "a regression in the model file is damaged");
  Fold();
  return Ok();
}

void Isotonic::Fit(std::vector<Point> points, double floor) {
  x_.clear();
  p_.clear();
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return a.score < b.score; });
  struct Pool {
    double y, weight, low, high;
  };
  std::vector<Pool> pools;
  for (std::size_t i = 0; i < points.size();) {
    Pool pool{0, 0, points[i].score, points[i].score};
    for (; i < points.size() && points[i].score == pool.high; ++i) {
      pool.y += points[i].y * points[i].weight;
      pool.weight += points[i].weight;
    }
    if (pool.weight <= 0) continue;
    pools.push_back(pool);
    while (pools.size() > 1) {
      const Pool& last = pools.back();
      Pool& before = pools[pools.size() - 2];
      if (before.y / before.weight < last.y / last.weight) break;
      before.y += last.y;
      before.weight += last.weight;
      before.high = last.high;
      pools.pop_back();
    }
  }
  for (const Pool& pool : pools) {
    // One virtual observation at the overall rate would be a prior; the floor is enough here.
    const double p = std::clamp(pool.y / pool.weight, floor, 1 - floor);
    x_.push_back(pool.low);
    p_.push_back(p);
    if (pool.high > pool.low) {
      x_.push_back(pool.high);
      p_.push_back(p);
    }
  }
}

double Isotonic::Predict(double score) const {
  if (x_.empty()) return 0.5;
  if (score <= x_.front()) return p_.front();
  if (score >= x_.back()) return p_.back();
  const auto above =
      static_cast<std::size_t>(std::upper_bound(x_.begin(), x_.end(), score) - x_.begin());
  const double share = (score - x_[above - 1]) / (x_[above] - x_[above - 1]);
  return p_[above - 1] + share * (p_[above] - p_[above - 1]);
}

void Isotonic::Save(std::string* out) const {
  PutVector(out, x_);
  PutVector(out, p_);
}

Status Isotonic::Load(std::string_view* in) {
  bool good = GetVector(in, &x_, 1u << 22) && GetVector(in, &p_, 1u << 22);
  good = good && x_.size() == p_.size() && std::is_sorted(x_.begin(), x_.end()) &&
         std::is_sorted(p_.begin(), p_.end());
  for (std::size_t i = 0; good && i < x_.size(); ++i) {
    good = std::isfinite(x_[i]) && p_[i] > 0 && p_[i] < 1;
  }
  if (!good) return MakeError(Code::kDataLoss, "a calibration in the model file is damaged");
  return Ok();
}

}  // namespace shadow::pam
