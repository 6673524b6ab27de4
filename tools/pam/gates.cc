// SPDX-License-Identifier: Apache-2.0
// The gates of an evaluation: what a predictor and a placement policy are held to. See report.h.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "tools/pam/report.h"

namespace shadow::pam::tool {
namespace {

constexpr std::uint64_t kSeed = 1;  // seed of the ranges

const SimResult* Find(const std::vector<SimResult>& sims, const std::string& policy, double tier) {
  for (const SimResult& s : sims) {
    if (!s.instant && s.policy == policy && s.tier == tier) return &s;
  }
  return nullptr;
}

/// Net milliseconds of the policies of one tier, by window of the test part.
struct Cell {
  const SimResult *pam, *ewma, *lru, *bound;
  [[nodiscard]] bool measured() const {
    return pam != nullptr && ewma != nullptr && lru != nullptr && pam->accesses > 0;
  }
};

std::uint32_t WindowsOf(const Cell& cell) {
  return static_cast<std::uint32_t>(cell.pam->window_ms.size());
}

struct Costs {
  double pam = 0, rival = 0, bound = 0;
};

using Picked = std::vector<std::uint32_t>;  // windows of the test part

Costs CostOf(const Cell& cell, const Picked& picked) {
  const auto sum = [&](const SimResult& r) {
    double total = 0;
    for (const std::uint32_t w : picked) total += r.window_ms[w];
    return total;
  };
  return {sum(*cell.pam), std::min(sum(*cell.ewma), sum(*cell.lru)),
          cell.bound == nullptr ? 0 : sum(*cell.bound)};
}

/// Share of the gap between the better rival and the clairvoyant that "pam" closed, mean of cells.
double Closed(const std::vector<Cell>& cells, const Picked& picked) {
  double closed = 0;
  for (const Cell& cell : cells) {
    const Costs c = CostOf(cell, picked);
    if (c.bound > 0 && c.rival > c.bound) {
      closed += (c.rival - c.pam) / (c.rival - c.bound) / static_cast<double>(cells.size());
    }
  }
  return closed;
}

/// Log losses of one horizon, summed over the windows picked.
WindowLoss LossOf(const HorizonResult& h, const Picked& picked) {
  WindowLoss all;
  for (const std::uint32_t i : picked) {
    const WindowLoss& w = h.over_time[i];
    all.blocks += w.blocks;
    all.model += w.model;
    all.regression += w.regression;
    all.ewma += w.ewma;
  }
  return all;
}

Interval RangeOf(const HorizonResult& h, const std::function<double(const WindowLoss&)>& figure) {
  return Bootstrap(static_cast<std::uint32_t>(h.over_time.size()), h.windows, kSeed,
                   [&](const Picked& picked) { return figure(LossOf(h, picked)); });
}

void PredictorGates(const TraceReport& report, std::vector<Gate>* out) {
  for (const HorizonResult& h : report.seeds.front().horizons) {
    const Metrics* pam = Seen(h, "pam");
    if (pam == nullptr) {
      out->push_back({h.name + ": not measurable, the test part is shorter", 0, 0, true, false});
      continue;
    }
    if (h.name == "60s" && report.best_seen > 0) {
      out->push_back(
          {"60s: log loss", pam->log_loss, report.best_seen, pam->log_loss <= report.best_seen});
      out->back().range = RangeOf(h, [](const WindowLoss& l) { return l.model / l.blocks; });
    }
    out->push_back(
        {h.name + ": log loss / best rival, never worse", h.ratio, 1.01, h.ratio <= 1.01});
    const Interval range =
        RangeOf(h, [](const WindowLoss& l) { return l.model / std::min(l.regression, l.ewma); });
    out->back().range = range;
    // Asked for unless the gate chose a rival, which the line above then holds to be the better
    // one.
    if (h.ruled[0] + h.ruled[3] < h.ruled[1] + h.ruled[2]) continue;
    out->push_back({h.name + ": log loss / best rival", h.ratio, 0.97, h.ratio <= 0.97});
    out->back().range = range;
    out->push_back({h.name + ": ECE", pam->ece, 0.01, pam->ece <= 0.01});
    out->back().bound = pam->ece_chance;
  }
}

void PlacementGates(const TraceReport& report, std::vector<Gate>* out) {
  const EvalResult& r = report.seeds.front();
  std::vector<Cell> cells;
  int better = 0;
  for (const double tier : {0.01, 0.05, 0.10, 0.20}) {
    const Cell cell{Find(report.sims, "pam", tier), Find(report.sims, "ewma_4h", tier),
                    Find(report.sims, "lru", tier), Find(report.sims, "clairvoyant", tier)};
    if (!cell.measured()) continue;
    cells.push_back(cell);
    const auto ratio = [&](const Picked& picked) {
      const Costs c = CostOf(cell, picked);
      return c.rival > 0 ? c.pam / c.rival : 1.0;
    };
    const double value = cell.pam->net_ms / std::min(cell.ewma->net_ms, cell.lru->net_ms);
    out->push_back({std::to_string(std::lround(tier * 100)) + " % tier: net latency / best rival",
                    value, 1.0, value <= 1 + 1e-9});
    out->back().range = Bootstrap(WindowsOf(cell), 1, kSeed, ratio);
    better += value <= 0.95 ? 1 : 0;
  }
  if (cells.empty()) return;
  const auto n = static_cast<double>(cells.size());
  out->push_back({"cells at least 5 % better (share)", better / n, 0.5, 2 * better >= n});
  if (r.windows <= 2880) return;  // periods can show on traces of several days
  Picked all(WindowsOf(cells.front()));
  std::iota(all.begin(), all.end(), 0U);
  const double closed = Closed(cells, all);
  out->push_back({"share of the gap to the clairvoyant closed", closed, 0.30, closed >= 0.30});
  out->back().range = Bootstrap(WindowsOf(cells.front()), 1, kSeed,
                                [&](const Picked& picked) { return Closed(cells, picked); });
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
  PredictorGates(report, &out);
  PlacementGates(report, &out);
  return out;
}

}  // namespace shadow::pam::tool
