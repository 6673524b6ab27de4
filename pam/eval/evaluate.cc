// SPDX-License-Identifier: Apache-2.0
// See evaluate.h.
#include "pam/eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <unordered_map>

#include "pam/baseline/trees.h"
#include "pam/features/fastmath.h"

namespace shadow::pam {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

float Clip(double p) { return static_cast<float>(std::clamp(p, 1e-6, 1 - 1e-6)); }
float FromLogit(double z) { return Clip(Sigmoid(z)); }

/// When each block is accessed, for the judge only.
class Truth {
 public:
  explicit Truth(const std::vector<Window>& windows) : first_(windows.size()) {
    for (std::uint32_t w = 0; w < windows.size(); ++w) {
      for (const Access& a : windows[w].accesses) {
        auto& times = times_[a.block];
        if (times.empty()) first_[w].push_back(a.block);
        times.push_back(w);
      }
    }
  }
  /// Blocks accessed in window w and never before.
  [[nodiscard]] const std::vector<std::uint32_t>& First(std::uint32_t w) const { return first_[w]; }
  [[nodiscard]] bool Accessed(std::uint32_t block, std::uint32_t from, std::uint32_t to) const {
    const auto it = times_.find(block);
    if (it == times_.end()) return false;
    const auto at = std::lower_bound(it->second.begin(), it->second.end(), from);
    return at != it->second.end() && *at < to;
  }

