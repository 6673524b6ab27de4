// SPDX-License-Identifier: Apache-2.0
// Runs the policies over a trace. See simulate.h; for the policy "pam" see Follow below.
#include "pam/place/simulate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <unordered_map>

#include "pam/place/cache.h"
#include "pam/place/tier.h"

namespace shadow::pam {
namespace {

using internal::Link;
using internal::Stats;
using internal::Streams;
using internal::Tier;
using internal::TierRule;

constexpr double kTiers[] = {0.01, 0.05, 0.10, 0.20};

/// The trace with blocks as dense numbers, so that tiers can use arrays.
struct Dense {
  std::vector<BlockRequest> requests;
  std::unordered_map<std::uint32_t, std::uint32_t> index;
  std::size_t blocks = 0;            // accessed ones: 0 ... blocks - 1
  std::vector<std::uint32_t> right;  // the block behind each, or kNone; here are also the blocks
                                     // that a stream may be expected to reach but never does
  double block_mib = 1;
  double window_minutes = 1;
};

Dense MakeDense(const WindowedTrace& trace, std::uint32_t end) {
  Dense d;
  d.block_mib = static_cast<double>(trace.options.block_bytes) / (1 << 20);
  d.window_minutes = static_cast<double>(trace.options.window_us) / 60e6;
  for (const BlockRequest& r : trace.requests) {
    if (r.time_us >= static_cast<std::int64_t>(end) * trace.options.window_us) break;
    const auto [it, added] = d.index.emplace(r.block, static_cast<std::uint32_t>(d.index.size()));
    d.requests.push_back({r.time_us, it->second, r.write});
  }
  d.blocks = d.index.size();
  std::vector<std::uint32_t> named(d.blocks);
  for (const auto& [block, i] : d.index) named[i] = block;
  std::unordered_map<std::uint32_t, std::uint32_t> all = d.index;
  for (std::size_t i = 0; i < d.blocks; ++i) {
    // Nobody looks ahead of a stream of fewer than three blocks.
    if (named[i] < 2 || !d.index.contains(named[i] - 1) || !d.index.contains(named[i] - 2))
      continue;
    for (std::uint32_t k = 1; k <= Streams::kAhead && named[i] + std::uint64_t{k} < trace.blocks;
         ++k) {
      const auto next = static_cast<std::uint32_t>(all.size());
      if (all.emplace(named[i] + k, next).second) named.push_back(named[i] + k);
    }
  }
  for (const std::uint32_t block : named) {
    const auto it = all.find(block + 1);
    d.right.push_back(it == all.end() ? Streams::kNone : it->second);
  }
  return d;
}

/// Adds up latencies and moves of the counted part: windows from `split` on.
class Meter {
 public:
  Meter(std::uint32_t split, std::uint32_t end, const SimOptions& o)
      : split_(split), o_(o), window_ms_(end - split, 0.0) {}
  void Count(std::uint32_t window, double latency) {
    if (window < split_) return;
    window_ms_[window - split_] += latency;
    ++n_;
    hits_ += latency <= o_.fast_ms ? 1 : 0;
  }
  /// moves: of all the time until now, in or at the end of `window`. Those before the split are
  /// not charged.
  void Charge(std::uint32_t window, std::uint64_t moves) {
    if (window >= split_) {
      charged_ += moves - moves_;
      window_ms_[window - split_] += o_.move_ms * static_cast<double>(moves - moves_);
    }
    moves_ = moves;
  }
  [[nodiscard]] SimResult Result(std::string policy, std::size_t capacity) {
    SimResult r{.policy = std::move(policy), .capacity = capacity, .instant = o_.instant};
    r.accesses = n_;
    if (n_ == 0) return r;
    const auto n = static_cast<double>(n_);
    r.hit_ratio = static_cast<double>(hits_) / n;
    r.moves_per_1000 = 1000 * static_cast<double>(charged_) / n;
    r.net_ms = std::accumulate(window_ms_.begin(), window_ms_.end(), 0.0) / n;
    r.p99_ms = static_cast<double>(n_ - hits_) > 0.01 * n ? o_.slow_ms : o_.fast_ms;
    r.window_ms = std::move(window_ms_);
    return r;
  }

