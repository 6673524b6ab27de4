// SPDX-License-Identifier: Apache-2.0
// What became of earlier predictions: into the mixture, its calibration and the champion gate.
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

// Chosen on the training parts (docs/pam.md).
constexpr double kTrustRows = 8;      // a window's rows say at most as much as so many single ones
constexpr double kTrustMinutes = 30;  // half-life of what was said; at least six horizons
constexpr double kTrustLengths = 6;
/// Log of the weights before anything is known, by Ruler: .85, .03, .07, .05.
constexpr std::array<double, kRulers> kStart = {-0.1625, -3.5066, -2.6593, -2.9957};

/// Logits of the gate's candidates, by Ruler.
std::array<float, kRulers> Candidates(const std::array<float, kExperts + 2>& z) {
  return {z[5], z[1], z[2], (z[0] + z[3]) / 2};
}

}  // namespace

void AccessModel::Remember(int j, std::span<const std::uint32_t> scored,
                           std::span<const Opinion> opinions) {
  auto& queue = pending_[static_cast<std::size_t>(j)];
  const std::uint32_t at = engine_.now();
  if (queue.empty() || queue.back().at != at) queue.push_back({at, {}, {}, {}});
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
    p.logit.push_back(
        {o.logit[jj][0], o.logit[jj][1], o.logit[jj][2], o.logit[jj][3], o.raw[jj], o.mixed[jj]});
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

void AccessModel::LearnFrom(int j, const Pending& p, std::vector<Outcome>* resolved) {
  const auto jj = static_cast<std::size_t>(j);
  // Of a long horizon many lengths have to be seen before a comparison means anything.
  const double half_life = std::max(
      options_.gate_half_life_minutes * 60e6 / static_cast<double>(options_.engine.window_us),
      24.0 * ends_[jj]);
  const double keep = std::exp2(-1 / half_life);
  for (double& l : loss_[jj]) l *= keep;
  loss_weight_[jj] *= keep;
  std::array<double, kRulers> lost{};
  double asked = 0;
  std::vector<MixRow> rows(p.index.size());
  std::vector<double> when(ends_[jj], 0.0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::uint32_t first = FirstHit(p, i);
    const bool hit = first < ends_[jj];
    if (hit) when[first] += p.weight[i];
    // Outcomes of overlapping horizons are hardly independent: each counts 1 / length.
    const float weight = p.weight[i] / static_cast<float>(ends_[jj]);
    rows[i] = {
        {p.logit[i][0], p.logit[i][1], p.logit[i][2], p.logit[i][3]}, hit ? 1.0f : 0.0f, weight};
    resolved->push_back({p.logit[i][4], weight, 1, hit});
    const auto z = Candidates(p.logit[i]);
    for (std::size_t k = 0; k < kRulers; ++k) {
      lost[k] += p.weight[i] * OutcomeLoss(z[k], hit, 1);
    }
    asked += p.weight[i];
  }
  for (std::size_t k = 0; k < kRulers; ++k) loss_[jj][k] += lost[k];
  loss_weight_[jj] += asked;
  Trust(j, lost, asked, 1);
  curves_[jj].Add(when);
  mixers_[jj].Update(rows);
}

void AccessModel::Learn(int j) {
  const auto jj = static_cast<std::size_t>(j);
  auto& queue = pending_[jj];
  const std::uint32_t now = engine_.now();
  std::vector<Outcome> resolved, waiting;
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
      waiting.push_back({p.logit[i][4], p.weight[i] / static_cast<float>(ends_[jj]), share, hit});
    }
  }
  if (any) calibrators_[jj].Update(resolved, waiting);
  Gate(j);
}

void AccessModel::Trust(int j, const std::array<double, kRulers>& lost, double asked,
                        double windows) {
  const auto jj = static_cast<std::size_t>(j);
  if (asked <= 0) return;
  const double half_life =
      std::max(kTrustMinutes * 60e6 / static_cast<double>(options_.engine.window_us),
               kTrustLengths * ends_[jj]);
  const double keep = std::exp2(-windows / half_life);
  const double rows = asked / windows;
  const double evidence = windows * rows / (1 + rows / kTrustRows) / ends_[jj];
  for (std::size_t k = 0; k < kRulers; ++k) {
    trust_[jj][k] = keep * trust_[jj][k] + (1 - keep) * kStart[k] - evidence * lost[k] / asked;
  }
  const double most = *std::max_element(trust_[jj].begin(), trust_[jj].end());
  for (double& t : trust_[jj]) t -= most;
}

float AccessModel::Rule(int j, const Opinion& o) const {
  const auto jj = static_cast<std::size_t>(j);
  const auto& share = share_[jj];
  const auto z = Candidates(
      {o.logit[jj][0], o.logit[jj][1], o.logit[jj][2], o.logit[jj][3], o.raw[jj], o.mixed[jj]});
  float p = 0;
  float q = 0;
  for (std::size_t k = 0; k < kRulers; ++k) {
    if (share[k] > 0.999f) return z[k];
    if (share[k] < 1e-4f) continue;
    const float one = 1 / (1 + std::exp(-z[k]));
    p += share[k] * one;
    q += share[k] * (1 - one);
  }
  return std::clamp(std::log(p / std::max(q, 1e-7f)), -14.0f, 14.0f);
}

void AccessModel::Gate(int j) {
  const auto jj = static_cast<std::size_t>(j);
  if (!trained_) return;
  double sum = 0;
  for (std::size_t k = 0; k < kRulers; ++k) sum += std::exp(trust_[jj][k]);
  for (std::size_t k = 0; k < kRulers; ++k) {
    share_[jj][k] = static_cast<float>(std::exp(trust_[jj][k]) / sum);
  }
  ruler_[jj] = static_cast<Ruler>(std::max_element(share_[jj].begin(), share_[jj].end()) -
                                  share_[jj].begin());
}

std::array<double, kRulers> AccessModel::Prequential(int j) const {
  const auto jj = static_cast<std::size_t>(j);
  std::array<double, kRulers> out{};
  if (loss_weight_[jj] <= 0) return out;
  for (std::size_t k = 0; k < kRulers; ++k) out[k] = loss_[jj][k] / loss_weight_[jj];
  return out;
}

}  // namespace shadow::pam