 private:
  std::unordered_map<std::uint32_t, std::vector<std::uint32_t>> times_;
  std::vector<std::vector<std::uint32_t>> first_;  // [windows]
};

/// Columns of what every predictor said, one row per (block, window).
struct Rows {
  std::vector<std::vector<float>> p;  // [predictor][row]
  std::vector<float> weight;
  std::vector<std::uint8_t> hit, recent;
  // Never-seen blocks: few rows with large weights. Only "pam" tells them apart; whoever else knows
  // nothing of them says the rate of first touches of the training part.
  std::vector<Scored> unseen_pam, unseen_constant;
  std::vector<WindowLoss> over_time;
};

constexpr int kFixed = 14;
const std::array<const char*, kFixed> kNames = {
    "constant", "last_window", "ewma_1min",  "ewma_5min", "ewma_30min", "ewma_4h", "ewma_24h",
    "ewma",     "recency",     "regression", "network",   "mixture",    "pam",     "second"};
constexpr std::size_t kEwma = 7, kRegression = 9, kPam = 12;

struct Run {
  const WindowedTrace& trace;
  const EvalOptions& options;
  AccessModel model;
  std::uint32_t split, end;
  Truth truth;
  std::array<Rows, kEvalHorizons> rows;
  std::array<Trees, kEvalHorizons> trees;
  Rivals offline;  // the rivals as fitted on the training part, never updated
  double keep = 1e9;
  EvalResult result;
};

void FillRow(Run& run, int j, const Opinion& o, const float* x, Rows& rows) {
  const Rivals& r = run.offline;
  const auto jj = static_cast<std::size_t>(j);
  const std::array<float, kFixed> p = {
      FromLogit(r.Constant(j)),      FromLogit(r.LastWindow(j, x)), FromLogit(r.EwmaOf(0, j, x)),
      FromLogit(r.EwmaOf(1, j, x)),  FromLogit(r.EwmaOf(2, j, x)),  FromLogit(r.EwmaOf(3, j, x)),
      FromLogit(r.EwmaOf(4, j, x)),  FromLogit(r.Ewma(j, x)),       FromLogit(r.Recency(j, x)),
      FromLogit(r.Regression(j, x)), FromLogit(o.logit[jj][0]),     FromLogit(o.said[jj][1]),
      FromLogit(o.ruled[jj]),        FromLogit(o.logit[jj][3])};
  for (std::size_t k = 0; k < kFixed; ++k) rows.p[k].push_back(p[k]);
}

void AskUnseen(Run& run, std::uint32_t at) {
  // The counts per class are known before; which of them is touched within the horizon, after.
  const FeatureEngine& engine = run.model.engine();
  const auto counts = engine.UnseenPerClass(run.trace.blocks);
  std::array<double, FeatureEngine::kRegionClasses> hits{};
  std::uint32_t done = at;
  for (int j = 0; j < kEvalHorizons; ++j) {
    const std::uint32_t span = run.model.ends()[static_cast<std::size_t>(j)];
    if (at + span > run.end) break;
    for (; done < at + span; ++done) {
      for (const std::uint32_t block : run.truth.First(done)) {
        hits[static_cast<std::size_t>(engine.UnseenClass(block))] += 1;
      }
    }
    Rows& rows = run.rows[static_cast<std::size_t>(j)];
    for (int c = 0; c < FeatureEngine::kRegionClasses; ++c) {
      const auto cc = static_cast<std::size_t>(c);
      const float p = Clip(run.model.UnseenProbability(c, span));
      const auto hit = static_cast<float>(hits[cc]);
      const float miss = static_cast<float>(counts[cc]) - hit;
      rows.unseen_pam.push_back({p, hit, true});
      rows.unseen_pam.push_back({p, miss, false});
      rows.unseen_constant.push_back({0, hit, true});
      rows.unseen_constant.push_back({0, miss, false});
    }
  }
}

void AskAll(Run& run, std::uint32_t at) {
  const FeatureEngine& engine = run.model.engine();
  std::vector<std::uint32_t> some;
  std::vector<float> weights;
  for (std::uint32_t b = 0; b < engine.size(); ++b) {
    const double rate = SampleRate(engine.Idle(b), run.keep);
    if (rate < 1 && SampleDraw(engine.state(b).block, at, 99) >= rate) continue;
    some.push_back(b);
    weights.push_back(static_cast<float>(1 / rate));
  }
  std::vector<Opinion> opinions;
  run.model.Ask(some, &opinions);
  std::vector<float> features(some.size() * kFeatures);
  for (std::size_t i = 0; i < some.size(); ++i)
    engine.Query(some[i], features.data() + i * kFeatures);
  const std::uint32_t hour = run.model.ends()[2];
  for (int j = 0; j < kEvalHorizons; ++j) {
    const std::uint32_t span = run.model.ends()[static_cast<std::size_t>(j)];
    if (at + span > run.end) continue;
    Rows& rows = run.rows[static_cast<std::size_t>(j)];
    WindowLoss loss{.window = at, .ruler = run.model.ruler(j)};
    const std::vector<float> tree =
        run.trees[static_cast<std::size_t>(j)].Predict(features.data(), some.size());
    for (std::size_t i = 0; i < some.size(); ++i) {
      const float* x = features.data() + i * kFeatures;
      FillRow(run, j, opinions[i], x, rows);
      std::size_t column = kFixed;
      if (!tree.empty()) rows.p[column++].push_back(Clip(tree[i]));
      const std::uint32_t block = engine.state(some[i]).block;
      for (const ExtraPredictor& e : run.options.extra) {
        rows.p[column++].push_back(Clip(e.ask(block, at, span)));
      }
      const bool hit = run.truth.Accessed(block, at, at + span);
      rows.hit.push_back(hit ? 1 : 0);
      rows.recent.push_back(engine.Idle(some[i]) < hour ? 1 : 0);
      rows.weight.push_back(weights[i]);
      const auto nats = [&](std::size_t predictor) {
        const double p = rows.p[predictor].back();
        return -weights[i] * std::log(hit ? p : 1 - p);
      };
      loss.blocks += weights[i];
      loss.model += nats(kPam);
      loss.regression += nats(kRegression);
      loss.ewma += nats(kEwma);
    }
    if (loss.blocks <= 0) continue;
    rows.over_time.push_back(loss);
  }
  Ranking ranking;
  ranking.at = at;
  for (std::size_t i = 0; i < some.size(); ++i) {
    ranking.block.push_back(engine.state(some[i]).block);
    ranking.future.push_back(std::exp(opinions[i].log_future));
    ranking.heat.push_back(FromLogit(opinions[i].ruled[0]));
    ranking.hit.push_back(run.truth.Accessed(ranking.block.back(), at, at + 1) ? 1 : 0);
  }
  run.result.rankings.push_back(std::move(ranking));
  AskUnseen(run, at);
}

std::vector<Scored> Select(const Rows& rows, std::size_t predictor, bool recent_only) {
  std::vector<Scored> out;
  for (std::size_t i = 0; i < rows.hit.size(); ++i) {
    if (recent_only && rows.recent[i] == 0) continue;
    out.push_back({rows.p[predictor][i], rows.weight[i], rows.hit[i] != 0});
  }
  return out;
}

/// Share of the never-seen blocks that were touched within `span` windows, over the past.
double FirstTouchRate(const Run& run, std::uint32_t span) {
  double seen = 0;
  double asked = 0;
  double hits = 0;
  for (std::uint32_t w = 0; w + span <= run.split; ++w) {
    if (w > 0) {
      asked += static_cast<double>(run.trace.blocks) - seen;
      for (std::uint32_t k = w; k < w + span; ++k) {
        hits += static_cast<double>(run.truth.First(k).size());
      }
    }
    seen += static_cast<double>(run.truth.First(w).size());
  }
  return (hits + 0.5) / (asked + 1.0);
}

void Summarise(Run& run) {
  for (int j = 0; j < kEvalHorizons; ++j) {
    Rows& rows = run.rows[static_cast<std::size_t>(j)];
    HorizonResult h;
    h.name = kHorizonNames[static_cast<std::size_t>(j)];
    h.windows = run.model.ends()[static_cast<std::size_t>(j)];
    h.samples = static_cast<double>(rows.hit.size());
    std::vector<std::string> names(kNames.begin(), kNames.end());
    if (run.trees[static_cast<std::size_t>(j)].fitted()) names.emplace_back("trees");
    for (const auto& e : run.options.extra) names.push_back(e.name);
    const float first_touch = Clip(FirstTouchRate(run, h.windows));
    for (Scored& s : rows.unseen_constant) s.p = first_touch;
    double rival = 1e300;
    double own = 0;
    for (std::size_t k = 0; h.samples > 0 && k < names.size(); ++k) {
      PredictorResult p;
      p.name = names[k];
      p.population["seen"] = Measure(Select(rows, k, false));
      p.population["recent"] = Measure(Select(rows, k, true));
      if (k < names.size() - run.options.extra.size()) {
        const std::vector<Scored>& unseen =
            p.name == "pam" ? rows.unseen_pam : rows.unseen_constant;
        p.population["unseen"] = Measure(unseen);
        std::vector<Scored> all = Select(rows, k, false);
        all.insert(all.end(), unseen.begin(), unseen.end());
        p.population["all"] = Measure(std::move(all));
      }
      // Outcomes k windows apart share 1 - k / span of their horizon. If they agree that much, the
      // variance of their sum is span times what it would be were each drawn by itself.
      for (const char* known : {"seen", "recent"}) {
        p.population[known].ece_chance *= std::sqrt(static_cast<double>(h.windows));
      }
      const double loss = p.population["seen"].log_loss;
      if (p.name == "ewma" || p.name == "regression") rival = std::min(rival, loss);
      if (p.name == "pam") own = loss;
      h.predictors.push_back(std::move(p));
    }
    h.ratio = h.samples > 0 && rival > 0 ? own / rival : 0;
    h.over_time = std::move(rows.over_time);
    for (const WindowLoss& w : h.over_time) ++h.ruled[static_cast<std::size_t>(w.ruler)];
    run.result.horizons.push_back(std::move(h));
    rows = Rows{};
  }
}

}  // namespace

