// SPDX-License-Identifier: Apache-2.0
// See metrics.h.
#include "pam/eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace shadow::pam {
namespace {

constexpr int kBins = 15;

void Calibration(const std::vector<Scored>& samples, Metrics* m) {
  m->bins.assign(kBins, {});
  double variance[kBins] = {};
  double near3 = 0, near7 = 0, hit3 = 0, hit7 = 0;
  for (const Scored& s : samples) {
    const int bin = std::clamp(static_cast<int>(s.p * kBins), 0, kBins - 1);
    ReliabilityBin& b = m->bins[static_cast<std::size_t>(bin)];
    b.predicted += static_cast<double>(s.p) * s.weight;
    b.observed += s.hit ? s.weight : 0.0;
    b.weight += s.weight;
    const double p = s.p;
    variance[bin] += static_cast<double>(s.weight) * s.weight * p * (1 - p);
    if (std::fabs(s.p - 0.3f) <= 0.05f) {
      near3 += s.weight;
      hit3 += s.hit ? s.weight : 0.0;
    }
    if (std::fabs(s.p - 0.7f) <= 0.05f) {
      near7 += s.weight;
      hit7 += s.hit ? s.weight : 0.0;
    }
  }
  for (const double v : variance) m->ece_chance += std::sqrt(v * 2 / std::numbers::pi) / m->count;
  for (ReliabilityBin& b : m->bins) {
    if (b.weight <= 0) continue;
    m->ece += std::fabs(b.predicted - b.observed) / m->count;
    b.predicted /= b.weight;
    b.observed /= b.weight;
  }
  if (near3 > 0) m->at_03 = hit3 / near3;
  if (near7 > 0) m->at_07 = hit7 / near7;
}

/// Walks thresholds from high to low; samples are sorted by p, descending.
void Ranking(const std::vector<Scored>& samples, Metrics* m) {
  double tp = 0;
  double fp = 0;
  double auc = 0;
  double ap = 0;
  double taken = 0;
  const double negatives = m->count - m->positives;
  std::vector<std::pair<float, float>> curve;
  double at_capacity[4] = {0, 0, 0, 0};
  for (std::size_t i = 0; i < samples.size();) {
    double hits = 0;
    double misses = 0;
    const float p = samples[i].p;
    for (; i < samples.size() && samples[i].p == p; ++i) {
      (samples[i].hit ? hits : misses) += samples[i].weight;
    }
    const double group = hits + misses;
    for (int k = 0; k < 4; ++k) {
      const double want = kCapacities[k] * m->count;
      const double take = std::clamp(want - taken, 0.0, group);
      at_capacity[k] += hits * (group > 0 ? take / group : 0);
    }
    taken += group;
    auc += hits * 0.0 + misses * (tp + hits / 2);
    tp += hits;
    fp += misses;
    if (m->positives > 0 && tp + fp > 0) {
      ap += hits / m->positives * (tp / (tp + fp));
      curve.emplace_back(static_cast<float>(tp / m->positives), static_cast<float>(tp / (tp + fp)));
    }
  }
  m->roc_auc = m->positives > 0 && negatives > 0 ? auc / (m->positives * negatives) : 0.5;
  m->pr_auc = m->positives > 0 ? ap : 0.0;
  for (int k = 0; k < 4; ++k) m->precision[k] = at_capacity[k] / (kCapacities[k] * m->count);
  const std::size_t step = std::max<std::size_t>(1, curve.size() / 199);
  for (std::size_t i = 0; i < curve.size(); i += step) m->pr_curve.push_back(curve[i]);
  if (!curve.empty() && (curve.size() - 1) % step != 0) m->pr_curve.push_back(curve.back());
}

}  // namespace

Metrics Measure(std::vector<Scored> samples) {
  Metrics m;
  std::erase_if(samples, [](const Scored& s) { return !(s.weight > 0); });
  for (const Scored& s : samples) {
    m.count += s.weight;
    m.positives += s.hit ? s.weight : 0.0;
    const double p = s.p;
    const double q = s.hit ? p : 1 - p;
    m.log_loss -= s.weight * std::log(std::max(q, 1e-15));
    m.brier += s.weight * (1 - q) * (1 - q);
  }
  if (m.count <= 0) return m;
  m.log_loss /= m.count;
  m.brier /= m.count;
  Calibration(samples, &m);
  std::sort(samples.begin(), samples.end(),
            [](const Scored& a, const Scored& b) { return a.p > b.p; });
  Ranking(samples, &m);
  return m;
}

}  // namespace shadow::pam
