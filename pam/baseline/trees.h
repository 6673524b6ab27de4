// SPDX-License-Identifier: Apache-2.0
// Gradient-boosted trees (libxgboost) on all query features: the challenger in evaluations. It is
// not part of the on-line model.
//
// One thread; deterministic. Exceptions do not leave xgboost's C interface; its errors become
// kInternal.
#pragma once

#include <memory>
#include <vector>

#include "daemon/base/result.h"
#include "pam/model/dataset.h"

namespace shadow::pam {

class Trees {
 public:
  Trees();
  ~Trees();
  Trees(Trees&&) noexcept;
  Trees& operator=(Trees&&) noexcept;
  /// Fits horizon `j` on samples at [from, to) with labels that end at `to`; the number of trees is
  /// chosen on the newest 15 %. kFailedPrecondition with fewer than 20 hits or misses.
  Status Fit(const Dataset& data, int j, std::uint32_t from, std::uint32_t to, std::uint64_t seed);
  /// Probabilities for rows [n, kFeatures]. Empty before Fit.
  [[nodiscard]] std::vector<float> Predict(const float* features, std::size_t n) const;
  [[nodiscard]] bool fitted() const { return rounds_ > 0; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  int rounds_ = 0;
};

}  // namespace shadow::pam
