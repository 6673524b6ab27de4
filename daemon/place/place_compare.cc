// SPDX-License-Identifier: Apache-2.0
// Replays a trace against a simple model of home and two tiers, with each policy, and prints what
// they serve and what they move:
//   place_compare TRACE [--from 0] [--to 1] [--speed 20] [--volume MIB] [--block KIB]
//                 [--writethrough] [--worker PATH] [--set NAME=VALUE]... [POLICY...]
//
// Figures count from the share `from` of the trace's time to `to`; everything before warms up.
// Home serves four requests at a time, 2 ms each, 150 MiB/s; moves are served by it too, one at a
// time, at most at 100 MiB/s. "touch2" is what dm-cache does at its best: one fast device as large
// as both tiers and as fast as tier 1, a block is promoted at its second touch, the one unused the
// longest makes room. "seen" is a bound: every block that was touched before is on the fastest
// device, there at once and for nothing; no order of what was seen before can serve more.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <list>
#include <memory>
#include <set>
#include <thread>
#include <unordered_map>

#include "daemon/place/pam_client.h"
#include "daemon/place/placement.h"
#include "pam/trace/reader.h"
#include "pam/v1/worker.pb.h"

namespace shadow {
namespace {

constexpr std::uint64_t kHomeRate = 150 << 20;
constexpr std::uint64_t kRate = 100 << 20;

struct Options {
  double from = 0, to = 1, speed = 20;
  std::uint64_t volume = std::uint64_t{4096} << 20;
  std::uint64_t block = 256 << 10;
  bool write_back = true;
  std::string worker;
  PlacementSettings settings;
};

struct Request {
  double ms = 0;
  std::uint32_t block = 0;
  std::uint32_t bytes = 0;
  bool write = false;
};

struct Totals {
  std::uint64_t accesses = 0, hits[3] = {}, read_hits[3] = {}, served = 0, moved = 0;
  std::vector<float> latency, reads;
};

class Machine {
 public:
  Machine(const Options& o, std::uint64_t slots1, std::uint64_t slots2) : o_(o) {
    slots_[1] = slots1;
    slots_[2] = slots2;
  }
  struct State {
    int tier = 1;
    bool dirty = false;
    bool busy = true;
  };

  double Serve(const Request& r, bool counted, Totals* t) {
    Advance(r.ms);
    const auto at = shadows_.find(r.block);
    const bool held = at != shadows_.end() && !at->second.busy;
    const int tier = held ? at->second.tier : 0;
    double latency = 0;
    if (held && (!r.write || o_.write_back)) {
      latency = tier == 1 ? 0.02 : 0.1;
      at->second.dirty |= r.write;
    } else {
      auto server = std::min_element(home_.begin(), home_.end());
      *server = std::max(*server, r.ms) + 2;
      latency = *server - r.ms;
    }
    if (counted) {
      ++t->accesses;
      ++t->hits[held && (!r.write || o_.write_back) ? tier : 0];
      t->served += r.bytes;
      t->latency.push_back(static_cast<float>(latency));
      if (!r.write) {
        ++t->read_hits[tier];
        t->reads.push_back(static_cast<float>(latency));
      }
    }
    return latency;
  }

