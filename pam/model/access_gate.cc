// SPDX-License-Identifier: Apache-2.0
// What became of earlier predictions: into the mixture, the calibrations and the gate.
// See access_model.h.
#include <algorithm>
#include <bit>
#include <cmath>

#include "pam/features/fastmath.h"
#include "pam/model/access_model.h"

namespace shadow::pam {
namespace {

constexpr std::array<std::size_t, kHazards> kPendingRows = {8192, 4096, 1024, 256};
/// Longer horizons are judged only when they have passed: too many predictions would wait.
constexpr std::uint32_t kLongestWatched = 60;

// Chosen on the training parts (docs/pam.md). What was said of the candidates is forgotten with the
// gate's half-life of two hours, but not faster than in so many lengths of the horizon.
constexpr double kLengths = 24;

/// Log of a candidate's weight before anything is known. A quick calibration learns from
/// predictions that still wait, the gate only from those whose horizon has passed: the longer it
/// is, the less the uncalibrated ones are worth. `end`: windows of the horizon.
double StartOf(std::size_t candidate, std::uint32_t end) {
  const double plain = 1.0 / (1.0 + end);
  return std::log((candidate % 2 == 0 ? plain : 1 - plain) / kRulers);
}

}  // namespace

void AccessModel::Remember(int j, std::span<const std::uint32_t> scored,
                           std::span<const Opinion> opinions) {
  auto& queue = pending_[static_cast<std::size_t>(j)];
  const std::uint32_t at = engine_.now();
  if (queue.empty() || queue.back().at != at) queue.push_back({at, {}, {}, {}, {}});
  Pending& p = queue.back();
  // A share of each window's predictions is followed, the same share of all of its blocks.
  const double limit = static_cast<double>(kPendingRows[static_cast<std::size_t>(j)]);
  const double rate = std::min(
      1.0, limit / std::max(1.0, static_cast<double>(std::max<std::size_t>(engine_.size(), 1))));
  for (std::size_t i = 0; i < scored.size(); ++i) {
    if (rate < 1.0 && SampleDraw(engine_.state(scored[i]).block, at,
                                 options_.seed + 77 + static_cast<std::uint64_t>(j)) >= rate) {
      continue;
    }
    const auto jj = static_cast<std::size_t>(j);
    const Opinion& o = opinions[i];
    p.index.push_back(scored[i]);
    p.weight.push_back(static_cast<float>(1.0 / rate));
    p.logit.push_back(o.logit[jj]);
    p.said.push_back(o.said[jj]);
  }
}

/// Windows from the prediction to the first access after it (0: in the first one), as far as the
/// block's history of 64 windows tells; at or beyond the horizon if there was none.
std::uint32_t AccessModel::FirstHit(const Pending& p, std::size_t i) const {
  const BlockState& s = engine_.state(p.index[i]);
  if (s.last < p.at) return FeatureEngine::kNone;
  const std::uint32_t since = s.last - p.at;
  if (since >= 64) return 0;  // long ago: the early part of a long horizon
  const std::uint64_t mask = since == 63 ? ~std::uint64_t{0} : (std::uint64_t{2} << since) - 1;
  return since - static_cast<std::uint32_t>(std::bit_width(s.recent & mask) - 1);
}

void AccessModel::LearnFrom(int j, const Pending& p, Outcomes* resolved) {
  const auto jj = static_cast<std::size_t>(j);
  const double keep = std::exp2(-1 / GateHalfLife(j));
  for (double& l : loss_[jj]) l *= keep;
  loss_weight_[jj] *= keep;
  std::array<double, kCandidates> lost{};
  double asked = 0;
  std::vector<MixRow> rows(p.index.size());
  std::vector<double> when(ends_[jj], 0.0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::uint32_t first = FirstHit(p, i);
    const bool hit = first < ends_[jj];
    if (hit) when[first] += p.weight[i];
    // Outcomes of overlapping horizons are hardly independent: each counts 1 / length.
    const float weight = p.weight[i] / static_cast<float>(ends_[jj]);
    rows[i] = {p.logit[i], hit ? 1.0f : 0.0f, weight};
    for (std::size_t r = 0; r < kRulers; ++r) {
      (*resolved)[r].push_back({p.said[i][2 * r], weight, 1, hit});
    }
    for (std::size_t k = 0; k < kCandidates; ++k) {
      lost[k] += p.weight[i] * OutcomeLoss(p.said[i][k], hit, 1);
    }
    asked += p.weight[i];
  }
  for (std::size_t k = 0; k < kCandidates; ++k) loss_[jj][k] += lost[k];
  loss_weight_[jj] += asked;
  if (asked > 0) {
    for (double& l : lost) l /= asked;
    Trust(j, lost, static_cast<double>(p.index.size()), 1);
  }
  curves_[jj].Add(when);
  mixers_[jj].Update(rows);
}

void AccessModel::Resolve(int j) {
  const auto jj = static_cast<std::size_t>(j);
  auto& queue = pending_[jj];
  const std::uint32_t now = engine_.now();
  Outcomes resolved, waiting;
  bool any = false;
  while (!queue.empty() && queue.front().at + ends_[jj] <= now) {
    LearnFrom(j, queue.front(), &resolved);
    queue.pop_front();
    any = true;
  }
  for (const Pending& p : queue) {
    if (ends_[jj] > kLongestWatched || p.at >= now) break;
    any = true;
    const auto share = static_cast<float>(curves_[jj].Share(now - p.at));
    for (std::size_t i = 0; i < p.index.size(); ++i) {
      const bool hit = engine_.state(p.index[i]).last >= p.at;
      const float weight = p.weight[i] / static_cast<float>(ends_[jj]);
      for (std::size_t r = 0; r < kRulers; ++r) {
        waiting[r].push_back({p.said[i][2 * r], weight, share, hit});
      }
    }
  }
  for (std::size_t r = 0; any && r < kRulers; ++r) {
    calibrators_[jj][r].Update(resolved[r], waiting[r]);
  }
  Gate(j);
}

double AccessModel::GateHalfLife(int j) const {
  // Of a long horizon many lengths have to be seen before a comparison means anything.
  return std::max(
      options_.gate_half_life_minutes * 60e6 / static_cast<double>(options_.engine.window_us),
      kLengths * ends_[static_cast<std::size_t>(j)]);
}

void AccessModel::Trust(int j, const std::array<double, kCandidates>& loss, double rows,
                        double windows) {
  const auto jj = static_cast<std::size_t>(j);
  const double keep = std::exp2(-windows / GateHalfLife(j));
  // The blocks of a window share its fate: n of them say as much as some sqrt(n) single ones. And
  // outcomes of overlapping horizons are hardly independent.
  const double evidence = windows * std::sqrt(rows) / ends_[jj];
  for (std::size_t k = 0; k < kCandidates; ++k) {
    trust_[jj][k] = keep * trust_[jj][k] + (1 - keep) * StartOf(k, ends_[jj]) - evidence * loss[k];
  }
  const double most = *std::max_element(trust_[jj].begin(), trust_[jj].end());
  for (double& t : trust_[jj]) t -= most;
}

float AccessModel::Rule(int j, const std::array<float, kCandidates>& said) const {
  const auto& share = share_[static_cast<std::size_t>(j)];
  float p = 0;
  float q = 0;
  for (std::size_t k = 0; k < kCandidates; ++k) {
    if (share[k] > 0.999f) return said[k];
    if (share[k] < 1e-4f) continue;
    const float one = 1 / (1 + std::exp(-said[k]));
    p += share[k] * one;
    q += share[k] * (1 - one);
  }
  return std::clamp(std::log(p / std::max(q, 1e-7f)), -14.0f, 14.0f);
}

void AccessModel::Gate(int j) {
  const auto jj = static_cast<std::size_t>(j);
  if (!trained_) return;
  double sum = 0;
  for (const double t : trust_[jj]) sum += std::exp(t);
  std::array<double, kRulers> held{};
  for (std::size_t k = 0; k < kCandidates; ++k) {
    share_[jj][k] = static_cast<float>(std::exp(trust_[jj][k]) / sum);
    held[k / 2] += share_[jj][k];
  }
  ruler_[jj] = static_cast<Ruler>(std::max_element(held.begin(), held.end()) - held.begin());
}

std::array<double, kRulers> AccessModel::Prequential(int j) const {
  const auto jj = static_cast<std::size_t>(j);
  std::array<double, kRulers> out{};
  if (loss_weight_[jj] <= 0) return out;
  for (std::size_t r = 0; r < kRulers; ++r) {
    out[r] = std::min(loss_[jj][2 * r], loss_[jj][2 * r + 1]) / loss_weight_[jj];
  }
  return out;
}

}  // namespace shadow::pam
