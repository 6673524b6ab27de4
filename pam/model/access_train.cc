// SPDX-License-Identifier: Apache-2.0
// Training and on-line update of the access model (calls LibTorch through trainer.h).
// See access_model.h.
#include <algorithm>
#include <cmath>

#include "pam/features/fastmath.h"
#include "pam/model/access_model.h"
#include "pam/model/trainer.h"

namespace shadow::pam {
namespace {

double SoftPlus(double z) { return z > 30 ? z : std::log1p(std::exp(z)); }

float LogitOfCumulated(double cumulated) {
  const double z = cumulated > 30 ? cumulated : std::log(std::expm1(std::max(cumulated, 1e-7)));
  return static_cast<float>(std::clamp(z, -14.0, 14.0));
}

TrainOptions Base(const ModelOptions& o, std::size_t samples) {
  TrainOptions t;
  t.seed = o.seed;
  t.threads = o.threads;
  t.recurrent = o.recurrent;
  // Small records get small batches, so that there are enough steps to learn anything.
  t.batch = static_cast<int>(std::clamp<std::size_t>(samples / 48, 64, 2048));
  t.epochs = samples < 20'000 ? 2 * o.epochs : o.epochs;
  return t;
}

/// For the second network: another seed, no memory.
TrainOptions Second(TrainOptions o) {
  o.seed += 1000;
  o.recurrent = false;
  return o;
}

}  // namespace

Status AccessModel::Train(const Progress& progress) {
  Dataset& data = recorder_->Labelled();
  if (data.windows < 4 || data.samples.size() < 50) {
    return MakeError(Code::kFailedPrecondition,
                     "too little to train on: " + std::to_string(data.windows) + " windows, " +
                         std::to_string(data.samples.size()) + " samples",
                     "record at least 4 windows and 50 samples; until then EWMA rules");
  }
  // The oldest part trains, the newest 15 % of the time chooses the epoch and the mixture.
  const std::uint32_t first = data.samples.front().at;
  const std::uint32_t last = data.windows;
  const std::uint32_t cut =
      std::clamp<std::uint32_t>(first + (last - first) * 85 / 100, first + 1, last - 1);
  TrainOptions o = Base(options_, data.samples.size());
  o.from = first;
  o.to = cut;
  o.valid_to = last;
  TrainReport report;
  const int total_steps = 120;
  const auto part = [&](int begin, int end) {
    return [progress, begin, end](int done, int all) {
      if (progress) progress(begin + (end - begin) * done / std::max(1, all), total_steps);
    };
  };
  SHADOW_ASSIGN(NetWeights net, TrainNet(data, o, &report, part(0, 70)));
  TrainOptions o2 = Second(o);
  SHADOW_ASSIGN(NetWeights second, TrainNet(data, o2, &report, part(70, 100)));
  Rivals trial;
  trial.Fit(data, first, cut);
  std::vector<std::uint32_t> which;
  SHADOW_ASSIGN(const std::vector<float> raw, PredictTorch(net, data, cut, last, &which));
  SHADOW_ASSIGN(const std::vector<float> raw2, PredictTorch(second, data, cut, last, &which));
  std::array<Mixer, kHazards> mixers;
  mixers.fill(Mixer(options_.mixer));
  for (int j = 0; j < kHazards; ++j) {
    const auto jj = static_cast<std::size_t>(j);
    std::vector<MixRow> rows;
    std::array<double, 3> loss{};
    double weight = 0;
    for (std::size_t k = 0; k < which.size(); ++k) {
      const Sample& s = data.samples[which[k]];
      if (s.exposure < ends_[jj]) continue;
      double cumulated[2] = {0, 0};
      for (std::size_t i = 0; i <= jj; ++i) {
        cumulated[0] += SoftPlus(raw[k * kOutputs + i]);
        cumulated[1] += SoftPlus(raw2[k * kOutputs + i]);
      }
      const float* x = data.feature(which[k]);
      const bool hit = s.next != kNever && s.next - s.at < ends_[jj];
      rows.push_back({{LogitOfCumulated(cumulated[0]), trial.Regression(j, x), trial.Ewma(j, x),
                       LogitOfCumulated(cumulated[1])},
                      hit ? 1.0f : 0.0f,
                      s.weight / static_cast<float>(ends_[jj])});
      const auto& z = rows.back().logit;
      const float candidates[3] = {(z[0] + z[3]) / 2, z[1], z[2]};
      for (std::size_t e = 0; e < 3; ++e) loss[e] += s.weight * OutcomeLoss(candidates[e], hit, 1);
      weight += s.weight;
    }
    mixers[jj].Fit(rows);
    std::vector<double> when(ends_[jj], 0.0);
    for (const Sample& s : data.samples) {
      if (s.exposure < ends_[jj] || s.next == kNever || s.next - s.at >= ends_[jj]) continue;
      when[s.next - s.at] += s.weight;
    }
    if (!trained_) curves_[jj].Add(when);
    if (!trained_) {
      // The gate starts from what the held-out part said of the unmixed three.
      loss_[jj] = {loss[0], loss[0], loss[1], loss[1], loss[2], loss[2], loss[0], loss[0]};
      loss_weight_[jj] = weight;
      trust_[jj].fill(0);
      Trust(j, {}, 0, 1e9);  // as nobody had looked
      if (weight > 0) {
        const double looked = std::max(1.0, static_cast<double>(last - cut) + 1 - ends_[jj]);
        std::array<double, kCandidates> mean = loss_[jj];
        for (double& l : mean) l /= weight;
        Trust(j, mean, static_cast<double>(rows.size()) / looked, looked);
      }
    }
  }
  // Then everything, gently: the newest windows are the most like the coming ones.
  TrainOptions all = o;
  all.start = &net;
  all.to = kNever;
  all.valid_to = 0;
  all.epochs = std::max(1, o.epochs / 4);
  all.learning_rate = o.learning_rate * 0.25;
  SHADOW_ASSIGN(net_, TrainNet(data, all, nullptr, part(100, 114)));
  TrainOptions all2 = Second(all);
  all2.start = &second;
  SHADOW_ASSIGN(second_, TrainNet(data, all2, nullptr, part(114, total_steps)));
  rivals_.Fit(data, first, last);
  if (!trained_) {
    mixers_ = mixers;
    calibrators_ = {};
    for (auto& queue : pending_) queue.clear();
  }
  trained_ = true;
  RebuildStates();
  for (int j = 0; j < kHazards; ++j) Gate(j);
  RoundReport report_after;
  report_after.window = engine_.now() > 0 ? engine_.now() - 1 : 0;
  for (auto& queue : pending_) {  // what was said about the coming window is said again
    if (!queue.empty() && queue.back().at == engine_.now()) queue.pop_back();
  }
  ScoreRound(&report_after);
  return Ok();
}

Status AccessModel::Update() {
  if (!trained_) return Train();
  Dataset& data = recorder_->Labelled();
  if (data.samples.size() < 30'000) return Train();
  TrainOptions o = Base(options_, data.samples.size());
  o.from = data.samples.front().at;
  o.start = &net_;
  o.seed = options_.seed + engine_.now();
  o.epochs = 2;
  o.learning_rate = 2e-3;
  SHADOW_ASSIGN(NetWeights net, TrainNet(data, o, nullptr));
  TrainOptions o2 = Second(o);
  o2.start = &second_;
  SHADOW_ASSIGN(second_, TrainNet(data, o2, nullptr));
  net_ = std::move(net);
  RebuildStates();
  return Ok();
}

void AccessModel::RebuildStates() {
  // Runs every block's recorded events (the last 32 of them) through the new network.
  const Dataset& data = recorder_->data();
  constexpr std::size_t kMemory = 32;
  std::vector<std::uint32_t> blocks;
  std::size_t longest = 0;
  for (std::uint32_t b = 0; b < data.block_events.size(); ++b) {
    if (data.block_events[b].empty()) continue;
    blocks.push_back(b);
    longest = std::max(longest, std::min(kMemory, data.block_events[b].size()));
    lstm_[b] = LstmState{};
  }
  std::vector<float> events;
  std::vector<LstmState*> states;
  for (std::size_t t = 0; t < longest; ++t) {
    events.clear();
    states.clear();
    for (const std::uint32_t b : blocks) {
      const auto& list = data.block_events[b];
      const std::size_t n = std::min(kMemory, list.size());
      if (t >= n) continue;
      const float* ev = data.events.data() + std::size_t{list[list.size() - n + t]} * kEventInputs;
      events.insert(events.end(), ev, ev + kEventInputs);
      states.push_back(&lstm_[b]);
    }
    LstmStep(net_, events.data(), states.data(), states.size());
  }
}

}  // namespace shadow::pam
