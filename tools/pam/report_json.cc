// SPDX-License-Identifier: Apache-2.0
// The gates and the JSON of an evaluation. See report.h.
#include <algorithm>
#include <cmath>

#include "tools/pam/report.h"

namespace shadow::pam::tool {
namespace {

const SimResult* Find(const std::vector<SimResult>& sims, const std::string& policy, double tier) {
  for (const SimResult& s : sims) {
    if (!s.instant && s.policy == policy && s.tier == tier) return &s;
  }
  return nullptr;
}

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
          {"ruled_windows",
           {{"model", r.ruled[0]},
            {"regression", r.ruled[1]},
            {"ewma", r.ruled[2]},
            {"network", r.ruled[3]}}},
          {"horizons", horizons}};
}

}  // namespace

const Metrics* Seen(const HorizonResult& h, const std::string& name) {
  for (const PredictorResult& p : h.predictors) {
    if (p.name == name) return &p.population.at("seen");
  }
  return nullptr;
}

std::vector<Gate> CheckGates(const TraceReport& report) {
  std::vector<Gate> out;
  const EvalResult& r = report.seeds.front();
  for (const HorizonResult& h : r.horizons) {
    const Metrics* pam = Seen(h, "pam");
    if (pam == nullptr) {
      out.push_back({h.name + ": not measurable, the test part is shorter", 0, 0, true, false});
      continue;
    }
    if (h.name == "60s" && report.best_seen > 0) {
      out.push_back(
          {"60s: log loss", pam->log_loss, report.best_seen, pam->log_loss <= report.best_seen});
    }
    out.push_back(
        {h.name + ": log loss / best rival, never worse", h.ratio, 1.01, h.ratio <= 1.01});
    // Asked for unless the gate chose a rival, which the line above then holds to be the better
    // one.
    const bool model_ruled = r.ruled[0] + r.ruled[3] >= r.ruled[1] + r.ruled[2];
    if (model_ruled) {
      out.push_back({h.name + ": log loss / best rival", h.ratio, 0.97, h.ratio <= 0.97});
      out.push_back({h.name + ": ECE", pam->ece, 0.01, pam->ece <= 0.01});
      out.back().bound = pam->ece_chance;
    }
  }
  int better = 0;
  int cells = 0;
  double closed = 0;
  for (const double tier : {0.01, 0.05, 0.10, 0.20}) {
    const SimResult* pam = Find(report.sims, "pam", tier);
    const SimResult* ewma = Find(report.sims, "ewma_4h", tier);
    const SimResult* lru = Find(report.sims, "lru", tier);
    const SimResult* bound = Find(report.sims, "clairvoyant", tier);
    if (pam == nullptr || ewma == nullptr || lru == nullptr || pam->accesses == 0) continue;
    const double rival = std::min(ewma->net_ms, lru->net_ms);
    const std::string label = std::to_string(std::lround(tier * 100)) + " % tier: ";
    out.push_back({label + "net latency / best rival", pam->net_ms / rival, 1.0,
                   pam->net_ms <= rival * (1 + 1e-9)});
    ++cells;
    better += pam->net_ms <= 0.95 * rival ? 1 : 0;
    if (bound != nullptr && rival > bound->net_ms) {
      closed += (rival - pam->net_ms) / (rival - bound->net_ms) / 4;
    }
  }
  if (cells > 0) {
    out.push_back(
        {"cells at least 5 % better (share)", 1.0 * better / cells, 0.5, 2 * better >= cells});
    const bool periodic = r.windows > 2880;  // traces of several days, where periods can show
    if (periodic) {
      out.push_back({"share of the gap to the clairvoyant closed", closed, 0.30, closed >= 0.30});
    }
  }
  return out;
}

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
  for (const Gate& g : CheckGates(report)) {
    gates.push_back({{"name", g.name},
                     {"value", g.value},
                     {"limit", g.limit},
                     {"ok", g.ok},
                     {"measured", g.measured}});
    if (g.bound > 0) gates.back()["by_chance"] = g.bound;
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
