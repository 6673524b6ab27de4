// SPDX-License-Identifier: Apache-2.0
// One placement round over 1,000,000 known blocks of which 100,000 are active, the model's worker
// included: place_bench WORKER [BLOCKS [ACTIVE [ROUNDS [MODEL]]]]. Prints the time of rounds and
// the bytes of state for each block ever touched. With MODEL, of `pam train -o`, the model rules
// from the first window, and is not trained meanwhile.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "daemon/place/pam_client.h"
#include "daemon/place/placement.h"

namespace shadow {
namespace {

/// Processor time of the worker so far, ms.
double WorkerMs(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string word;
  double ticks = 0;
  for (int i = 1; i <= 15 && file >> word; ++i) ticks += i >= 14 ? std::atof(word.c_str()) : 0;
  return ticks * 1000 / static_cast<double>(sysconf(_SC_CLK_TCK));
}

int Main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: place_bench WORKER [BLOCKS [ACTIVE [ROUNDS [MODEL]]]]\n");
    return 2;
  }
  const auto number = [&](int i, std::uint32_t otherwise) {
    return argc > i ? static_cast<std::uint32_t>(std::max(1, std::atoi(argv[i]))) : otherwise;
  };
  const std::uint32_t blocks = number(2, 1'000'000);
  const std::uint32_t active = std::min(blocks, number(3, 100'000));
  const std::uint32_t rounds = number(4, 25);
  RealClock clock;
  std::string state_dir;
  if (argc > 5) {
    char name[] = "/tmp/place_bench.XXXXXX";
    if (mkdtemp(name) == nullptr) return 1;
    state_dir = name;
    std::error_code failed;
    std::filesystem::copy_file(argv[5], state_dir + "/bench.model", failed);
    if (failed) {
      std::fprintf(stderr, "place_bench: %s: %s\n", argv[5], failed.message().c_str());
      std::filesystem::remove_all(state_dir);
      return 1;
    }
    setenv("PAM_UPDATE_MINUTES", "0", 1);
  }
  PamClient client({argv[1], state_dir, 600'000}, clock);
  PlacementSettings settings;
  settings.plan.most_moves = 4096;
  auto made = Placement::Make(settings, 4 * std::uint64_t{blocks}, 256 << 10,
                              {&client, "bench", "", 0, 60'000'000, false}, clock);
  if (!made.ok()) return 1;
  Placement& placement = **made;
  TierWorld world;
  world.home = {8, 8, 150, 150};
  world.tier1 = {blocks / 20, 0, true, true, {0.1, 0.1, 2000, 2000}};
  world.tier2 = {blocks / 5, 0, true, true, {0.3, 0.3, 500, 500}};
  std::mt19937 rng(7);
  std::vector<double> ms;
  for (std::uint32_t r = 0; r < rounds + blocks / active; ++r) {
    AccessWindow w;
    w.length_us = settings.window_us;
    // First every block once, then Zipf-like: low numbers again and again.
    std::vector<std::uint32_t> touched;
    const bool filling = r < blocks / active;
    for (std::uint32_t i = 0; touched.size() < active && i < 4 * active; ++i) {
      const double u = std::generate_canonical<double, 32>(rng);
      touched.push_back(filling ? r * active + i
                                : static_cast<std::uint32_t>(u * u * u * (blocks - 1)));
      if (filling && i + 1 == active) break;
    }
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    for (std::uint32_t i = 0; !filling && touched.size() < active; i += 7) {
      touched.push_back((i * 2654435761U) % blocks);
      if (touched.size() == active) {
        std::sort(touched.begin(), touched.end());
        touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
      }
    }
    for (const std::uint32_t b : touched) {
      w.blocks.push_back({4 * b, 1 + static_cast<std::uint32_t>(rng() % 3),
                          static_cast<std::uint32_t>(rng() % 2)});
    }
    w.ops = w.blocks.size();
    w.bytes = w.ops << 14;
    const auto start = std::chrono::steady_clock::now();
    const std::clock_t cpu_start = std::clock();
    const double worker_start = WorkerMs(client.pid());
    placement.AddPart(w);
    const TierPlan plan = placement.Round(world);
    const double took =
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    for (const Move& m : plan.moves) {
      if (m.kind != MoveKind::kPromote) continue;
      world.shadows.push_back({m.block, m.tier});
      ++(m.tier == Place::kTier1 ? world.tier1 : world.tier2).used;
    }
    std::sort(world.shadows.begin(), world.shadows.end(),
              [](const Shadow& a, const Shadow& b) { return a.block < b.block; });
    const PlacementStatus s = placement.GetStatus();
    const double own = 1000.0 * static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC;
    const double worker = WorkerMs(client.pid()) - worker_start;
    std::printf(
        "round %2u: %6.0f ms; processor: daemon %4.0f ms, worker %5.0f ms; %zu active, "
        "%zu moves; %s %s\n",
        r, took, own, worker, w.blocks.size(), plan.moves.size(), s.policy.ruling.c_str(),
        s.policy.reason.c_str());
    std::fflush(stdout);
    client.Pump(600'000);  // training, which is not part of a round
    if (!filling && s.policy.ruling == "pam") ms.push_back(own + worker);
  }
  const PlacementStatus s = placement.GetStatus();
  std::sort(ms.begin(), ms.end());
  if (!ms.empty()) {
    std::printf(
        "processor time of rounds that the model ranked: %zu, median %.0f ms, worst %.0f ms\n",
        ms.size(), ms[ms.size() / 2], ms.back());
  }
  const std::size_t ranked = placement.ranking().size() * sizeof(BlockHeat);
  std::printf(
      "%llu blocks known, %.1f bytes each; with rankings %.1f\n",
      static_cast<unsigned long long>(s.policy.known_blocks),
      static_cast<double>(s.policy.state_bytes) / static_cast<double>(s.policy.known_blocks),
      static_cast<double>(s.policy.state_bytes + 2 * ranked) /
          static_cast<double>(s.policy.known_blocks));
  if (!state_dir.empty()) std::filesystem::remove_all(state_dir);
  return 0;
}

}  // namespace
}  // namespace shadow

int main(int argc, char** argv) { return shadow::Main(argc, argv); }
