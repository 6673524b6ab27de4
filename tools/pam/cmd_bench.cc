// SPDX-License-Identifier: Apache-2.0
// `pam bench`: time of a round over many blocks, memory per block, training time; on one core.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "pam/model/access_model.h"
#include "tools/pam/common.h"

namespace shadow::pam::tool {
namespace {

using Clock = std::chrono::steady_clock;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Processor time of this thread: the figure for "one core", whatever else the machine is doing.
double Cpu() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct BenchCommand {
  std::uint32_t blocks = 1'000'000;
  std::uint32_t active = 100'000;
  int rounds = 8;
  std::string trace;
  bool json = false;
  bool gate = false;
};

/// A synthetic window: `n` of `blocks` blocks, a fifth of the accesses on a hot tenth.
Window Draw(std::uint32_t blocks, std::uint32_t n, std::mt19937_64* rng) {
  std::vector<bool> taken(blocks, false);
  Window w;
  for (std::uint32_t k = 0; k < n; ++k) {
    std::uint32_t b = static_cast<std::uint32_t>((*rng)() % blocks);
    if (k % 5 == 0) b /= 10;
    taken[b] = true;
  }
  for (std::uint32_t b = 0; b < blocks; ++b) {
    if (taken[b]) w.accesses.push_back({b, 1 + b % 7, b % 2});
  }
  for (std::uint32_t b = 0; w.accesses.size() < n && b < blocks; ++b) {
    if (!taken[b] && b % 11 == 3) w.accesses.push_back({b, 1, 0});
  }
  std::sort(w.accesses.begin(), w.accesses.end(),
            [](const Access& a, const Access& b) { return a.block < b.block; });
  w.ops = w.bytes = w.accesses.size();
  return w;
}

int Bench(const BenchCommand& c) {
  nlohmann::json out;
  bool missed = false;
  std::mt19937_64 rng(7);
  // A small trained model first, so that the round runs the real network.
  ModelOptions o;
  o.blocks = c.blocks;
  AccessModel small(o);
  for (int w = 0; w < 12; ++w) {
    if (const auto r = small.CloseWindow(Draw(2000, 300, &rng)); !r.ok()) return Fail(r.error());
  }
  if (const Status s = small.Train(); !s.ok()) return Fail(s.error());
  o.record = false;
  AccessModel model(o);
  if (const Status s = model.LoadModel(small.SaveModel()); !s.ok()) return Fail(s.error());
  Window all;
  for (std::uint32_t b = 0; b < c.blocks; ++b) all.accesses.push_back({b, 1, 0});
  all.ops = c.blocks;
  if (const auto r = model.CloseWindow(all); !r.ok()) return Fail(r.error());
  std::vector<double> seconds, wall;
  std::uint32_t scored = 0;
  std::uint32_t active = 0;
  for (int k = 0; k < c.rounds; ++k) {
    const Window w = Draw(c.blocks, c.active, &rng);
    const auto start = Clock::now();
    const double cpu = Cpu();
    const auto r = model.CloseWindow(w);
    seconds.push_back(Cpu() - cpu);
    wall.push_back(Since(start));
    if (!r.ok()) return Fail(r.error());
    scored = std::max(scored, r->scored);
    active = r->active;
  }
  std::sort(seconds.begin(), seconds.end());
  std::sort(wall.begin(), wall.end());
  const double median = seconds[seconds.size() / 2];
  const double per_block = static_cast<double>(model.StateBytes()) / model.known();
  missed = missed || seconds.back() > 0.5 || per_block > 192;
  out["round"] = {{"blocks", model.known()},
                  {"active", active},
                  {"scored_most", scored},
                  {"median_seconds", median},
                  {"worst_seconds", seconds.back()},
                  {"worst_wall_seconds", wall.back()},
                  {"bytes_per_block", per_block},
                  {"other_bytes", model.OtherBytes()},
                  {"avx2", NetUsesAvx2()}};
  if (!c.trace.empty()) {
    Input in;
    in.paths = {c.trace};
    auto trace = ReadWindows(in);
    if (!trace.ok()) return Fail(trace.error());
    ModelOptions t;
    t.engine.window_us = trace->options.window_us;
    t.blocks = trace->blocks;
    AccessModel learner(t);
    for (const Window& w : trace->windows) {
      if (const auto r = learner.CloseWindow(w); !r.ok()) return Fail(r.error());
    }
    const auto start = Clock::now();
    const double cpu = Cpu();
    if (const Status s = learner.Train(); !s.ok()) return Fail(s.error());
    const double train = Cpu() - cpu;
    missed = missed || train > 30;
    out["training"] = {{"trace", TraceName(c.trace)},
                       {"windows", trace->windows.size()},
                       {"samples", learner.recorder().data().samples.size()},
                       {"seconds", train},
                       {"wall_seconds", Since(start)}};
  }
  if (c.json) {
    std::printf("%s\n", out.dump(1).c_str());
  } else {
    const auto& r = out["round"];
    std::printf(
        "round over %u blocks, %u active, at most %u scored: "
        "median %.3f s, worst %.3f s of one core (limit 0.5; by the wall clock %.3f s)\n",
        model.known(), active, scored, median, seconds.back(), wall.back());
    std::printf(
        "state: %.1f bytes per ever-touched block (limit 192), %zu bytes besides; AVX2 %s\n",
        per_block, r["other_bytes"].get<std::size_t>(), NetUsesAvx2() ? "yes" : "no");
    if (out.contains("training")) {
      std::printf("training on %s: %.1f s (limit 30)\n", TraceName(c.trace).c_str(),
                  out["training"]["seconds"].get<double>());
    }
  }
  return c.gate && missed ? 3 : 0;
}

}  // namespace

void AddBench(CLI::App& app, Run* run) {
  auto c = std::make_shared<BenchCommand>();
  CLI::App* bench = app.add_subcommand("bench", "round time, memory per block, training time");
  bench->add_option("trace", c->trace, "trace to measure training on");
  bench->add_option("--blocks", c->blocks, "known blocks")->check(CLI::Range(1000u, 100'000'000u));
  bench->add_option("--active", c->active, "active in each window")
      ->check(CLI::Range(1u, 100'000'000u));
  bench->add_option("--rounds", c->rounds, "rounds")->check(CLI::Range(1, 1000));
  bench->add_flag("--json", c->json, "as JSON");
  bench->add_flag("--gate", c->gate, "exit with 3 if a limit is missed");
  bench->callback([=] { *run = [=] { return Bench(*c); }; });
}

}  // namespace shadow::pam::tool
