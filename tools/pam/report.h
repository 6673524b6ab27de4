// SPDX-License-Identifier: Apache-2.0
// Reports of an evaluation: the gates, JSON, and one self-contained HTML page.
//
// Pure functions of what pam/eval and pam/place measured.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "pam/eval/bootstrap.h"
#include "pam/eval/evaluate.h"
#include "pam/place/simulate.h"

namespace shadow::pam::tool {

/// Mean and standard deviation of one figure over seeds.
struct Spread {
  double mean = 0, deviation = 0;
  int runs = 0;
};

struct Gate {
  std::string name;
  double value = 0, limit = 0;
  bool ok = false;
  bool measured = true;  // false: the trace is too short to say
  double bound = 0;      // what chance alone would make of a perfect predictor; 0: not known
  Interval range;        // of the value, for other windows like these; see pam/eval/bootstrap.h
};

/// All of one trace: the main run, the runs of the other seeds and origins, the simulations.
struct TraceReport {
  std::string name;
  std::vector<EvalResult> seeds;    // the same split; [0] is the main run
  std::vector<EvalResult> origins;  // earlier splits
  std::vector<SimResult> sims;      // with delay, then instant
  double best_seen = 0;             // log loss to reach on the named traces, 0 if none is known
  std::vector<Gate> gates;          // CheckGates() of the above, once: the ranges take time
};

/// A predictor's metrics over the blocks that were seen before; NULL if it is not in `h`.
const Metrics* Seen(const HorizonResult& h, const std::string& name);

/// Every gate that can be checked on this trace.
std::vector<Gate> CheckGates(const TraceReport& report);

nlohmann::json ToJson(const TraceReport& report);
std::string ToHtml(const std::vector<TraceReport>& reports);

}  // namespace shadow::pam::tool
