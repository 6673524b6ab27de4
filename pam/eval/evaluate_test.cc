// SPDX-License-Identifier: Apache-2.0
// Holds the evaluator to its word: the future scores perfectly, shuffled labels score like the
// constant, a planted leak is caught, labels never cross the split.
#include "pam/eval/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <set>

namespace shadow::pam {
namespace {

WindowedTrace Synthetic(int windows, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  WindowedTrace t;
  t.blocks = 200;
  for (int w = 0; w < windows; ++w) {
    Window win;
    for (std::uint32_t b = 0; b < 100; ++b) {
      const bool hot = b < 10 && rng() % 3 != 0;
      const bool periodic = b >= 10 && b < 40 && w % 6 == static_cast<int>(b % 6);
      if (hot || periodic || rng() % 40 == 0) {
        win.accesses.push_back({b, 1, static_cast<std::uint32_t>(rng() % 2)});
        t.requests.push_back({w * 60'000'000ll + static_cast<std::int64_t>(b) * 1000, b, false});
      }
    }
    win.ops = win.accesses.size();
    win.bytes = win.ops * 4096;
    t.windows.push_back(win);
  }
  return t;
}

bool Accessed(const WindowedTrace& t, std::uint32_t block, std::uint32_t from, std::uint32_t span) {
  for (std::uint32_t w = from; w < from + span && w < t.windows.size(); ++w) {
    for (const Access& a : t.windows[w].accesses) {
      if (a.block == block) return true;
    }
  }
  return false;
}

const Metrics& Seen(const EvalResult& r, int horizon, const std::string& name) {
  for (const PredictorResult& p : r.horizons[static_cast<std::size_t>(horizon)].predictors) {
    if (p.name == name) return p.population.at("seen");
  }
  static const Metrics none;
  ADD_FAILURE() << "no predictor " << name;
  return none;
}

TEST(Evaluate, OracleShuffledConstantAndTheModel) {
  const WindowedTrace t = Synthetic(150, 1);
  EvalOptions o;
  o.trees = true;
  o.epochs = 6;
  auto rng = std::make_shared<std::mt19937_64>(5);
  o.extra.push_back({"oracle", [&t](std::uint32_t b, std::uint32_t at, std::uint32_t span) {
                       return Accessed(t, b, at, span) ? 1.0f : 0.0f;
                     }});
  // The truth of some other block at some other time: right on average, worthless for each.
  o.extra.push_back({"shuffled", [&t, rng](std::uint32_t, std::uint32_t, std::uint32_t span) {
                       const auto b = static_cast<std::uint32_t>((*rng)() % 100);
                       const auto at = static_cast<std::uint32_t>((*rng)() % (150 - span));
                       return Accessed(t, b, at, span) ? 0.9f : 0.1f;
                     }});
  const auto r = Evaluate(t, o);
  ASSERT_TRUE(r.ok()) << r.error().ToString();
  EXPECT_EQ(r->split, 90u);
  for (int h = 0; h < 2; ++h) {
    const Metrics& oracle = Seen(*r, h, "oracle");
    EXPECT_LT(oracle.log_loss, 1e-5);
    EXPECT_NEAR(oracle.roc_auc, 1.0, 1e-12);
    EXPECT_NEAR(oracle.pr_auc, 1.0, 1e-12);
    EXPECT_NEAR(Seen(*r, h, "shuffled").roc_auc, 0.5, 0.04);
  }
  const double constant = Seen(*r, 0, "constant").log_loss;
  EXPECT_NEAR(Seen(*r, 0, "constant").roc_auc, 0.5, 1e-12);
  EXPECT_GT(Seen(*r, 0, "shuffled").log_loss, constant);
  EXPECT_LT(Seen(*r, 0, "pam").log_loss, 0.75 * constant);
  EXPECT_LT(Seen(*r, 0, "trees").log_loss, 0.9 * constant);
  EXPECT_LE(r->horizons[0].ratio, 1.01);
  EXPECT_EQ(Seen(*r, 0, "pam").count, Seen(*r, 0, "oracle").count);
  // 60 test windows: just one window can see a whole hour.
  EXPECT_GT(r->horizons[2].samples, 0);
  EXPECT_LT(r->horizons[2].samples, 101);
}

TEST(Evaluate, EveryPredictorIsMeasuredOnEveryPopulation) {
  // Every window touches ten old blocks and two that nobody touched before.
  WindowedTrace t = Synthetic(60, 4);
  t.blocks = 1000;
  std::mt19937_64 rng(4);
  for (std::uint32_t w = 0; w < 60; ++w) {
    t.windows[w].accesses.clear();
    for (std::uint32_t b = 0; b < 20; b += 1 + static_cast<std::uint32_t>(rng() % 3)) {
      t.windows[w].accesses.push_back({b, 1, 0});
    }
    t.windows[w].accesses.push_back({100 + 2 * w, 1, 0});
    t.windows[w].accesses.push_back({101 + 2 * w, 1, 1});
  }
  EvalOptions o;
  o.trees = false;
  o.epochs = 2;
  const auto r = Evaluate(t, o);
  ASSERT_TRUE(r.ok()) << r.error().ToString();
  for (int h = 0; h < 2; ++h) {
    const HorizonResult& horizon = r->horizons[static_cast<std::size_t>(h)];
    double accessed = 0;  // blocks touched within the horizon, over all predictions that count
    for (std::uint32_t at = r->split; at + horizon.windows <= 60; ++at) {
      for (std::uint32_t b = 0; b < 1000; ++b) accessed += Accessed(t, b, at, horizon.windows);
    }
    const double asked = 1000.0 * (60 - r->split + 1 - horizon.windows);
    for (const PredictorResult& p : horizon.predictors) {
      ASSERT_EQ(p.population.size(), 4u) << p.name;
      const Metrics& all = p.population.at("all");
      EXPECT_NEAR(all.count, asked, 0.5) << p.name << " " << horizon.name;
      EXPECT_NEAR(all.positives, accessed, 0.5) << p.name << " " << horizon.name;
      EXPECT_NEAR(p.population.at("seen").count + p.population.at("unseen").count, asked, 0.5);
    }
  }
  for (const PredictorResult& p : r->horizons[0].predictors) {
    EXPECT_EQ(p.population.at("unseen").positives, 2.0 * (60 - r->split)) << p.name;
  }
}

TEST(Evaluate, ATraceWithoutPatternScoresLikeTheConstant) {
  WindowedTrace t = Synthetic(120, 3);
  std::mt19937_64 rng(8);
  for (Window& w : t.windows) {
    w.accesses.clear();
    for (std::uint32_t b = 0; b < 100; ++b) {
      if (rng() % 5 == 0) w.accesses.push_back({b, 1, 0});
    }
  }
  EvalOptions o;
  o.trees = false;
  o.epochs = 4;
  const auto r = Evaluate(t, o);
  ASSERT_TRUE(r.ok());
  const double constant = Seen(*r, 0, "constant").log_loss;
  EXPECT_NEAR(Seen(*r, 0, "pam").log_loss, constant, 0.02 * constant);
  EXPECT_NEAR(Seen(*r, 0, "pam").roc_auc, 0.5, 0.03);
}

TEST(Evaluate, TooShortIsSaid) {
  EXPECT_EQ(Evaluate(Synthetic(6, 1), {}).error().code, Code::kInvalidArgument);
}

std::string TrainBytes(const std::vector<Window>& windows, std::uint32_t count) {
  ModelOptions o;
  o.epochs = 2;
  AccessModel m(o);
  for (std::uint32_t w = 0; w < count; ++w) EXPECT_TRUE(m.CloseWindow(windows[w]).ok());
  EXPECT_TRUE(m.Train().ok());
  return m.SaveModel();
}

TEST(Blind, HonestTrainingPassesAndAPlantedLeakIsCaught) {
  const WindowedTrace t = Synthetic(60, 2);
  EXPECT_TRUE(CheckBlind(t.windows, 40, TrainBytes).ok());
  const auto leaky = [](const std::vector<Window>& windows, std::uint32_t split) {
    return TrainBytes(windows, split + 1);  // one window too many
  };
  EXPECT_EQ(CheckBlind(t.windows, 40, leaky).error().code, Code::kFailedPrecondition);
  const auto labels = [](const std::vector<Window>& windows, std::uint32_t split) {
    Dataset d = Replay(windows, EngineOptions{}, 100'000, 1);
    EXPECT_TRUE(Label(&d, split + 3).ok());  // labels that cross the split
    double sum = 0;
    for (const Sample& s : d.samples) {
      if (s.at < split) sum += s.next == kNever ? 0 : s.next - s.at;
    }
    return std::to_string(sum);
  };
  EXPECT_EQ(CheckBlind(t.windows, 40, labels).error().code, Code::kFailedPrecondition);
}

TEST(Labels, NeverCrossTheirEnd) {
  const WindowedTrace t = Synthetic(60, 2);
  Dataset whole = Replay(t.windows, EngineOptions{}, 100'000, 1);
  ASSERT_TRUE(Label(&whole, 40).ok());
  Dataset cut = Replay(std::span(t.windows).first(40), EngineOptions{}, 100'000, 1);
  ASSERT_TRUE(Label(&cut, 40).ok());
  for (std::size_t i = 0; i < cut.samples.size(); ++i) {
    EXPECT_EQ(whole.samples[i].next, cut.samples[i].next);
    EXPECT_EQ(whole.samples[i].future, cut.samples[i].future);
    EXPECT_LE(cut.samples[i].at + cut.samples[i].exposure, 40u);
    if (cut.samples[i].next != kNever) {
      EXPECT_LT(cut.samples[i].next, 40u);
    }
  }
  EXPECT_EQ(Label(&cut, 41).error().code, Code::kInvalidArgument);
}

TEST(Recorder, SamplingKeepsTheSums) {
  const WindowedTrace t = Synthetic(400, 4);
  const Dataset all = Replay(t.windows, EngineOptions{}, 1'000'000, 1);
  const Dataset some = Replay(t.windows, EngineOptions{}, 20'000, 1);
  EXPECT_LE(some.samples.size(), 21'000u);
  EXPECT_LT(some.samples.size(), all.samples.size());
  std::set<float> weights;
  for (const Sample& s : some.samples) weights.insert(s.weight);
  for (const float w : weights) EXPECT_GE(w, 1.0f);
}

}  // namespace
}  // namespace shadow::pam