  void Hold(std::uint32_t block) { shadows_.insert({block, {1, false, false}}); }
  void Queue(const TierPlan& plan) {
    for (const Move& m : plan.moves) queue_.push_back(m);
  }
  /// Moves that are due until now are started and those that are done show.
  void Advance(double ms) {
    while (!queue_.empty() && mover_ms_ <= ms) {
      Finish(mover_ms_);
      const Move m = queue_.front();
      queue_.pop_front();
      const auto at = shadows_.find(m.block);
      const bool copies = m.kind != MoveKind::kDemote || (at != shadows_.end() && at->second.dirty);
      if (m.kind == MoveKind::kPromote) {
        const int tier = static_cast<int>(m.tier);
        if (at != shadows_.end() || used_[tier] >= slots_[tier]) continue;
        shadows_[m.block] = {tier, false, true};
        ++used_[tier];
      } else if (at == shadows_.end()) {
        continue;
      }
      const double start = std::max(mover_ms_, last_ms_);
      if (copies) {
        auto server = std::min_element(home_.begin(), home_.end());
        *server = std::max(*server, start) + 2 + 1000.0 * static_cast<double>(o_.block) / kHomeRate;
        mover_ms_ = std::max(*server, start + 1000.0 * static_cast<double>(o_.block) / kRate);
        moved += o_.block;
      } else {
        mover_ms_ = start;
      }
      running_ = m;
      has_running_ = true;
    }
    if (mover_ms_ <= ms) Finish(ms);
    last_ms_ = ms;
  }
  [[nodiscard]] TierWorld World() const {
    TierWorld w;
    w.home = {2, 2, 150, 150};
    w.tier1 = {slots_[1], used_[1], o_.write_back, true, {0.02, 0.02, 2000, 2000}};
    w.tier2 = {slots_[2], used_[2], o_.write_back, true, {0.1, 0.1, 500, 500}};
    w.rate = kRate;
    for (const auto& [block, s] : shadows_) {
      w.shadows.push_back({block, s.tier == 1 ? Place::kTier1 : Place::kTier2, s.dirty, s.busy, 0});
    }
    for (const Move& m : queue_) {  // what is on the way is left alone
      for (Shadow& s : w.shadows) s.busy |= s.block == m.block;
    }
    std::sort(w.shadows.begin(), w.shadows.end(),
              [](const Shadow& a, const Shadow& b) { return a.block < b.block; });
    return w;
  }
  [[nodiscard]] bool Has(std::uint32_t block) const { return shadows_.contains(block); }
  [[nodiscard]] std::size_t queued() const { return queue_.size(); }
  std::uint64_t moved = 0;