Result<EvalResult> Evaluate(const WindowedTrace& trace, const EvalOptions& options) {
  const auto n = static_cast<std::uint32_t>(trace.windows.size());
  const auto split = static_cast<std::uint32_t>(n * options.split);
  const auto end = std::min(n, static_cast<std::uint32_t>(std::lround(n * options.end)));
  if (n < 8 || split < 4 || end <= split + 1) {
    return MakeError(Code::kInvalidArgument,
                     "the trace has " + std::to_string(n) + " windows, too few to train and test",
                     "at least 8 are needed; use a smaller --window");
  }
  ModelOptions mo;
  mo.engine.window_us = trace.options.window_us;
  mo.engine.start_us = trace.start_us;
  mo.engine.wall_clock = trace.wall_clock;
  mo.blocks = trace.blocks;
  mo.seed = options.seed;
  mo.threads = options.threads;
  mo.recurrent = options.recurrent;
  mo.epochs = options.epochs;
  mo.max_samples = options.max_samples;
  mo.mixer = options.mixer;
  Run run{trace, options, AccessModel(mo), split, end, Truth(trace.windows), {}, {}, {}, 1e9, {}};
  run.result.windows = n;
  run.result.split = split;
  run.result.end = end;
  const std::size_t extra = options.extra.size();
  for (std::uint32_t w = 0; w + 1 < end; ++w) {
    const auto started = Clock::now();
    SHADOW_ASSIGN(const RoundReport round, run.model.CloseWindow(trace.windows[w]));
    (void)round;
    run.result.round_seconds_worst = std::max(run.result.round_seconds_worst, Since(started));
    const std::uint32_t at = w + 1;
    if (at == split) {
      const auto begin = Clock::now();
      SHADOW_TRY(run.model.Train());
      run.result.train_seconds = Since(begin);
      const Dataset& data = run.model.recorder().Labelled();
      run.offline = run.model.rivals();
      for (int j = 0; j < kEvalHorizons; ++j) {
        if (options.trees) {
          // Too little data for a horizon leaves it without this challenger.
          (void)run.trees[static_cast<std::size_t>(j)]
              .Fit(data, j, data.samples.front().at, split, options.seed)
              .ok();
        }
        const bool fitted = run.trees[static_cast<std::size_t>(j)].fitted();
        run.rows[static_cast<std::size_t>(j)].p.resize(kFixed + (fitted ? 1 : 0) + extra);
      }
      // So that not more rows are kept than asked for: idle blocks are sampled alike in all
      // windows.
      const double expected = static_cast<double>(run.model.known()) * (end - split) * 1.2;
      if (expected > static_cast<double>(options.max_rows)) {
        run.keep = static_cast<double>(options.max_rows) / expected;
      }
    } else if (at > split && options.online) {
      const auto begin = Clock::now();
      if (const Update due = run.model.Due(options.update_minutes); due != Update::kNone) {
        SHADOW_ASSIGN(const bool better, run.model.Learn(due));
        run.result.update_seconds += Since(begin);
        run.result.updates += better ? 1 : 0;
      }
    }
    if (at >= split) AskAll(run, at);
    if (options.progress) options.progress(static_cast<int>(at), static_cast<int>(end));
  }
  run.result.known = run.model.known();
  run.result.state_bytes = run.model.StateBytes();
  Summarise(run);
  return std::move(run.result);
}

Status CheckBlind(
    const std::vector<Window>& windows, std::uint32_t split,
    const std::function<std::string(const std::vector<Window>&, std::uint32_t)>& train) {
  const std::string honest = train(windows, split);
  std::vector<Window> other = windows;
  for (std::size_t w = split; w < other.size(); ++w) {
    // Another future: every window shows what the mirrored one showed, shifted by a block.
    const Window& source = windows[windows.size() - 1 - (w - split)];
    other[w] = source;
    for (Access& a : other[w].accesses) a.block ^= 1;
    std::sort(other[w].accesses.begin(), other[w].accesses.end(),
              [](const Access& a, const Access& b) { return a.block < b.block; });
  }
  if (train(other, split) != honest) {
    return MakeError(
        Code::kFailedPrecondition,
        "training depends on windows after the split: the evaluation would be worthless",
        "find what looks into the future");
  }
  return Ok();
}

}  // namespace shadow::pam
