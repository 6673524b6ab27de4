// SPDX-License-Identifier: Apache-2.0
// The only file that includes LibTorch: the network as a module, batches of event sequences, the
// loss, the optimiser. See trainer.h.
//
// A block's events are cut into stretches of 16; each stretch is run from 16 events earlier (or
// from the block's first), so gradients see 16 events back at the least and the state starts warm.
// All queries that fall into a stretch hang on it. The loss of a hazard is that of a piecewise
// constant hazard rate seen for a share f of its interval: event -log(1 - exp(-s f)), none s f,
// with s = softplus(logit); with f = 1 that is plain binary cross-entropy, with f < 1 what
// censoring leaves to be learned. Sampled negatives count with the inverse of their sampling rate
// (King and Zeng 2001, the weighting variant: unlike the correction of the intercept it is right
// for all heads at once).
#include "pam/model/trainer.h"

#include <torch/torch.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>
#include <string>

namespace shadow::pam {
namespace {

constexpr std::uint32_t kStretch = 16;
constexpr int kMaxChunksPerBatch = 512;

struct NetImpl : torch::nn::Module {
  NetImpl(double dropout, bool recurrent_in) : recurrent(recurrent_in) {
    lstm = register_module("lstm", torch::nn::LSTM(torch::nn::LSTMOptions(kEventInputs, kHidden)));
    fc1 = register_module("fc1", torch::nn::Linear(kHeadIn, kHead));
    fc2 = register_module("fc2", torch::nn::Linear(kHead, kHead));
    fc3 = register_module("fc3", torch::nn::Linear(kHead, kOutputs));
    drop = register_module("drop", torch::nn::Dropout(dropout));
  }
  /// events [T, B, 8]; where [N] = t * B + b; query [N, F] -> [N, kOutputs]
  torch::Tensor forward(const torch::Tensor& events, const torch::Tensor& where,
                        const torch::Tensor& query) {
    torch::Tensor h;
    if (recurrent) {
      const torch::Tensor seq = std::get<0>(lstm->forward(events));
      h = seq.reshape({-1, kHidden}).index_select(0, where);
    } else {
      h = torch::zeros({query.size(0), kHidden});
    }
    torch::Tensor x = torch::cat({h, query}, 1);
    x = drop->forward(torch::relu(fc1->forward(x)));
    x = drop->forward(torch::relu(fc2->forward(x)));
    return fc3->forward(x);
  }
  bool recurrent;
  torch::nn::LSTM lstm{nullptr};
  torch::nn::Linear fc1{nullptr}, fc2{nullptr}, fc3{nullptr};
  torch::nn::Dropout drop{nullptr};
};
TORCH_MODULE(Net);

struct Chunk {
  const std::vector<std::uint32_t>* events;  // of the block
  std::uint32_t begin = 0;                   // first event fed
  std::uint32_t length = 0;                  // events fed
  std::vector<std::uint32_t> samples;
};

std::vector<float> ToVector(const torch::Tensor& t) {
  const torch::Tensor c = t.detach().contiguous().to(torch::kFloat);
  return {c.data_ptr<float>(), c.data_ptr<float>() + c.numel()};
}

void FromVector(torch::Tensor t, const std::vector<float>& v) {
  torch::NoGradGuard guard;
  t.copy_(torch::tensor(v).reshape(t.sizes()));
}

void Export(Net& net, NetWeights* w) {
  w->w_ih = ToVector(net->lstm->named_parameters()["weight_ih_l0"]);
  w->w_hh = ToVector(net->lstm->named_parameters()["weight_hh_l0"]);
  w->bias = ToVector(net->lstm->named_parameters()["bias_ih_l0"] +
                     net->lstm->named_parameters()["bias_hh_l0"]);
  w->w1 = ToVector(net->fc1->weight);
  if (!net->recurrent) {  // so that inference ignores its state as well
    for (int r = 0; r < kHead; ++r) {
      std::fill_n(w->w1.begin() + static_cast<std::ptrdiff_t>(r) * kHeadIn, kHidden, 0.0f);
    }
  }
  w->b1 = ToVector(net->fc1->bias);
  w->w2 = ToVector(net->fc2->weight);
  w->b2 = ToVector(net->fc2->bias);
  w->w3 = ToVector(net->fc3->weight);
  w->b3 = ToVector(net->fc3->bias);
}

void Import(const NetWeights& w, Net& net) {
  auto p = net->lstm->named_parameters();
  FromVector(p["weight_ih_l0"], w.w_ih);
  FromVector(p["weight_hh_l0"], w.w_hh);
  FromVector(p["bias_ih_l0"], w.bias);
  FromVector(p["bias_hh_l0"], std::vector<float>(w.bias.size(), 0.0f));
  FromVector(net->fc1->weight, w.w1);
  FromVector(net->fc1->bias, w.b1);
  FromVector(net->fc2->weight, w.w2);
  FromVector(net->fc2->bias, w.b2);
  FromVector(net->fc3->weight, w.w3);
  FromVector(net->fc3->bias, w.b3);
}

/// Mean, spread and range of rows [n, width], each row with a weight.
template <typename Rows>
Normaliser FitNormaliser(std::size_t width, const Rows& for_each_row) {
  std::vector<double> sum(width, 0), square(width, 0);
  std::vector<float> low(width, 1e30f), high(width, -1e30f);
  double total = 0;
  for_each_row([&](const float* row, double weight) {
    total += weight;
    for (std::size_t i = 0; i < width; ++i) {
      sum[i] += weight * row[i];
      square[i] += weight * row[i] * row[i];
      low[i] = std::min(low[i], row[i]);
      high[i] = std::max(high[i], row[i]);
    }
  });
  Normaliser n;
  for (std::size_t i = 0; i < width; ++i) {
    const double mean = sum[i] / std::max(total, 1.0);
    const double sd = std::sqrt(std::max(0.0, square[i] / std::max(total, 1.0) - mean * mean));
    const bool constant = sd < 1e-4;
    n.mean.push_back(static_cast<float>(mean));
    n.scale.push_back(constant ? 0.0f : static_cast<float>(1.0 / sd));
    const auto norm = [&](float x) {
      return constant ? 0.0f : static_cast<float>((x - mean) / sd);
    };
    n.low.push_back(std::clamp(norm(low[i]), -6.0f, 0.0f));
    n.high.push_back(std::clamp(norm(high[i]), 0.0f, 6.0f));
  }
  return n;
}

std::vector<Chunk> MakeChunks(const Dataset& data, std::uint32_t from, std::uint32_t to) {
  std::vector<std::vector<std::uint32_t>> by_block(data.block_events.size());
  for (std::uint32_t i = 0; i < data.samples.size(); ++i) {
    const Sample& s = data.samples[i];
    if (s.at >= from && s.at < to && s.exposure > 0) by_block[s.block].push_back(i);
  }
  std::vector<Chunk> chunks;
  for (std::size_t b = 0; b < by_block.size(); ++b) {
    const auto& events = data.block_events[b];
    std::uint32_t stretch = kNever;
    for (const std::uint32_t i : by_block[b]) {
      const auto pos = static_cast<std::uint32_t>(
          std::lower_bound(events.begin(), events.end(), data.samples[i].event) - events.begin());
      if (pos / kStretch != stretch) {
        stretch = pos / kStretch;
        const std::uint32_t start = stretch == 0 ? 0 : (stretch - 1) * kStretch;
        chunks.push_back({&events, start, 0, {}});
      }
      Chunk& c = chunks.back();
      c.length = std::max(c.length, pos - c.begin + 1);
      c.samples.push_back(i);
    }
  }
  return chunks;
}

struct Batch {
  torch::Tensor events, where, query, share, hit, weight, future;
};

Batch MakeBatch(const Dataset& data, const NetWeights& norm, std::span<const Chunk* const> chunks,
                std::uint32_t end) {
  std::uint32_t steps = 1;
  std::size_t n = 0;
  for (const Chunk* c : chunks) {
    steps = std::max(steps, c->length);
    n += c->samples.size();
  }
  const auto width = static_cast<std::int64_t>(chunks.size());
  const auto count = static_cast<std::int64_t>(n);
  Batch b;
  b.events = torch::zeros({steps, width, kEventInputs});
  b.where = torch::empty({count}, torch::kLong);
  b.query = torch::empty({count, kFeatures});
  b.share = torch::zeros({count, kHazards});
  b.hit = torch::zeros({count, kHazards});
  b.weight = torch::empty({count});
  b.future = torch::empty({count, 3});
  float* ev = b.events.data_ptr<float>();
  auto* where = b.where.data_ptr<std::int64_t>();
  float* query = b.query.data_ptr<float>();
  float* share = b.share.data_ptr<float>();
  float* hit = b.hit.data_ptr<float>();
  float* weight = b.weight.data_ptr<float>();
  float* future = b.future.data_ptr<float>();
  std::int64_t row = 0;
  for (std::size_t k = 0; k < chunks.size(); ++k) {
    const Chunk& c = *chunks[k];
    for (std::uint32_t t = 0; t < c.length; ++t) {
      norm.event.Apply(data.events.data() + std::size_t{(*c.events)[c.begin + t]} * kEventInputs,
                       ev + (static_cast<std::int64_t>(t) * width + static_cast<std::int64_t>(k)) *
                                kEventInputs);
    }
    std::uint32_t pos = c.begin;
    for (const std::uint32_t i : c.samples) {
      const Sample& s = data.samples[i];
      while ((*c.events)[pos] != s.event) ++pos;
      where[row] = static_cast<std::int64_t>(pos - c.begin) * width + static_cast<std::int64_t>(k);
      norm.query.Apply(data.feature(i), query + row * kFeatures);
      const std::uint32_t exposure = std::min(s.exposure, end - s.at);
      const std::uint32_t gap = s.next == kNever ? kNever : s.next - s.at;
      std::uint32_t begin = 0;
      for (int j = 0; j < kHazards; ++j) {
        const std::uint32_t stop = std::min(data.ends[j], exposure);
        if (gap >= begin && stop > begin) {
          share[row * kHazards + j] =
              static_cast<float>(stop - begin) / static_cast<float>(data.ends[j] - begin);
          hit[row * kHazards + j] = gap < stop ? 1.0f : 0.0f;
        }
        begin = data.ends[j];
      }
      weight[row] = s.weight;
      future[row * 3] = s.future;
      future[row * 3 + 1] = s.future_writes;
      future[row * 3 + 2] = s.mass;
      ++row;
    }
  }
  return b;
}

torch::Tensor HazardLoss(const torch::Tensor& logits, const Batch& b) {
  const torch::Tensor at_risk = (b.share > 0).to(torch::kFloat);
  const torch::Tensor x =
      torch::softplus(logits) * torch::where(b.share > 0, b.share, torch::ones_like(b.share));
  const torch::Tensor event = -torch::log((-torch::expm1(-x)).clamp_min(1e-7));
  return (b.hit * event + (1 - b.hit) * x) * at_risk;  // [N, kHazards]
}

double FullMass(const Dataset& data) { return 1.0 / (1.0 - std::exp2(-1.0 / data.half_life)); }

torch::Tensor PoissonLoss(const torch::Tensor& log_rate, const Batch& b, double full_mass,
                          const double* scale) {
  const torch::Tensor part = b.future.select(1, 2) / full_mass;
  torch::Tensor total = torch::zeros({log_rate.size(0)});
  for (int k = 0; k < 2; ++k) {
    const torch::Tensor z = log_rate.select(1, k).clamp(-14, 14);
    const torch::Tensor y = b.future.select(1, k);
    total = total + (torch::exp(z) * part - y * z) * scale[k];
  }
  return total;
}

std::vector<std::vector<const Chunk*>> MakeBatches(const std::vector<Chunk>& chunks, int batch,
                                                   std::mt19937_64* rng) {
  std::vector<const Chunk*> order;
  for (const Chunk& c : chunks) order.push_back(&c);
  if (rng != nullptr) std::shuffle(order.begin(), order.end(), *rng);
  std::stable_sort(order.begin(), order.end(), [](const Chunk* a, const Chunk* b) {
    return (a->length + 3) / 4 < (b->length + 3) / 4;
  });
  std::vector<std::vector<const Chunk*>> batches;
  int samples = batch;
  for (const Chunk* c : order) {
    if (samples >= batch || batches.back().size() >= kMaxChunksPerBatch) {
      batches.emplace_back();
      samples = 0;
    }
    batches.back().push_back(c);
    samples += static_cast<int>(c->samples.size());
  }
  if (rng != nullptr) std::shuffle(batches.begin(), batches.end(), *rng);
  return batches;
}

void FitNormalisers(const Dataset& data, std::uint32_t from, std::uint32_t to, NetWeights* w) {
  w->event = FitNormaliser(kEventInputs, [&](const auto& row) {
    for (std::size_t e = 0; e < data.event_window.size(); ++e) {
      if (data.event_window[e] < to) row(data.events.data() + e * kEventInputs, 1.0);
    }
  });
  w->query = FitNormaliser(kFeatures, [&](const auto& row) {
    for (std::size_t i = 0; i < data.samples.size(); ++i) {
      const Sample& s = data.samples[i];
      if (s.at >= from && s.at < to) row(data.feature(i), s.weight);
    }
  });
}

double ValidLoss(Net& net, const Dataset& data, const NetWeights& norm,
                 const std::vector<Chunk>& chunks, std::uint32_t end) {
  torch::NoGradGuard guard;
  net->eval();
  double loss = 0;
  double total = 0;
  for (const auto& batch : MakeBatches(chunks, 1 << 14, nullptr)) {
    const Batch b = MakeBatch(data, norm, batch, end);
    const torch::Tensor out = net->forward(b.events, b.where, b.query);
    const torch::Tensor each = HazardLoss(out.slice(1, 0, kHazards), b);
    loss += (each.select(1, 0) * b.weight).sum().item<double>();
    total += b.weight.sum().item<double>();
  }
  return total > 0 ? loss / total : 0.0;
}

void InitialBias(const Dataset& data, std::uint32_t from, std::uint32_t to, Net& net) {
  // Start at the base rates: nothing has to be unlearned first.
  double rate[2] = {1e-6, 1e-6};
  double mass = 1e-6;
  for (const Sample& s : data.samples) {
    if (s.at < from || s.at >= to || s.exposure == 0) continue;
    rate[0] += s.weight * s.future;
    rate[1] += s.weight * s.future_writes;
    mass += s.weight * s.mass;
  }
  torch::NoGradGuard guard;
  for (int j = 0; j < kHazards; ++j) net->fc3->bias[j] = -2.0;
  for (int k = 0; k < 2; ++k) {
    net->fc3->bias[kHazards + k] =
        std::clamp(std::log(rate[k] / mass * FullMass(data)), -10.0, 10.0);
  }
}

Result<NetWeights> Train(const Dataset& data, const TrainOptions& o, TrainReport* report,
                         const std::function<void(int, int)>& progress) {
  const auto started = std::chrono::steady_clock::now();
  torch::set_num_threads(o.threads);
  torch::manual_seed(o.seed);
  std::mt19937_64 rng(o.seed);
  const std::uint32_t to = std::min(o.to, data.windows);
  const std::vector<Chunk> chunks = MakeChunks(data, o.from, to);
  if (chunks.empty()) {
    return MakeError(Code::kFailedPrecondition, "there is nothing to train on",
                     "the training part needs at least two windows with accesses");
  }
  const std::vector<Chunk> valid =
      o.valid_to > to ? MakeChunks(data, to, o.valid_to) : std::vector<Chunk>{};
  NetWeights weights;
  Net net(o.dropout, o.recurrent);
  if (o.start != nullptr) {
    weights = *o.start;
    Import(weights, net);
  } else {
    FitNormalisers(data, o.from, to, &weights);
    InitialBias(data, o.from, to, net);
  }
  double scale[2] = {0, 0};
  double weight_sum = 0;
  for (const Sample& s : data.samples) {
    if (s.at < o.from || s.at >= to || s.exposure == 0) continue;
    scale[0] += s.weight * s.future;
    scale[1] += s.weight * s.future_writes;
    weight_sum += s.weight;
  }
  for (double& s : scale) s = o.poisson_weight / (s / std::max(weight_sum, 1.0) + 1.0);

  torch::optim::AdamW adam(
      net->parameters(), torch::optim::AdamWOptions(o.learning_rate).weight_decay(o.weight_decay));
  const int per_epoch = static_cast<int>(MakeBatches(chunks, o.batch, nullptr).size());
  const int steps = per_epoch * o.epochs;
  const torch::Tensor hazard_weight = torch::tensor({1.0f, 0.5f, 0.5f, 0.25f});
  const float mean_weight = static_cast<float>(
      weight_sum / std::max<double>(1.0, static_cast<double>(data.samples.size())));
  int step = 0;
  double best = 1e300;
  NetWeights best_weights = weights;
  TrainReport local;
  TrainReport& r = report != nullptr ? *report : local;
  for (int epoch = 1; epoch <= o.epochs; ++epoch) {
    net->train();
    double loss_sum = 0;
    double loss_count = 0;
    for (const auto& chosen : MakeBatches(chunks, o.batch, &rng)) {
      const Batch b = MakeBatch(data, weights, chosen, to);
      const double warm = std::min(1.0, (step + 1) / (0.05 * steps + 1));
      const double rate =
          o.learning_rate * warm * 0.5 * (1 + std::cos(3.14159265 * step / std::max(1, steps)));
      static_cast<torch::optim::AdamWOptions&>(adam.param_groups()[0].options()).lr(rate);
      adam.zero_grad();
      const torch::Tensor out = net->forward(b.events, b.where, b.query);
      const torch::Tensor hazards =
          (HazardLoss(out.slice(1, 0, kHazards), b) * hazard_weight).sum(1);
      const torch::Tensor counts =
          PoissonLoss(out.slice(1, kHazards, kOutputs), b, FullMass(data), scale);
      const auto n = static_cast<double>(b.weight.size(0));
      const torch::Tensor loss = ((hazards + counts) * b.weight).sum() / (n * mean_weight);
      loss.backward();
      torch::nn::utils::clip_grad_norm_(net->parameters(), 1.0);
      adam.step();
      loss_sum += loss.item<double>() * n;
      loss_count += n;
      ++step;
      if (progress) progress(step, steps);
    }
    r.epochs = epoch;
    r.train_loss = loss_sum / std::max(1.0, loss_count);
    if (!valid.empty()) {
      const double v = ValidLoss(net, data, weights, valid, o.valid_to);
      r.valid_loss.push_back(v);
      if (v < best) {
        best = v;
        r.best_epoch = epoch;
        Export(net, &best_weights);
      }
    }
  }
  if (valid.empty()) {
    Export(net, &weights);
  } else {
    best_weights.event = weights.event;
    best_weights.query = weights.query;
    weights = std::move(best_weights);
  }
  r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  if (!weights.Valid()) {
    return MakeError(Code::kInternal, "training diverged to numbers that are not finite",
                     "lower the learning rate");
  }
  return weights;
}

}  // namespace

Result<NetWeights> TrainNet(const Dataset& data, const TrainOptions& options, TrainReport* report,
                            const std::function<void(int, int)>& progress) {
  try {
    return Train(data, options, report, progress);
  } catch (const std::exception& e) {
    return MakeError(Code::kInternal, std::string("LibTorch failed: ") + e.what());
  }
}

Result<std::vector<float>> PredictTorch(const NetWeights& weights, const Dataset& data,
                                        std::uint32_t from, std::uint32_t to,
                                        std::vector<std::uint32_t>* which) {
  try {
    torch::NoGradGuard guard;
    Net net(0.0, true);
    Import(weights, net);
    net->eval();
    const std::vector<Chunk> chunks = MakeChunks(data, from, to);
    std::vector<std::pair<std::uint32_t, std::array<float, kOutputs>>> rows;
    for (const auto& batch : MakeBatches(chunks, 1 << 14, nullptr)) {
      const Batch b = MakeBatch(data, weights, batch, kNever);
      const std::vector<float> out = ToVector(net->forward(b.events, b.where, b.query));
      std::size_t row = 0;
      for (const Chunk* c : batch) {
        for (const std::uint32_t i : c->samples) {
          std::array<float, kOutputs> one;
          std::copy_n(out.begin() + static_cast<std::ptrdiff_t>(row++ * kOutputs), kOutputs,
                      one.begin());
          rows.emplace_back(i, one);
        }
      }
    }
    std::sort(rows.begin(), rows.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    std::vector<float> flat;
    which->clear();
    for (const auto& [i, one] : rows) {
      which->push_back(i);
      flat.insert(flat.end(), one.begin(), one.end());
    }
    return flat;
  } catch (const std::exception& e) {
    return MakeError(Code::kInternal, std::string("LibTorch failed: ") + e.what());
  }
}

Result<std::vector<float>> ForwardTorch(const NetWeights& weights, const Dataset& data) {
  try {
    torch::NoGradGuard guard;
    Net net(0.0, true);
    Import(weights, net);
    net->eval();
    std::vector<float> out(data.samples.size() * kOutputs);
    // Whole histories: one chunk a block, however long.
    std::vector<Chunk> chunks(data.block_events.size());
    for (std::size_t b = 0; b < chunks.size(); ++b) {
      chunks[b] = {
          &data.block_events[b], 0, static_cast<std::uint32_t>(data.block_events[b].size()), {}};
    }
    for (std::uint32_t i = 0; i < data.samples.size(); ++i) {
      chunks[data.samples[i].block].samples.push_back(i);
    }
    for (const Chunk& c : chunks) {
      if (c.samples.empty()) continue;
      const Chunk* one[] = {&c};
      const Batch b = MakeBatch(data, weights, one, kNever);
      const std::vector<float> rows = ToVector(net->forward(b.events, b.where, b.query));
      for (std::size_t k = 0; k < c.samples.size(); ++k) {
        std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(k * kOutputs), kOutputs,
                    out.begin() + static_cast<std::ptrdiff_t>(c.samples[k]) * kOutputs);
      }
    }
    return out;
  } catch (const std::exception& e) {
    return MakeError(Code::kInternal, std::string("LibTorch failed: ") + e.what());
  }
}

}  // namespace shadow::pam
