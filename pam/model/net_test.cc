// SPDX-License-Identifier: Apache-2.0
// Hand-written inference against LibTorch, and the two builds of the kernels against each other.
#include "pam/model/net.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "pam/model/net_variants.h"
#include "pam/model/trainer.h"

namespace shadow::pam {
namespace {

std::vector<Window> SyntheticWindows(int windows, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::vector<Window> out;
  for (int w = 0; w < windows; ++w) {
    Window win;
    for (std::uint32_t b = 0; b < 60; ++b) {
      const bool periodic = b < 20 && w % 5 == static_cast<int>(b % 5);
      if (periodic || rng() % 20 == 0) {
        const auto n = static_cast<std::uint32_t>(1 + rng() % 6);
        win.accesses.push_back({b * 2, n, n / 2});
        win.ops += n;
      }
    }
    win.bytes = win.ops * 4096;
    out.push_back(win);
  }
  return out;
}

TrainOptions Quick() {
  TrainOptions o;
  o.epochs = 4;
  o.batch = 256;
  return o;
}

TEST(Net, HandWrittenInferenceMatchesLibTorch) {
  const auto windows = SyntheticWindows(60, 4);
  Dataset data = Replay(windows, EngineOptions{}, 100'000, 1);
  const auto net = TrainNet(data, Quick(), nullptr);
  ASSERT_TRUE(net.ok()) << net.error().ToString();
  const auto torch = ForwardTorch(*net, data);
  ASSERT_TRUE(torch.ok()) << torch.error().ToString();
  // Run on line, window by window, and compare at every sample.
  FeatureEngine engine{EngineOptions{}};
  std::vector<LstmState> states(200);
  std::size_t next = 0;
  double worst = 0, sum = 0;
  for (const Window& w : windows) {
    engine.Close(w);
    std::vector<LstmState*> active;
    for (const std::uint32_t i : engine.active()) active.push_back(&states[i]);
    if (!active.empty()) LstmStep(*net, engine.event(0).data(), active.data(), active.size());
    for (; next < data.samples.size() && data.samples[next].at == engine.now(); ++next) {
      const LstmState* s = &states[data.samples[next].block];
      float out[kOutputs];
      HeadForward(*net, &s, data.feature(next), 1, out);
      for (int k = 0; k < kOutputs; ++k) {
        const double d =
            std::fabs(out[k] - (*torch)[next * kOutputs + static_cast<std::size_t>(k)]);
        worst = std::max(worst, d);
        sum += d;
      }
    }
  }
  ASSERT_EQ(next, data.samples.size());
  // 8 bits of h and half floats of c are all that differs.
  EXPECT_LT(worst, 0.12);
  EXPECT_LT(sum / static_cast<double>(next * kOutputs), 0.01);
}

TEST(Net, BothKernelsAgree) {
  if (!NetUsesAvx2()) GTEST_SKIP() << "this processor has no AVX2";
  Dataset data = Replay(SyntheticWindows(20, 9), EngineOptions{}, 100'000, 1);
  const auto net = TrainNet(data, Quick(), nullptr);
  ASSERT_TRUE(net.ok());
  LstmState a[8], b[8];
  LstmState *pa[8], *pb[8];
  for (int i = 0; i < 8; ++i) {
    pa[i] = &a[i];
    pb[i] = &b[i];
  }
  for (const int n : {8, 3, 1}) {
    internal::kNetBase.step(*net, data.events.data(), pa, n);
    internal::kNetAvx2.step(*net, data.events.data(), pb, n);
    float x[8 * kOutputs], y[8 * kOutputs];
    internal::kNetBase.head(*net, pa, data.features.data(), n, x);
    internal::kNetAvx2.head(*net, pb, data.features.data(), n, y);
    for (int i = 0; i < n * kOutputs; ++i) EXPECT_NEAR(x[i], y[i], 0.02);
    for (int i = 0; i < n; ++i) {
      for (int k = 0; k < kHidden; ++k) EXPECT_NEAR(a[i].h[k], b[i].h[k], 1);
    }
  }
}

TEST(Net, TrainingIsDeterministicAndLearns) {
  Dataset data = Replay(SyntheticWindows(80, 6), EngineOptions{}, 100'000, 1);
  TrainOptions o = Quick();
  o.epochs = 10;
  o.to = 60;
  o.valid_to = 80;
  TrainReport r;
  const auto one = TrainNet(data, o, &r);
  const auto two = TrainNet(data, o, nullptr);
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_EQ(one->w1, two->w1);
  EXPECT_EQ(one->w_hh, two->w_hh);
  o.seed = 2;
  const auto other = TrainNet(data, o, nullptr);
  ASSERT_TRUE(other.ok());
  EXPECT_NE(one->w1, other->w1);
  ASSERT_EQ(r.valid_loss.size(), 10u);
  EXPECT_LT(*std::min_element(r.valid_loss.begin(), r.valid_loss.end()), r.valid_loss.front());
}

TEST(Net, DamagedWeightsAreRefused) {
  Dataset data = Replay(SyntheticWindows(20, 9), EngineOptions{}, 100'000, 1);
  const auto net = TrainNet(data, Quick(), nullptr);
  ASSERT_TRUE(net.ok());
  NetWeights bad = *net;
  bad.w2[5] = std::nanf("");
  std::string bytes;
  bad.Save(&bytes);
  std::string_view in = bytes;
  NetWeights loaded;
  EXPECT_EQ(loaded.Load(&in).error().code, Code::kDataLoss);
}

TEST(Net, NothingToTrainOn) {
  Dataset data = Replay(std::vector<Window>(5), EngineOptions{}, 1000, 1);
  const auto net = TrainNet(data, Quick(), nullptr);
  ASSERT_FALSE(net.ok());
  EXPECT_EQ(net.error().code, Code::kFailedPrecondition);
}

}  // namespace
}  // namespace shadow::pam
