// SPDX-License-Identifier: Apache-2.0
// `pam eval` and `pam simulate`: the honest evaluation on one or several traces, its report and
// gates.
#include <cstdio>
#include <map>
#include <memory>

#include "pam/model/dataset.h"
#include "tools/pam/common.h"
#include "tools/pam/report.h"

namespace shadow::pam::tool {
namespace {

struct EvalCommand {
  Input in;
  int seeds = 1;
  std::uint64_t seed = 1;
  int origins = 1;
  double split = 0.6;
  double end = 1.0;
  int threads = 1;
  int epochs = 12;
  int update_minutes = 15;
  bool no_trees = false;
  bool no_online = false;
  bool no_memory = false;
  bool no_sim = false;
  bool gate = false;
  bool check_leaks = false;
  std::string json, html;
  bool only_sim = false;
};

/// Log losses to reach on the traces this project measured before (docs/pam.md).
const std::map<std::string, double> kReach = {
    {"oneandone_mysql", 0.262}, {"oneandone_mssql", 0.067}, {"hp_ajw_week", 0.0240}};

void PrintRun(const std::string& name, const EvalResult& r) {
  std::printf("\n%s: %u windows, trained on %u (%.1f s), tested on %u, %d updates (%.1f s)\n",
              name.c_str(), r.windows, r.split, r.train_seconds, r.end - r.split, r.updates,
              r.update_seconds);
  for (const HorizonResult& h : r.horizons) {
    if (h.samples == 0) {
      std::printf("  %s: not measurable, the test part is shorter than the horizon\n",
                  h.name.c_str());
      continue;
    }
    std::printf("  %-5s%-12s %9s %9s %7s %7s %7s | %9s\n", h.name.c_str(), "(seen)", "log loss",
                "Brier", "ECE", "ROC", "PR", "recent");
    for (const PredictorResult& p : h.predictors) {
      const Metrics& m = p.population.at("seen");
      std::printf("       %-12s %9.5f %9.5f %7.4f %7.4f %7.4f | %9.5f\n", p.name.c_str(),
                  m.log_loss, m.brier, m.ece, m.roc_auc, m.pr_auc,
                  p.population.at("recent").log_loss);
    }
    std::printf("       pam / best rival: %.4f\n", h.ratio);
    std::printf("       ruled: model %u, regression %u, ewma %u, network %u windows\n", h.ruled[0],
                h.ruled[1], h.ruled[2], h.ruled[3]);
  }
}

void PrintSims(const std::vector<SimResult>& sims) {
  double tier = -1;
  bool instant = false;
  for (const SimResult& s : sims) {
    if (s.tier != tier || s.instant != instant) {
      tier = s.tier;
      instant = s.instant;
      std::printf(
          "  tier %2.0f %% (%zu blocks), %s: policy, hit ratio, net ms, p99 ms, moves per 1000\n",
          100 * tier, s.capacity, instant ? "instant" : "with delay");
    }
    std::printf("       %-14s %6.2f %% %8.3f %6.1f %8.1f\n", s.policy.c_str(), 100 * s.hit_ratio,
                s.net_ms, s.p99_ms, s.moves_per_1000);
  }
}

Status CheckLeaks(const WindowedTrace& trace, double split) {
  const auto at = static_cast<std::uint32_t>(static_cast<double>(trace.windows.size()) * split);
  return CheckBlind(trace.windows, at, [&](const std::vector<Window>& windows, std::uint32_t cut) {
    ModelOptions o;
    o.engine.window_us = trace.options.window_us;
    o.blocks = trace.blocks;
    AccessModel model(o);
    for (std::uint32_t w = 0; w < cut; ++w) {
      if (!model.CloseWindow(windows[w]).ok()) return std::string("bad window");
    }
    if (!model.Train().ok()) return std::string("no training");
    return model.Snapshot();
  });
}

Result<TraceReport> EvalTrace(const EvalCommand& c, const std::string& path) {
  Input in = c.in;
  in.paths = {path};
  SHADOW_ASSIGN(const WindowedTrace trace, ReadWindows(in));
  TraceReport report;
  report.name = TraceName(path);
  const auto reach = kReach.find(report.name);
  const bool defaults =
      c.in.block_kib == 1024 && c.in.window_s == 60 && c.split == 0.6 && c.end == 1;
  if (reach != kReach.end() && defaults) report.best_seen = reach->second;
  if (c.check_leaks) {
    SHADOW_TRY(CheckLeaks(trace, c.split));
    std::printf("%s: training does not depend on anything after the split\n", report.name.c_str());
  }
  const int runs = std::max(1, c.seeds) + std::max(0, c.origins - 1);
  for (int k = 0; k < runs; ++k) {
    const bool origin = k >= std::max(1, c.seeds);
    EvalOptions o;
    o.split = c.split;
    o.end = c.end;
    o.threads = c.threads;
    o.epochs = c.epochs;
    o.online = !c.no_online;
    o.update_minutes = c.update_minutes;
    o.recurrent = !c.no_memory;
    o.seed = c.seed + static_cast<std::uint64_t>(origin ? 0 : k);
    o.trees = !c.no_trees && k == 0 && !c.only_sim;
    if (origin) {  // earlier origins, each tested on the next fifth of the time
      o.split = c.split - 0.1 * (k - std::max(1, c.seeds) + 1);
      o.end = std::min(1.0, o.split + 0.2);
      if (o.split < 0.2) break;
    }
    Progress progress(report.name + (runs > 1 ? " " + std::to_string(k + 1) : ""));
    o.progress = [&progress](int done, int total) { progress(done, total); };
    SHADOW_ASSIGN(EvalResult result, Evaluate(trace, o));
    progress.Finish();
    if (k == 0 && !c.no_sim) {
      for (const bool instant : {false, true}) {
        SimOptions sim;
        sim.instant = instant;
        const auto sims = SimulateAll(trace, result.split, result.end, result.rankings, sim);
        report.sims.insert(report.sims.end(), sims.begin(), sims.end());
      }
    }
    if (k > 0) result.rankings.clear();
    (origin ? report.origins : report.seeds).push_back(std::move(result));
  }
  report.gates = CheckGates(report);
  return report;
}

int Eval(const EvalCommand& c) {
  std::vector<TraceReport> reports;
  nlohmann::json all = nlohmann::json::array();
  bool missed = false;
  for (const std::string& path : c.in.paths) {
    auto report = EvalTrace(c, path);
    if (!report.ok()) return Fail(report.error());
    if (!c.only_sim) PrintRun(report->name, report->seeds.front());
    for (std::size_t k = 1; !c.only_sim && k < report->seeds.size(); ++k) {
      for (const PredictorResult& p : report->seeds[k].horizons[0].predictors) {
        if (p.name == "pam") {
          std::printf("  seed %zu: pam log loss (60s) %.5f\n", c.seed + k,
                      p.population.at("seen").log_loss);
        }
      }
    }
    for (const EvalResult& o : report->origins) {
      std::printf("  origin %u..%u: pam / best rival (60s) %.4f\n", o.split, o.end,
                  o.horizons[0].ratio);
    }
    PrintSims(report->sims);
    if (!c.only_sim) {
      for (const Gate& g : report->gates) {
        if (!g.measured) {
          std::printf("  gate  ----    %s\n", g.name.c_str());
          continue;
        }
        std::printf("  gate  %s  %s: %.5g (limit %.5g)", g.ok ? "ok    " : "MISSED", g.name.c_str(),
                    g.value, g.limit);
        if (g.bound > 0) std::printf("; chance alone: %.5g", g.bound);
        if (g.range.low < g.range.high) {
          std::printf("; of other windows: %.5g to %.5g", g.range.low, g.range.high);
        }
        std::printf("\n");
        missed = missed || !g.ok;
      }
    }
    all.push_back(ToJson(*report));
    reports.push_back(std::move(report).value());
  }
  if (!c.json.empty()) {
    const std::string text = all.dump(1) + "\n";
    if (c.json == "-") {
      std::fputs(text.c_str(), stdout);
    } else if (const Status s = WriteFile(c.json, text); !s.ok()) {
      return Fail(s.error());
    }
  }
  if (!c.html.empty()) {
    if (const Status s = WriteFile(c.html, ToHtml(reports)); !s.ok()) return Fail(s.error());
  }
  return c.gate && missed ? 3 : 0;
}

void Common(CLI::App* sub, EvalCommand* c) {
  c->in.Add(sub, true);
  sub->add_option("--split", c->split, "share of the time that trains")
      ->check(CLI::Range(0.1, 0.95));
  sub->add_option("--end", c->end, "share of the time at which the test ends")
      ->check(CLI::Range(0.2, 1.0));
  sub->add_option("--seed", c->seed, "first seed");
  sub->add_option("--threads", c->threads, "threads of LibTorch")->check(CLI::Range(1, 64));
  sub->add_option("--epochs", c->epochs, "passes over the training part")
      ->check(CLI::Range(1, 1000));
  sub->add_option("--json", c->json, "write JSON to this file (- is standard output)");
}

}  // namespace

void AddEval(CLI::App& app, Run* run) {
  auto c = std::make_shared<EvalCommand>();
  CLI::App* eval =
      app.add_subcommand("eval", "train on the past of each trace, test on its future");
  Common(eval, c.get());
  eval->add_option("--seeds", c->seeds, "seeds (5 for a report)")->check(CLI::Range(1, 50));
  eval->add_option("--origins", c->origins, "rolling origins, the main one included")
      ->check(CLI::Range(1, 4));
  eval->add_option("--html", c->html, "write a self-contained HTML report");
  eval->add_flag("--gate", c->gate, "exit with 3 if a gate is missed");
  eval->add_flag("--no-trees", c->no_trees, "without the boosted trees");
  eval->add_flag("--no-online", c->no_online, "ablation: no fine-tuning in the test part");
  eval->add_option("--update-minutes", c->update_minutes, "minutes between two fine-tunings")
      ->check(CLI::Range(1, 1440));
  eval->add_flag("--no-memory", c->no_memory, "ablation: without the LSTM's state");
  eval->add_flag("--no-sim", c->no_sim, "without the placement simulators");
  eval->add_flag("--check-leaks", c->check_leaks,
                 "train twice to prove that the future is not seen");
  eval->callback([=] { *run = [=] { return Eval(*c); }; });
  auto s = std::make_shared<EvalCommand>();
  s->only_sim = true;
  CLI::App* sim = app.add_subcommand("simulate", "placement policies with every move charged");
  Common(sim, s.get());
  sim->callback([=] { *run = [=] { return Eval(*s); }; });
}

}  // namespace shadow::pam::tool
