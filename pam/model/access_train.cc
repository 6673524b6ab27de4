// SPDX-License-Identifier: Apache-2.0
// Training and on-line update of the access model (calls LibTorch through trainer.h).
// See access_model.h.
//
// The first model is taken as it comes: there is only EWMA beside it, and the gate decides between
// the two. Every later one has to beat the one in use on the newest part of the record, before
// which its own training ended; only then it learns the newest part, too.
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

constexpr std::size_t kSmallRecord = 30'000;  // samples; to train anew is as quick as to go on
constexpr double kDayMinutes = 1440;          // minutes

/// Mean loss of the mean of two networks on the samples of windows [from, to): that of training
/// (hazards seen in part count in part), without the counts. Negative: nothing to judge by.
Result<double> HeldOut(const NetWeights& net, const NetWeights& second, const Dataset& data,
                       std::uint32_t from, std::uint32_t to) {
  constexpr std::array<double, kHazards> kWeight = {1, 0.5, 0.5, 0.25};
  std::vector<std::uint32_t> which;
  SHADOW_ASSIGN(const std::vector<float> raw, PredictTorch(net, data, from, to, &which));
  SHADOW_ASSIGN(const std::vector<float> raw2, PredictTorch(second, data, from, to, &which));
  double loss = 0;
  double total = 0;
  for (std::size_t k = 0; k < which.size(); ++k) {
    const Sample& s = data.samples[which[k]];
    const std::uint32_t gap = s.next == kNever ? kNever : s.next - s.at;
    std::uint32_t begin = 0;
    total += s.weight;
    for (std::size_t j = 0; j < kHazards; ++j) {
      const std::uint32_t stop = std::min(data.ends[j], s.exposure);
      if (gap >= begin && stop > begin) {
        const double share = static_cast<double>(stop - begin) / (data.ends[j] - begin);
        const double z = (raw[k * kOutputs + j] + raw2[k * kOutputs + j]) / 2;
        const double x = SoftPlus(z) * share;
        const double event = -std::log(std::max(1e-7, -std::expm1(-x)));
        loss += kWeight[j] * s.weight * (gap < stop ? event : x);
      }
      begin = data.ends[j];
    }
  }
  return total > 0 ? loss / total : -1.0;
}

}  // namespace

std::uint32_t AccessModel::Windows(double minutes) const {
  return static_cast<std::uint32_t>(
      std::max(1.0, std::round(minutes * 60e6 / static_cast<double>(options_.engine.window_us))));
}

Update AccessModel::Due(int update_minutes) const {
  const Dataset& data = recorder_->data();
  const std::uint32_t now = engine_.now();
  const std::uint32_t regular = Windows(update_minutes);
  const std::uint32_t since = now - tried_at_;
  if (data.samples.size() < 50 || data.windows != now) return Update::kNone;
  const bool grown = recorder_->taken() > taken_then_ + taken_then_ / 4;
  if (since < regular && !(trained_ && grown && since >= Windows(update_minutes / 3.0))) {
    return Update::kNone;
  }
  const std::uint32_t span = now - std::min(now, data.samples.front().at);
  const std::uint32_t then = anew_at_ - std::min(anew_at_, data.samples.front().at);
  const bool anew = !trained_ || data.samples.size() < kSmallRecord || span >= 2 * then ||
                    now - anew_at_ >= Windows(kDayMinutes);
  return anew ? Update::kAnew : Update::kTune;
}

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
  learned_ = Update::kAnew;
  tried_at_ = learned_to_ = anew_at_ = engine_.now();
  taken_then_ = recorder_->taken();
  RebuildStates(true);
  ScoreAgain();
  return Ok();
}