 private:
  void Finish(double ms) {
    if (!has_running_ || mover_ms_ > ms) return;
    has_running_ = false;
    const auto at = shadows_.find(running_.block);
    if (at == shadows_.end()) return;
    if (running_.kind == MoveKind::kPromote) at->second.busy = false;
    if (running_.kind == MoveKind::kWriteback) at->second.dirty = false;
    if (running_.kind == MoveKind::kDemote) {
      --used_[at->second.tier];
      shadows_.erase(at);
    }
  }
  const Options& o_;
  std::unordered_map<std::uint32_t, State> shadows_;
  std::deque<Move> queue_;
  Move running_;
  bool has_running_ = false;
  std::uint64_t slots_[3] = {}, used_[3] = {};
  std::array<double, 4> home_{};
  double mover_ms_ = 0, last_ms_ = 0;
};

/// What the worker learns beside its work is done within a window of a real volume.
void WaitForLearning(PamClient* client) {
  for (bool learning = true; learning;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it begins when it has no work
    ::pam::v1::Request ask;
    ask.mutable_status()->set_volume("v");
    const auto id = client->Send(ask);
    if (!id.ok()) return;
    client->Pump(60'000, *id);
    ::pam::v1::Reply reply;
    learning = client->Take(*id, &reply) && reply.status().learning();
  }
}

/// Promotes at the second touch, drops the least recently used.
class Touch2 {
 public:
  explicit Touch2(std::size_t slots) : slots_(slots) {}
  void Access(std::uint32_t block, Machine* machine) {
    if (Lift(&held_, &held_at_, block, false)) return;
    if (machine->Has(block) || machine->queued() > 4) return;  // migration_threshold: 1 MiB
    if (!Lift(&seen_, &seen_at_, block, false)) {
      Lift(&seen_, &seen_at_, block, true);
      if (seen_.size() > 4 * slots_) {
        seen_at_.erase(seen_.back());
        seen_.pop_back();
      }
      return;
    }
    TierPlan plan;
    if (held_.size() >= slots_) {
      plan.moves.push_back({MoveKind::kDemote, held_.back(), Place::kTier1});
      held_at_.erase(held_.back());
      held_.pop_back();
    }
    plan.moves.push_back({MoveKind::kPromote, block, Place::kTier1});
    Lift(&held_, &held_at_, block, true);
    machine->Queue(plan);
  }

 private:
  using List = std::list<std::uint32_t>;
  using Map = std::unordered_map<std::uint32_t, List::iterator>;
  static bool Lift(List* list, Map* at, std::uint32_t block, bool add) {
    const auto it = at->find(block);
    if (it == at->end() && !add) return false;
    if (it != at->end()) list->erase(it->second);
    list->push_front(block);
    (*at)[block] = list->begin();
    return true;
  }
  std::size_t slots_;
  List held_, seen_;
  Map held_at_, seen_at_;
};

struct Part {
  std::unordered_map<std::uint32_t, BlockAccess> blocks;
  std::uint64_t ops = 0, bytes = 0;
  AccessWindow Close(std::int64_t length_us) {
    AccessWindow w;
    w.length_us = length_us;
    w.ops = ops;
    w.bytes = bytes;
    for (const auto& [b, a] : blocks) w.blocks.push_back(a);
    std::sort(w.blocks.begin(), w.blocks.end(),
              [](const BlockAccess& a, const BlockAccess& b) { return a.block < b.block; });
    *this = {};
    return w;
  }
};

void Run(const std::vector<Request>& requests, const Options& o, const std::string& policy,
         std::uint64_t slots1, std::uint64_t slots2) {
  Totals t;
  ManualClock clock(0);
  const double end = requests.back().ms;
  const bool lru2 = policy == "touch2", seen = policy == "seen";
  const bool planned = !lru2 && !seen;  // by shadowd's own placement
  Machine machine(o, lru2 ? slots1 + slots2 : slots1, lru2 ? 0 : slots2);
  Touch2 touch2(slots1 + slots2);
  PlacementSettings settings = o.settings;
  settings.policy = planned ? policy : "off";
  settings.window_us = static_cast<std::int64_t>(60e6 / o.speed);
  RealClock real;
  PamClient client({o.worker, "", 600'000}, real);
  PamVolume pam{&client, "v", "", 0, 60'000'000, false};
  auto placement = Placement::Make(settings, o.volume / o.block,
                                   static_cast<std::uint32_t>(o.block), pam, clock);
  if (!placement.ok()) {
    std::fprintf(stderr, "%s\n", placement.error().ToString().c_str());
    std::exit(1);
  }
  Part part;
  const double part_ms = 60'000 / o.speed / settings.parts;
  double next = part_ms;
  int parts = 0;
  std::uint64_t before = 0;
  bool counting = false;
  for (const Request& r : requests) {
    for (; r.ms >= next; next += part_ms) {
      machine.Advance(next);
      clock.AdvanceMs(static_cast<std::int64_t>(part_ms));
      if (!planned) continue;
      (*placement)->AddPart(part.Close(static_cast<std::int64_t>(part_ms * 1000)));
      // The trace runs faster than the clock on the wall: the model is given the time it would
      // have.
      client.Pump(60'000);
      if (policy == "pam") WaitForLearning(&client);
      machine.Queue(++parts % settings.parts == 0 ? (*placement)->Round(machine.World())
                                                  : (*placement)->React(machine.World()));
    }
    if (r.ms > o.to * end) break;
    if (!counting && r.ms >= o.from * end) {
      counting = true;
      before = machine.moved;
    }
    machine.Serve(r, counting, &t);
    if (lru2) touch2.Access(r.block, &machine);
    if (seen) machine.Hold(r.block);
    BlockAccess& a = part.blocks[r.block];
    a.block = r.block;
    ++a.count;
    a.writes += r.write ? 1 : 0;
    ++part.ops;
    part.bytes += r.bytes;
  }
  if (t.accesses == 0) return;
  const auto mean = [](const std::vector<float>& v) {
    double sum = 0;
    for (const float l : v) sum += l;
    return v.empty() ? 0 : sum / static_cast<double>(v.size());
  };
  const auto p99 = [](std::vector<float>* v) {
    if (v->empty()) return 0.0;
    const auto at = v->begin() + static_cast<std::ptrdiff_t>(v->size() * 99 / 100);
    std::nth_element(v->begin(), at, v->end());
    return static_cast<double>(*at);
  };
  const auto share = [](std::uint64_t part, std::size_t whole) {
    return 100 * static_cast<double>(part) / static_cast<double>(std::max<std::size_t>(1, whole));
  };
  std::printf(
      "%-7s hits %5.1f + %5.1f %%  mean %6.3f  p99 %7.2f ms | reads: hits %5.1f + %5.1f %%  mean "
      "%6.3f  p99 %7.2f ms | moved/served %6.3f  %s\n",
      policy.c_str(), share(t.hits[1], t.accesses), share(t.hits[2], t.accesses), mean(t.latency),
      p99(&t.latency), share(t.read_hits[1], t.reads.size()), share(t.read_hits[2], t.reads.size()),
      mean(t.reads), p99(&t.reads),
      static_cast<double>(machine.moved - before) / static_cast<double>(t.served),
      planned ? (*placement)->GetStatus().note.c_str() : "");
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  Options o;
  std::string path;
  std::vector<std::string> policies;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    const auto value = [&] { return i + 1 < argc ? std::string(argv[++i]) : std::string("0"); };
    if (a == "--from")
      o.from = std::atof(value().c_str());
    else if (a == "--to")
      o.to = std::atof(value().c_str());
    else if (a == "--speed")
      o.speed = std::max(0.1, std::atof(value().c_str()));
    else if (a == "--volume")
      o.volume = std::strtoull(value().c_str(), nullptr, 10) << 20;
    else if (a == "--block")
      o.block = std::strtoull(value().c_str(), nullptr, 10) << 10;
    else if (a == "--writethrough")
      o.write_back = false;
    else if (a == "--worker")
      o.worker = value();
    else if (a == "--set") {
      const std::string s = value();
      const double v = std::atof(s.substr(s.find('=') + 1).c_str());
      const std::string name = s.substr(0, s.find('='));
      PlacementSettings& p = o.settings;
      if (name == "margin")
        p.plan.margin = v;
      else if (name == "fill")
        p.plan.fill_margin = v;
      else if (name == "hysteresis")
        p.plan.hysteresis = v;
      else if (name == "wear")
        p.plan.wear_ms_per_mib = v;
      else if (name == "writeback")
        p.plan.writeback_windows = static_cast<std::uint32_t>(v);
      else if (name == "half")
        p.policies.half_life = static_cast<int>(v);
      else if (name == "share")
        p.policies.model_share = v;
      else if (name == "served")
        p.served_share = v;
      else if (name == "free")
        p.free_bytes = static_cast<std::uint64_t>(v) << 20;
      else if (name == "reactive")
        p.reactive = v > 0, p.reactive_worth = v;
      else
        return std::fprintf(stderr, "no setting %s\n", name.c_str()), 2;
    } else if (path.empty())
      path = a;
    else
      policies.push_back(a);
  }
  if (path.empty() || o.block == 0 || o.volume < o.block) {
    std::fprintf(stderr, "usage: place_compare TRACE [options] [POLICY...]\n");
    return 2;
  }
  if (policies.empty()) policies = {"off", "touch2", "lru", "ewma", "pam"};
  const auto trace = pam::ReadTrace(path);
  if (!trace.ok() || trace->requests.empty()) {
    std::fprintf(stderr, "%s\n", trace.ok() ? "empty" : trace.error().ToString().c_str());
    return 1;
  }
  std::vector<Request> requests;
  std::set<std::uint32_t> footprint;
  for (const auto& r : trace->requests) {
    const double ms =
        static_cast<double>(r.time_us - trace->requests.front().time_us) / 1000 / o.speed;
    std::uint64_t at = r.offset % o.volume;
    for (std::uint64_t left = std::max<std::uint64_t>(1, r.length); left > 0;) {
      const std::uint64_t take = std::min(left, o.block - at % o.block);
      requests.push_back({ms, static_cast<std::uint32_t>(at / o.block),
                          static_cast<std::uint32_t>(take), r.write});
      footprint.insert(requests.back().block);
      left -= take;
      at = (at + take) % o.volume;
    }
  }
  const std::uint64_t slots1 = footprint.size() / 20;
  const std::uint64_t slots2 = footprint.size() / 5;
  std::printf("%zu block accesses, %zu blocks touched, %llu + %llu slots\n", requests.size(),
              footprint.size(), static_cast<unsigned long long>(slots1),
              static_cast<unsigned long long>(slots2));
  for (const std::string& p : policies) Run(requests, o, p, slots1, slots2);
  return 0;
}

}  // namespace
}  // namespace shadow

int main(int argc, char** argv) { return shadow::Main(argc, argv); }
