// SPDX-License-Identifier: Apache-2.0
// See rivals.h.
#include "pam/baseline/rivals.h"

#include <algorithm>
#include <cmath>

#include "pam/features/fastmath.h"
#include "pam/model/bytes.h"

namespace shadow::pam {
namespace {

/// What an EWMA is calibrated on: its log1p and the log of it, so that small values spread out.
std::array<float, 2> EwmaInputs(float log1p_value) {
  return {log1p_value, FastLog1p(log1p_value * 1000.0f)};
}

struct Row {
  const float* x;
  float y;
  float weight;
  std::uint32_t at;
};

double LogLoss(double logit, float y) {
  return y > 0.5f ? std::log1p(std::exp(-logit)) : std::log1p(std::exp(logit));
}

}  // namespace

void Rivals::Fit(const Dataset& data, std::uint32_t from, std::uint32_t to) {
  rows_ = data.samples.size();
  for (int j = 0; j < kHazards; ++j) {
    Horizon h;
    const std::uint32_t span = data.ends[j];
    std::vector<Row> rows;
    double hits = 0;
    double total = 0;
    double last[2][2] = {{0.5, 1}, {0.5, 1}};
    for (std::size_t i = 0; i < data.samples.size(); ++i) {
      const Sample& s = data.samples[i];
      if (s.at < from || s.at >= to || to - s.at < span || s.exposure < span) continue;
      const float y = s.next != kNever && s.next - s.at < span ? 1.0f : 0.0f;
      const float* x = data.feature(i);
      rows.push_back({x, y, s.weight, s.at});
      hits += y * s.weight;
      total += s.weight;
      const int active = x[kIdle] == 0.0f ? 1 : 0;
      last[active][0] += y * s.weight;
      last[active][1] += s.weight;
    }
    if (j > 0) {
      h.stretch = std::sqrt(static_cast<double>(data.ends[j]) / data.ends[j - 1]);
    }
    if (j > 0 && (hits < 20 || total - hits < 20)) {
      horizon_[j] = h;
      continue;
    }
    h.fitted = true;
    h.constant = static_cast<float>(Logit((hits + 0.5) / (total + 1.0)));
    for (int k = 0; k < 2; ++k) {
      h.last_window[static_cast<std::size_t>(k)] =
          static_cast<float>(Logit(std::clamp(last[k][0] / last[k][1], 1e-5, 1 - 1e-5)));
    }
    std::vector<float> x(kThirteen.size());
    h.regression.Fit(kThirteen.size(), [&](const Logistic::Visit& visit) {
      for (const Row& r : rows) {
        for (std::size_t k = 0; k < kThirteen.size(); ++k) x[k] = r.x[kThirteen[k]];
        visit(x.data(), r.y, r.weight);
      }
    });
    h.recency.Fit(1, [&](const Logistic::Visit& visit) {
      for (const Row& r : rows) visit(r.x + kIdle, r.y, r.weight);
    });
    double best = 1e300;
    for (std::size_t e = 0; e < kHalfLives.size(); ++e) {
      h.ewma[e].Fit(2, [&](const Logistic::Visit& visit) {
        for (const Row& r : rows) visit(EwmaInputs(r.x[kHalfLives[e]]).data(), r.y, r.weight);
      });
      double loss = 0;
      for (const Row& r : rows) {
        loss += r.weight * LogLoss(h.ewma[e].Predict(EwmaInputs(r.x[kHalfLives[e]]).data()), r.y);
      }
      if (loss < best) {
        best = loss;
        h.half_life = static_cast<int>(e);
      }
    }
    if (hits >= 5000) {
      // Isotonic if it does better than Platt on the newest 15 % after being fitted on the rest.
      const std::uint32_t cut = from + (to - from) * 85 / 100;
      const int f = kHalfLives[static_cast<std::size_t>(h.half_life)];
      std::vector<Isotonic::Point> old, all;
      for (const Row& r : rows) {
        if (r.at < cut) old.push_back({r.x[f], r.y, r.weight});
        all.push_back({r.x[f], r.y, r.weight});
      }
      Isotonic trial;
      trial.Fit(old);
      double isotonic = 0;
      double platt = 0;
      for (const Row& r : rows) {
        if (r.at < cut) continue;
        isotonic += r.weight * LogLoss(Logit(trial.Predict(r.x[f])), r.y);
        platt += r.weight * LogLoss(h.ewma[static_cast<std::size_t>(h.half_life)].Predict(
                                        EwmaInputs(r.x[f]).data()),
                                    r.y);
      }
      if (isotonic < platt) h.ewma_isotonic.Fit(all);
    }
    horizon_[j] = std::move(h);
  }
}

int Rivals::Fitted(int j) const {
  while (j > 0 && !horizon_[j].fitted) --j;
  return j;
}

float Rivals::Stretch(int from, int to, double logit) const {
  double power = 1;
  for (int j = from + 1; j <= to; ++j) power *= horizon_[j].stretch;
  if (power == 1) return static_cast<float>(std::clamp(logit, -14.0, 14.0));
  const double survive = std::pow(1 - Sigmoid(logit), power);
  return static_cast<float>(Logit(std::clamp(1 - survive, 1e-6, 1 - 1e-6)));
}

float Rivals::Regression(int j, const float* features) const {
  const int f = Fitted(j);
  float x[kThirteen.size()];
  for (std::size_t k = 0; k < kThirteen.size(); ++k) x[k] = features[kThirteen[k]];
  return Stretch(f, j, horizon_[f].regression.Predict(x));
}

float Rivals::Ewma(int j, const float* features) const {
  const int f = Fitted(j);
  const Horizon& h = horizon_[f];
  const float value = features[kHalfLives[static_cast<std::size_t>(h.half_life)]];
  const double logit =
      h.ewma_isotonic.empty()
          ? h.ewma[static_cast<std::size_t>(h.half_life)].Predict(EwmaInputs(value).data())
          : Logit(h.ewma_isotonic.Predict(value));
  return Stretch(f, j, logit);
}

float Rivals::EwmaOf(int half_life, int j, const float* features) const {
  const int f = Fitted(j);
  const auto e = static_cast<std::size_t>(half_life);
  return Stretch(f, j, horizon_[f].ewma[e].Predict(EwmaInputs(features[kHalfLives[e]]).data()));
}

float Rivals::LastWindow(int j, const float* features) const {
  const int f = Fitted(j);
  return Stretch(f, j, horizon_[f].last_window[features[kIdle] == 0.0f ? 1 : 0]);
}

float Rivals::Recency(int j, const float* features) const {
  const int f = Fitted(j);
  return Stretch(f, j, horizon_[f].recency.Predict(features + kIdle));
}

void Rivals::Save(std::string* out) const {
  Put(out, rows_);
  for (const Horizon& h : horizon_) {
    Put(out, static_cast<std::uint8_t>(h.fitted ? 1 : 0));
    Put(out, h.constant);
    Put(out, h.last_window);
    Put(out, static_cast<std::int32_t>(h.half_life));
    Put(out, h.stretch);
    if (!h.fitted) continue;
    h.regression.Save(out);
    h.recency.Save(out);
    for (const Logistic& e : h.ewma) e.Save(out);
    h.ewma_isotonic.Save(out);
  }
}

Status Rivals::Load(std::string_view* in) {
  if (!Get(in, &rows_)) return MakeError(Code::kDataLoss, "the model file is cut short");
  for (int j = 0; j < kHazards; ++j) {
    Horizon h;
    std::uint8_t fitted = 0;
    std::int32_t half_life = 0;
    bool good = Get(in, &fitted) && Get(in, &h.constant) && Get(in, &h.last_window) &&
                Get(in, &half_life) && Get(in, &h.stretch);
    good = good && fitted <= 1 && half_life >= 0 && half_life < 5 && std::isfinite(h.constant) &&
           h.stretch >= 1 && h.stretch < 1e6 && (fitted == 1 || j > 0);
    if (!good) return MakeError(Code::kDataLoss, "a rival in the model file is damaged");
    h.fitted = fitted == 1;
    h.half_life = half_life;
    if (h.fitted) {
      SHADOW_TRY(h.regression.Load(in, kThirteen.size()));
      SHADOW_TRY(h.recency.Load(in, 1));
      for (Logistic& e : h.ewma) SHADOW_TRY(e.Load(in, 2));
      SHADOW_TRY(h.ewma_isotonic.Load(in));
    }
    horizon_[j] = std::move(h);
  }
  return Ok();
}

}  // namespace shadow::pam