 private:
  std::uint32_t split_;
  SimOptions o_;
  std::vector<double> window_ms_;
  std::uint64_t n_ = 0, hits_ = 0, moves_ = 0, charged_ = 0;
};

struct Scenario {
  const WindowedTrace& trace;
  const Dense& d;
  std::uint32_t split, end;
  const std::vector<Ranking>& rankings;
  const SimOptions& o;
};

SimResult RunCache(const Scenario& run, const std::string& name, std::size_t capacity) {
  const auto& [trace, d, split, end, rankings, o] = run;
  const auto policy = MakeCachePolicy(name, capacity, d.requests);
  Meter meter(split, end, o);
  if (policy == nullptr) return meter.Result(name, capacity);
  Link link(o);
  std::vector<double> ready(d.blocks, 0.0);
  std::uint64_t moves = 0;
  for (std::size_t i = 0; i < d.requests.size(); ++i) {
    const BlockRequest& q = d.requests[i];
    const double now = static_cast<double>(q.time_us) / 1000;
    const auto outcome = policy->Access(q.block, i);
    const bool hit = outcome.held && ready[q.block] <= now;
    // A move that found no room on the link is tried again when the block is met again.
    if (outcome.admitted || (outcome.held && ready[q.block] > 1e17)) {
      const double at = link.Start(now, d.block_mib);
      ready[q.block] = at < 0 ? 1e18 : at;
      moves += at >= 0 ? 1 : 0;
    }
    const auto window = static_cast<std::uint32_t>(q.time_us / trace.options.window_us);
    meter.Count(window, hit ? o.fast_ms : o.slow_ms);
    meter.Charge(window, moves);
  }
  return meter.Result(name, capacity);
}

/// Discounted future of every block at the end of each window, computed backwards once.
std::vector<std::vector<float>> Futures(const Dense& d, std::uint32_t end, double half_life_min,
                                        double window_minutes) {
  std::vector<std::vector<float>> out(end, std::vector<float>(d.blocks, 0));
  std::vector<float> now(d.blocks, 0);
  const auto decay = static_cast<float>(std::exp2(-window_minutes / half_life_min));
  std::size_t i = d.requests.size();
  for (std::uint32_t w = end; w-- > 0;) {
    out[w] = now;  // as of the end of window w: windows w + 1, ...
    for (float& x : now) x *= decay;
    const auto start = static_cast<std::int64_t>(w * window_minutes * 60e6);
    while (i > 0 && d.requests[i - 1].time_us >= start) now[d.requests[--i].block] += 1;
  }
  return out;
}

/// Steps through the trace: access(request, minute, w) for each request, window_end(w, minute).
template <typename OnAccess, typename OnWindow>
void Step(const Scenario& run, Stats& stats, const OnAccess& on_access, const OnWindow& on_window) {
  std::size_t i = 0;
  std::size_t ranking = 0;
  for (std::uint32_t w = 0; w < run.end; ++w) {
    const std::int64_t stop = static_cast<std::int64_t>(w + 1) * run.trace.options.window_us;
    for (; i < run.d.requests.size() && run.d.requests[i].time_us < stop; ++i) {
      const BlockRequest& q = run.d.requests[i];
      const double minute = static_cast<double>(q.time_us) / 60e6;
      stats.Access(q.block, minute);
      on_access(q, minute, w);
    }
    while (ranking < run.rankings.size() && run.rankings[ranking].at < w + 1) ++ranking;
    if (ranking < run.rankings.size() && run.rankings[ranking].at == w + 1) {
      const Ranking& r = run.rankings[ranking];
      stats.model_known = true;
      for (std::size_t k = 0; k < r.block.size(); ++k) {
        const auto it = run.d.index.find(r.block[k]);
        if (it != run.d.index.end()) stats.Expect(it->second, r.future[k]);
      }
    }
    on_window(w, static_cast<double>(stop) / 60e6);
  }
}

SimResult RunTier(const Scenario& run, const TierRule& rule, std::size_t capacity,
                  const std::vector<std::vector<float>>* futures) {
  Stats stats(run.d.blocks);
  Tier tier(rule, capacity, run.d.block_mib, stats, run.o);
  Meter meter(run.split, run.end, run.o);
  Step(
      run, stats,
      [&](const BlockRequest& q, double minute, std::uint32_t w) {
        meter.Count(w, tier.Access(q.block, minute));
      },
      [&](std::uint32_t w, double minute) {
        if (futures != nullptr) {
          tier.override_value.assign((*futures)[w].begin(), (*futures)[w].end());
        }
        tier.Rebalance(minute);
        meter.Charge(w, tier.moves());
      });
  return meter.Result(rule.name, capacity);
}

/// EWMA 4 h, the cost of a move weighed in; with the model's expectation mixed in.
TierRule WindowRule(const char* name, double model_share = 0) {
  TierRule r;
  r.name = name;
  r.model_share = model_share;
  return r;
}

/// The rules "pam" chooses from: its two rivals; the first rival looking ahead of sequential
/// streams, too; and two that do so and weigh a burst against what is warm all day. All decide at
/// each access but EWMA 4 h (most accesses may be first touches, which no ranking per window can
/// serve).
std::vector<TierRule> Candidates() {
  std::vector<TierRule> out(5);
  out[0] = WindowRule("ewma-window");
  out[1].name = "lru";
  out[1].lru = true;
  out[2] = WindowRule("ewma-window, streams");
  out[3] = {.name = "patient", .minutes10 = 0.5, .bend = 10};
  out[4] = {.name = "quick", .seconds30 = 0.75, .bend = 3};
  for (std::size_t i = 2; i < out.size(); ++i) out[i].streams = true;
  return out;
}

// Costs are forgotten by accesses, not by time: a burst of a thousand accesses says as much as an
// idle day with a thousand. Chosen on the training parts, see docs/pam.md.
constexpr double kCostMemory = 3000;  // accesses until a cost counts half
constexpr int kLookEvery = 250;       // accesses between two looks at who leads
constexpr double kClearly = 0.99;     // a new leader must have cost so much less,
constexpr double kMovesLess = 10;     // and by the cost of so many moves

/// What the daemon should do: every rule is simulated beside the real tier (a ghost without data
/// costs nothing but bookkeeping); the real tier follows the rule whose ghost was cheapest of late
/// and changes its mind only for a clear advantage. It starts as its rival, EWMA 4 h.
SimResult Follow(const Scenario& run, std::size_t capacity) {
  Stats stats(run.d.right.size());
  Streams streams(run.d.right, Link(run.o).Start(0, run.d.block_mib));  // a move on an idle link
  std::vector<Tier> ghosts;
  for (const TierRule& rule : Candidates()) {
    ghosts.emplace_back(rule, capacity, run.d.block_mib, stats, run.o, &streams);
  }
  std::vector<double> cost(ghosts.size(), 0);
  std::vector<std::uint64_t> moved(ghosts.size(), 0);
  std::size_t leader = 0;
  int since = 0;
  Tier real(ghosts[leader].rule(), capacity, run.d.block_mib, stats, run.o, &streams);
  Meter meter(run.split, run.end, run.o);
  const double keep = std::exp2(-1 / kCostMemory);
  const auto look = [&] {
    for (std::size_t g = 0; g < ghosts.size(); ++g) {
      cost[g] += run.o.move_ms * static_cast<double>(ghosts[g].moves() - moved[g]);
      moved[g] = ghosts[g].moves();
    }
    const auto best =
        static_cast<std::size_t>(std::min_element(cost.begin(), cost.end()) - cost.begin());
    if (cost[best] + kMovesLess * run.o.move_ms < kClearly * cost[leader]) {
      leader = best;
      real.SetRule(ghosts[leader].rule());
    }
    since = 0;
  };
  Step(
      run, stats,
      [&](const BlockRequest& q, double minute, std::uint32_t w) {
        streams.Access(q.block, minute);
        for (std::size_t g = 0; g < ghosts.size(); ++g) {
          cost[g] = cost[g] * keep + ghosts[g].Access(q.block, minute);
        }
        meter.Count(w, real.Access(q.block, minute));
        if (++since >= kLookEvery) look();
      },
      [&](std::uint32_t w, double minute) {
        for (Tier& ghost : ghosts) ghost.Rebalance(minute);
        look();
        real.Rebalance(minute);
        meter.Charge(w, real.moves());
      });
  return meter.Result("pam", capacity);
}

}  // namespace

SimResult SimulateCache(const WindowedTrace& trace, std::uint32_t split, std::uint32_t end,
                        const std::string& policy, std::size_t capacity,
                        const SimOptions& options) {
  const Dense d = MakeDense(trace, end);
  return RunCache({trace, d, split, end, {}, options}, policy, capacity);
}

std::vector<SimResult> SimulateAll(const WindowedTrace& trace, std::uint32_t split,
                                   std::uint32_t end, const std::vector<Ranking>& rankings,
                                   const SimOptions& options) {
  std::vector<SimResult> out;
  const Dense d = MakeDense(trace, end);
  if (d.requests.empty()) return out;
  const Scenario run{trace, d, split, end, rankings, options};
  // The bound is the best of several discounts; short traces bear them all, long ones need memory.
  std::vector<std::vector<std::vector<float>>> futures;
  if (static_cast<double>(d.blocks) * end < 5e7) {
    for (const double h : {5.0, 30.0, 240.0})
      futures.push_back(Futures(d, end, h, d.window_minutes));
  }
  for (const double tier : kTiers) {
    const auto capacity = std::max<std::size_t>(
        1, static_cast<std::size_t>(std::lround(tier * static_cast<double>(d.blocks))));
    const auto add = [&](SimResult r) {
      r.tier = tier;
      out.push_back(std::move(r));
    };
    for (const char* name : kCachePolicies) {
      add(RunCache(run, name, capacity));
    }
    add(RunTier(run, WindowRule("ewma_4h"), capacity, nullptr));
    TierRule naive = WindowRule("ewma_4h_naive");
    naive.by_rank = true;
    add(RunTier(run, naive, capacity, nullptr));
    add(RunTier(run, WindowRule("model", 1), capacity, nullptr));
    add(Follow(run, capacity));
    SimResult bound;
    for (const auto& f : futures) {
      SimResult one = RunTier(run, WindowRule("clairvoyant"), capacity, &f);
      if (bound.accesses == 0 || one.net_ms < bound.net_ms) bound = one;
    }
    if (bound.accesses > 0) add(bound);
  }
  return out;
}

}  // namespace shadow::pam
