// SPDX-License-Identifier: Apache-2.0
// Placement simulators: replay a trace against a fast tier of a given size and say what it costs,
// with every move charged.
//
// Pure functions of their input; one thread. Latencies are milliseconds. Promotions share one link:
// a move waits for the moves before it, takes block_bytes / bandwidth, and serves hits only `delay`
// after it ended; with more than `backlog` moves waiting a promotion is not started.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pam/eval/evaluate.h"
#include "pam/window/windowing.h"

namespace shadow::pam {

struct SimOptions {
  double fast_ms = 0.1;
  double slow_ms = 8;
  double move_ms = 20;        // charged per move
  double bandwidth_mib = 50;  // of promotions, MiB/s
  double delay_ms = 50;
  std::size_t backlog = 64;
  bool instant = false;  // promotions take no time (moves are charged all the same)
};

struct SimResult {
  std::string policy;
  double tier = 0;           // share of the footprint
  std::size_t capacity = 0;  // blocks
  bool instant = false;
  std::uint64_t accesses = 0;  // counted (those of the test part)
  double hit_ratio = 0;
  double moves_per_1000 = 0;
  double net_ms = 0;              // mean latency + charged moves, per access
  double p99_ms = 0;              // of the access latency alone
  std::vector<double> window_ms;  // latencies and charged moves of each window of the test part
};

/// Simulates every policy at 1, 5, 10 and 20 % of the footprint. The whole trace is replayed so
/// that tiers are warm; accesses count from window `split` on. `rankings` are what the model said
/// (from EvalResult), used from their window on; without them the policies "model" and "pam" know
/// only the past. Policies: see kCachePolicies; ewma_4h (cost-aware, placed each window),
/// ewma_4h_naive (by rank alone), model (cost-aware, network's future), pam (what the daemon should
/// do), clairvoyant (bound).
std::vector<SimResult> SimulateAll(const WindowedTrace& trace, std::uint32_t split,
                                   std::uint32_t end, const std::vector<Ranking>& rankings,
                                   const SimOptions& options);

/// One cache policy by name; for tests.
SimResult SimulateCache(const WindowedTrace& trace, std::uint32_t split, std::uint32_t end,
                        const std::string& policy, std::size_t capacity, const SimOptions& options);

}  // namespace shadow::pam