/// As the first training: the newest 15 % choose the epoch, then they are learned from, too.
Status AccessModel::FitNetworks(const Dataset& data, std::uint64_t seed, const Progress& progress) {
  const std::uint32_t first = data.samples.front().at;
  TrainOptions o = Base(options_, data.samples.size());
  o.seed = seed;
  o.from = first;
  o.valid_to = data.windows;
  o.to = std::clamp<std::uint32_t>(first + (data.windows - first) * 85 / 100, first + 1,
                                   data.windows - 1);
  for (NetWeights* const net : {&net_, &second_}) {
    TrainOptions one = net == &net_ ? o : Second(o);
    SHADOW_ASSIGN(const NetWeights begun, TrainNet(data, one, nullptr, progress));
    one.start = &begun;
    one.to = kNever;
    one.valid_to = 0;
    one.epochs = std::max(1, o.epochs / 4);
    one.learning_rate = o.learning_rate * 0.25;
    SHADOW_ASSIGN(*net, TrainNet(data, one, nullptr, progress));
  }
  return Ok();
}

Result<bool> AccessModel::Learn(Update what) {
  learned_ = Update::kNone;
  if (!trained_) {
    PutOff();
    SHADOW_TRY(Train());
    return true;
  }
  return Retrain(what == Update::kNone ? Update::kTune : what, {});
}

Result<bool> AccessModel::Retrain(Update what, const Progress& progress) {
  Dataset& data = recorder_->Labelled();
  PutOff();
  taken_then_ = recorder_->taken();
  if (data.samples.size() < 50) {
    return MakeError(Code::kFailedPrecondition, "too little to train on",
                     "record at least 4 windows and 50 samples");
  }
  const bool anew = what == Update::kAnew;
  const std::uint32_t first = data.samples.front().at;
  const std::uint32_t last = data.windows;
  // Half of what the networks in use have not seen decides. A fit of everything happens seldom and
  // is judged by more: a part of that is known to the networks in use, which favours them.
  const std::uint32_t fresh = last - std::clamp(learned_to_, first, last);
  std::uint32_t held = std::max<std::uint32_t>(1, fresh / 2);
  if (anew) held = std::max(held, std::min((last - first) * 15 / 100, Windows(kDayMinutes)));
  if (last - first < held + 3) return false;
  const std::uint32_t cut = last - held;
  TrainOptions o = Base(options_, data.samples.size());
  o.seed = options_.seed + engine_.now();
  o.from = first;
  o.to = cut;
  if (anew) {  // its epoch is chosen before the part that judges it
    o.to = std::max(first + 1, cut - (cut - first) * 15 / 100);
    o.valid_to = cut;
  } else {
    o.epochs = 2;
    o.learning_rate = 2e-3;
    o.start = &net_;
  }
  SHADOW_ASSIGN(NetWeights net, TrainNet(data, o, nullptr, progress));
  TrainOptions o2 = Second(o);
  if (!anew) o2.start = &second_;
  SHADOW_ASSIGN(NetWeights second, TrainNet(data, o2, nullptr, progress));
  SHADOW_ASSIGN(const double mine, HeldOut(net, second, data, cut, last));
  SHADOW_ASSIGN(const double theirs, HeldOut(net_, second_, data, cut, last));
  const bool better = mine >= 0 && mine < theirs;
  if (anew) {
    anew_at_ = last;
    // Thirteen numbers need no trial, only a record as large as that they are from.
    if (data.samples.size() >= rivals_.rows() * 3 / 4) {
      rivals_.Fit(data, first, last);
      learned_ = Update::kTune;
    }
  }
  if (better && anew) {  // it learns well from this record: now from all of it
    SHADOW_TRY(FitNetworks(data, o.seed, progress));
  } else if (better) {  // the newest windows are the most like the coming ones
    TrainOptions all = o;
    all.start = &net;
    all.to = kNever;
    all.epochs = 1;
    all.learning_rate = o.learning_rate / 2;
    SHADOW_ASSIGN(net_, TrainNet(data, all, nullptr, progress));
    TrainOptions all2 = Second(all);
    all2.start = &second;
    SHADOW_ASSIGN(second_, TrainNet(data, all2, nullptr, progress));
  }
  if (better) learned_to_ = last;
  if (better) learned_ = what;
  if (learned_ == Update::kNone) return false;
  if (better) RebuildStates(anew);
  ScoreAgain();
  return true;
}

}  // namespace shadow::pam
