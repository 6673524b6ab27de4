// SPDX-License-Identifier: Apache-2.0
// Logistic regression, Platt scaling and isotonic regression with sample weights.
//
// Pure numerics, one thread. Fitting minimises weighted log loss with an L2 prior (Newton's
// method); isotonic regression is pool-adjacent-violators (Ayer et al. 1955), Platt scaling follows
// Platt 1999.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace shadow::pam {

/// sigmoid(bias + w . (x - mean) * scale), inputs cut to the range seen in fitting.
class Logistic {
 public:
  /// rows(visit) calls visit(x [width], y 0/1, weight) for every row, the same way each time it is
  /// called. With fewer than two rows or only one class the base rate is kept.
  using Visit = std::function<void(const float* x, float y, float weight)>;
  void Fit(std::size_t width, const std::function<void(const Visit&)>& rows, double l2 = 1.0);
  [[nodiscard]] double Predict(const float* x) const;                      // the logit
  [[nodiscard]] const std::vector<double>& weights() const { return w_; }  // [0] is the bias
  void Save(std::string* out) const;
  Status Load(std::string_view* in, std::size_t width);

 private:
  void Fold();
  std::vector<double> w_, mean_, scale_;
  std::vector<float> slope_;  // what Predict() uses: weights with the scale folded in
  float offset_ = 0;
  std::vector<float> low_, high_;
};

/// Monotone step function from a score to a probability, linear in between.
class Isotonic {
 public:
  struct Point {
    double score, y, weight;
  };
  /// Fits; probabilities are kept within [floor, 1 - floor] so that no answer is ever certain.
  void Fit(std::vector<Point> points, double floor = 1e-5);
  [[nodiscard]] double Predict(double score) const;  // probability
  [[nodiscard]] bool empty() const { return x_.empty(); }
  void Save(std::string* out) const;
  Status Load(std::string_view* in);

 private:
  std::vector<double> x_, p_;
};

/// Solves A x = b for a symmetric positive definite A [n, n] in place (Cholesky); false if it is
/// none.
bool SolveSpd(std::vector<double>* a, std::vector<double>* b);

}  // namespace shadow::pam
