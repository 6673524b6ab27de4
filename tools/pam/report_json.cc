// SPDX-License-Identifier: Apache-2.0
// The JSON of an evaluation. See report.h.
#include <algorithm>
#include <cmath>

#include "tools/pam/report.h"

namespace shadow::pam::tool {
namespace {

nlohmann::json MetricsJson(const Metrics& m) {
  nlohmann::json bins = nlohmann::json::array();
  for (const ReliabilityBin& b : m.bins) {
    if (b.weight > 0) bins.push_back({b.predicted, b.observed, b.weight});
  }
  const auto at = [](double x) { return x < 0 ? nlohmann::json(nullptr) : nlohmann::json(x); };
  return {{"samples", m.count},
          {"positives", m.positives},
          {"log_loss", m.log_loss},
          {"brier", m.brier},
          {"ece", m.ece},
          {"roc_auc", m.roc_auc},
          {"pr_auc", m.pr_auc},
          {"observed_at_0.3", at(m.at_03)},
          {"observed_at_0.7", at(m.at_07)},
          {"precision_at_capacity",
           {{"1%", m.precision[0]},
            {"5%", m.precision[1]},
            {"10%", m.precision[2]},
            {"20%", m.precision[3]}}},
          {"reliability", bins}};
}

nlohmann::json RunJson(const EvalResult& r) {
  nlohmann::json horizons = nlohmann::json::object();
  for (const HorizonResult& h : r.horizons) {
    nlohmann::json predictors = nlohmann::json::object();
    for (const PredictorResult& p : h.predictors) {
      for (const auto& [population, m] : p.population) {
        predictors[p.name][population] = MetricsJson(m);
        if (population == "seen" || population == "recent") {  // elsewhere a row is many blocks
          predictors[p.name][population]["ece_by_chance"] = m.ece_chance;
        }
      }
    }
    horizons[h.name] = {{"windows", h.windows},
                        {"measurable", h.samples > 0},
                        {"ruled_windows",
                         {{"model", h.ruled[0]},
                          {"regression", h.ruled[1]},
                          {"ewma", h.ruled[2]},
                          {"network", h.ruled[3]}}},
                        {"ratio_to_best_rival", h.samples > 0 ? nlohmann::json(h.ratio) : nullptr},
                        {"predictors", predictors}};
  }
  return {{"windows", r.windows},
          {"split", r.split},
          {"end", r.end},
          {"known_blocks", r.known},
          {"train_seconds", r.train_seconds},
          {"updates", r.updates},
          {"update_seconds", r.update_seconds},
          {"worst_round_seconds", r.round_seconds_worst},
          {"horizons", horizons}};
}

}  // namespace

nlohmann::json ToJson(const TraceReport& report) {
  nlohmann::json sims = nlohmann::json::array();
  for (const SimResult& s : report.sims) {
    sims.push_back({{"policy", s.policy},
                    {"tier", s.tier},
                    {"capacity", s.capacity},
                    {"instant", s.instant},
                    {"accesses", s.accesses},
                    {"hit_ratio", s.hit_ratio},
                    {"net_ms", s.net_ms},
                    {"p99_ms", s.p99_ms},
                    {"moves_per_1000", s.moves_per_1000}});
  }
  nlohmann::json gates = nlohmann::json::array();
  for (const Gate& g : report.gates) {
    gates.push_back({{"name", g.name},
                     {"value", g.value},
                     {"limit", g.limit},
                     {"ok", g.ok},
                     {"measured", g.measured}});
    if (g.bound > 0) gates.back()["by_chance"] = g.bound;
    if (g.range.low < g.range.high) gates.back()["range"] = {g.range.low, g.range.high};
  }
  nlohmann::json spread = nlohmann::json::object();
  for (std::size_t h = 0; h < report.seeds.front().horizons.size(); ++h) {
    for (const char* name : {"pam", "network"}) {
      std::vector<double> values;
      for (const EvalResult& r : report.seeds) {
        const Metrics* m = Seen(r.horizons[h], name);
        if (m != nullptr) values.push_back(m->log_loss);
      }
      if (values.empty()) continue;
      double mean = 0;
      for (const double v : values) mean += v / static_cast<double>(values.size());
      double square = 0;
      for (const double v : values) square += (v - mean) * (v - mean);
      const double n = static_cast<double>(values.size());
      spread[report.seeds.front().horizons[h].name][name] = {
          {"runs", values.size()},
          {"mean_log_loss", mean},
          {"deviation", n > 1 ? std::sqrt(square / (n - 1)) : 0.0},
          {"values", values}};
    }
  }
  nlohmann::json origins = nlohmann::json::array();
  for (const EvalResult& r : report.origins) origins.push_back(RunJson(r));
  return {{"trace", report.name}, {"run", RunJson(report.seeds.front())},
          {"seeds", spread},      {"origins", origins},
          {"placement", sims},    {"gates", gates}};
}

}  // namespace shadow::pam::tool
