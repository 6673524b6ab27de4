// SPDX-License-Identifier: Apache-2.0
// `pam train`: a model file from a trace. `pam predict`: the probability map after a trace.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "pam/model/access_model.h"
#include "tools/pam/common.h"

namespace shadow::pam::tool {
namespace {

struct ModelCommand {
  Input in;
  std::string model, output, snapshot;
  std::uint64_t seed = 1;
  int threads = 1;
  double horizon_s = 60;
  std::size_t top = 20;
  bool json = false;
};

ModelOptions OptionsOf(const WindowedTrace& trace, const ModelCommand& c) {
  ModelOptions o;
  o.engine.window_us = trace.options.window_us;
  o.engine.start_us = trace.start_us;
  o.engine.wall_clock = trace.wall_clock;
  o.blocks = trace.blocks;
  o.seed = c.seed;
  o.threads = c.threads;
  return o;
}

int Train(const ModelCommand& c) {
  auto trace = ReadWindows(c.in);
  if (!trace.ok()) return Fail(trace.error());
  AccessModel model(OptionsOf(*trace, c));
  for (const Window& w : trace->windows) {
    const auto round = model.CloseWindow(w);
    if (!round.ok()) return Fail(round.error());
  }
  Progress progress("training");
  const Status status = model.Train([&](int done, int total) { progress(done, total); });
  progress.Finish();
  if (!status.ok()) return Fail(status.error());
  if (const Status s = WriteFile(c.output, model.SaveModel()); !s.ok()) return Fail(s.error());
  if (!c.snapshot.empty()) {
    if (const Status s = WriteFile(c.snapshot, model.Snapshot()); !s.ok()) return Fail(s.error());
  }
  std::printf("trained on %zu windows, %u blocks known; model written to %s\n",
              trace->windows.size(), model.known(), c.output.c_str());
  const auto held = model.Prequential(0);
  std::printf("held-out log loss (60 s): network %.4f, regression %.4f, ewma %.4f\n", held[0],
              held[1], held[2]);
  return 0;
}

int Predict(const ModelCommand& c) {
  auto trace = ReadWindows(c.in);
  if (!trace.ok()) return Fail(trace.error());
  ModelOptions o = OptionsOf(*trace, c);
  o.record = false;
  AccessModel model(o);
  auto bytes = ReadFile(c.model);
  if (!bytes.ok()) return Fail(bytes.error());
  if (const Status s = model.LoadModel(*bytes); !s.ok()) return Fail(s.error());
  for (const Window& w : trace->windows) {
    const auto round = model.CloseWindow(w);
    if (!round.ok()) return Fail(round.error());
  }
  const double windows = c.horizon_s * 1e6 / static_cast<double>(o.engine.window_us);
  std::vector<std::pair<double, std::uint32_t>> order;
  for (std::uint32_t i = 0; i < model.known(); ++i) {
    order.emplace_back(model.ProbabilityOf(i, windows), model.engine().state(i).block);
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  if (c.top > 0 && order.size() > c.top) order.resize(c.top);
  nlohmann::json rows = nlohmann::json::array();
  if (!c.json) std::printf("%10s %8s %12s %12s\n", "block", "P", "accesses", "writes");
  for (const auto& [p, block] : order) {
    const double accesses = model.ExpectedAccesses(block);
    const double writes = model.ExpectedWrites(block);
    if (c.json) {
      rows.push_back({{"block", block}, {"p", p}, {"accesses", accesses}, {"writes", writes}});
    } else {
      std::printf("%10u %8.4f %12.3f %12.3f\n", block, p, accesses, writes);
    }
  }
  if (c.json) {
    nlohmann::json unseen = nlohmann::json::array();
    for (int k = 0; k < FeatureEngine::kRegionClasses; ++k) {
      unseen.push_back(model.UnseenProbability(k, windows));
    }
    const nlohmann::json all = {
        {"horizon_seconds", c.horizon_s}, {"ruler", RulerName(model.ruler(0))},
        {"known_blocks", model.known()},  {"volume_blocks", o.blocks},
        {"unseen_by_class", unseen},      {"blocks", rows}};
    std::printf("%s\n", all.dump(1).c_str());
  } else {
    std::printf("rules: %s; P of a block nobody touched yet, by class:", RulerName(model.ruler(0)));
    for (int k = 0; k < FeatureEngine::kRegionClasses; ++k) {
      std::printf(" %.2g", model.UnseenProbability(k, windows));
    }
    std::printf("\n");
  }
  return 0;
}

}  // namespace

void AddModel(CLI::App& app, Run* run) {
  auto t = std::make_shared<ModelCommand>();
  CLI::App* train = app.add_subcommand("train", "train a model on a whole trace");
  t->in.Add(train, true);
  train->add_option("-o,--output", t->output, "model file to write")->required();
  train->add_option("--snapshot", t->snapshot, "also write the state of every block");
  train->add_option("--seed", t->seed, "seed");
  train->add_option("--threads", t->threads, "threads of LibTorch")->check(CLI::Range(1, 64));
  train->callback([=] { *run = [=] { return Train(*t); }; });
  auto p = std::make_shared<ModelCommand>();
  CLI::App* predict = app.add_subcommand("predict", "replay a trace and say what comes next");
  p->in.Add(predict, true);
  predict->add_option("-m,--model", p->model, "model file")->required();
  predict->add_option("--horizon", p->horizon_s, "seconds ahead, up to a day")
      ->check(CLI::Range(1.0, 86400.0));
  predict->add_option("--top", p->top, "so many blocks (0: all)");
  predict->add_flag("--json", p->json, "as JSON");
  predict->callback([=] { *run = [=] { return Predict(*p); }; });
}

}  // namespace shadow::pam::tool
