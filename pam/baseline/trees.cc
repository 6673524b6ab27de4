// SPDX-License-Identifier: Apache-2.0
// See trees.h.
#include "pam/baseline/trees.h"

#include <xgboost/c_api.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace shadow::pam {

struct Trees::Impl {
  BoosterHandle booster = nullptr;
  ~Impl() {
    if (booster != nullptr) XGBoosterFree(booster);
  }
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
};

namespace {

struct Matrix {
  DMatrixHandle handle = nullptr;
  std::vector<float> label, weight;
  ~Matrix() {
    if (handle != nullptr) XGDMatrixFree(handle);
  }
  Matrix() = default;
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;

  bool Make(const std::vector<float>& x) {
    return XGDMatrixCreateFromMat(x.data(), label.size(), kFeatures, NAN, &handle) == 0 &&
           XGDMatrixSetFloatInfo(handle, "label", label.data(), label.size()) == 0 &&
           XGDMatrixSetFloatInfo(handle, "weight", weight.data(), weight.size()) == 0;
  }
};

bool Start(const Matrix& m, std::uint64_t seed, BoosterHandle* booster) {
  if (XGBoosterCreate(&m.handle, 1, booster) != 0) return false;
  const std::string s = std::to_string(seed % 1'000'000);
  const char* params[][2] = {{"objective", "binary:logistic"},
                             {"eta", "0.08"},
                             {"max_depth", "6"},
                             {"min_child_weight", "10"},
                             {"subsample", "0.8"},
                             {"colsample_bytree", "0.8"},
                             {"lambda", "2"},
                             {"tree_method", "hist"},
                             {"nthread", "1"},
                             {"verbosity", "0"},
                             {"seed", s.c_str()}};
  for (const auto& p : params) {
    if (XGBoosterSetParam(*booster, p[0], p[1]) != 0) return false;
  }
  return true;
}

double Loss(BoosterHandle booster, const Matrix& m) {
  bst_ulong n = 0;
  const float* p = nullptr;
  if (XGBoosterPredict(booster, m.handle, 0, 0, 0, &n, &p) != 0) return 1e300;
  double loss = 0;
  for (bst_ulong i = 0; i < n; ++i) {
    const double q = std::clamp<double>(m.label[i] > 0.5f ? p[i] : 1 - p[i], 1e-6, 1.0);
    loss -= m.weight[i] * std::log(q);
  }
  return loss;
}

}  // namespace

Trees::Trees() = default;
Trees::~Trees() = default;
Trees::Trees(Trees&&) noexcept = default;
Trees& Trees::operator=(Trees&&) noexcept = default;

Status Trees::Fit(const Dataset& data, int j, std::uint32_t from, std::uint32_t to,
                  std::uint64_t seed) {
  const std::uint32_t span = data.ends[static_cast<std::size_t>(j)];
  const std::uint32_t cut = from + (to - from) * 85 / 100;
  Matrix train, valid, all;
  std::vector<float> x_train, x_valid, x_all;
  double hits = 0;
  for (std::size_t i = 0; i < data.samples.size(); ++i) {
    const Sample& s = data.samples[i];
    if (s.at < from || s.at >= to || to - s.at < span || s.exposure < span) continue;
    const float y = s.next != kNever && s.next - s.at < span ? 1.0f : 0.0f;
    hits += y;
    const auto add = [&](Matrix& m, std::vector<float>& x) {
      m.label.push_back(y);
      m.weight.push_back(s.weight);
      x.insert(x.end(), data.feature(i), data.feature(i) + kFeatures);
    };
    add(all, x_all);
    if (s.at >= cut) {
      add(valid, x_valid);
    } else if (cut - s.at >= span) {
      add(train, x_train);
    }
  }
  if (hits < 20 || static_cast<double>(all.label.size()) - hits < 20 || train.label.empty() ||
      valid.label.empty()) {
    return MakeError(Code::kFailedPrecondition, "too few samples for boosted trees");
  }
  const auto failed = [] {
    return MakeError(Code::kInternal, std::string("xgboost failed: ") + XGBGetLastError());
  };
  if (!train.Make(x_train) || !valid.Make(x_valid) || !all.Make(x_all)) return failed();
  int best_round = 1;
  {
    Impl trial;
    if (!Start(train, seed, &trial.booster)) return failed();
    double best = 1e301;
    for (int round = 0; round < 200; ++round) {
      if (XGBoosterUpdateOneIter(trial.booster, round, train.handle) != 0) return failed();
      if ((round + 1) % 5 != 0) continue;
      const double loss = Loss(trial.booster, valid);
      if (loss < best) {
        best = loss;
        best_round = round + 1;
      } else if (round + 1 > best_round + 25) {
        break;
      }
    }
  }
  auto impl = std::make_unique<Impl>();
  if (!Start(all, seed, &impl->booster)) return failed();
  for (int round = 0; round < best_round; ++round) {
    if (XGBoosterUpdateOneIter(impl->booster, round, all.handle) != 0) return failed();
  }
  impl_ = std::move(impl);
  rounds_ = best_round;
  return Ok();
}

std::vector<float> Trees::Predict(const float* features, std::size_t n) const {
  std::vector<float> out;
  if (impl_ == nullptr || n == 0) return out;
  DMatrixHandle m = nullptr;
  if (XGDMatrixCreateFromMat(features, n, kFeatures, NAN, &m) != 0) return out;
  bst_ulong count = 0;
  const float* p = nullptr;
  if (XGBoosterPredict(impl_->booster, m, 0, 0, 0, &count, &p) == 0) out.assign(p, p + count);
  XGDMatrixFree(m);
  return out;
}

}  // namespace shadow::pam
