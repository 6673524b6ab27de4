// SPDX-License-Identifier: Apache-2.0
// shadow_daemon_simulator: runs seeds until the time is over or something is wrong, and tells the
// figures.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <random>

#include "tests/sim/daemon/world.h"
#include "tests/sim/shrink.h"

namespace {

using shadow::judge::Figures;
using shadow::judge::Step;
using shadow::judge::World;

constexpr std::uint32_t kSteps = 400;  // of a run
constexpr int kFound = 1, kUsage = 2;

unsigned long long Wide(std::uint64_t n) { return n; }

void Tell(World& world, std::uint64_t seed, bool shrink) {
  const std::string error = world.error();
  std::printf("seed %llu: %s\n", Wide(seed), error.c_str());
  if (!shrink) return;
  std::vector<Step> steps;
  std::vector<std::string> told;
  world.Run(seed, kSteps, &steps);
  const std::size_t all = steps.size();
  steps = sim::Shrinker<World, Step>(world, seed, error).Run(std::move(steps));
  world.Replay(seed, steps, &told);
  std::printf("%zu of its %zu steps are enough:\n", steps.size(), all);
  for (const auto& line : told) std::printf("  %s\n", line.c_str());
  std::printf("seed %llu: %s\n", Wide(seed), world.error().c_str());
}

/// Seeds of a list: a number at the beginning of a line, then a comment.
bool ReadSeeds(const std::string& file, std::vector<std::uint64_t>& seeds) {
  std::ifstream in(file);
  if (!in) return false;
  for (std::string line; std::getline(in, line);)
    if (!line.empty() && line[0] >= '0' && line[0] <= '9') seeds.push_back(std::stoull(line));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Runs the engine of shadowd over a simulated machine with clients, an administrator and\n"
      "accidents: every step, crash and interleaving is chosen by a seed, and three judges look\n"
      "after each step. Exit status: 0 nothing found, 1 a run failed, 2 wrong usage."};
  double seconds = 0;
  std::uint64_t seed = 0, count = 0;
  std::string regressions;
  bool no_shrink = false;
  auto* seconds_option =
      app.add_option("--seconds", seconds, "Run fresh seeds for so long (default 10)");
  auto* seed_option =
      app.add_option("--seed", seed, "Run this seed; with --seconds or --count: from it on");
  auto* count_option = app.add_option("--count", count, "Run so many seeds");
  app.add_option("--regressions", regressions, "Run the seeds of this list first");
  app.add_flag("--no-shrink", no_shrink, "Do not cut a failing run down");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) ? kUsage : 0;
  }
  std::vector<std::uint64_t> old;
  if (!regressions.empty() && !ReadSeeds(regressions, old)) {
    std::cerr << "Cannot read " << regressions << ": give the path of a list of seeds\n";
    return kUsage;
  }
  const bool timed = seconds_option->count() > 0, fixed = seed_option->count() > 0;
  const bool counted = count_option->count() > 0;
  if (!counted) {
    const bool one = fixed && !timed, only_old = !fixed && !timed && !regressions.empty();
    count = one ? 1 : only_old ? 0 : ~std::uint64_t{0};
  }
  if (!timed) seconds = counted || fixed ? 1e9 : 10;
  if (!fixed) seed = (std::uint64_t{std::random_device{}()} << 16) + 1;

  World world;
  const auto start = std::chrono::steady_clock::now();
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  bool good = true;
  const auto run = [&](std::uint64_t s) {
    good = world.Run(s, kSteps);
    if (good) return;
    const std::uint64_t steps = world.figures().steps;
    Tell(world, s, !no_shrink);
    std::printf("found by seed %llu after %llu steps; again: shadow_daemon_simulator --seed %llu\n",
                Wide(s), Wide(steps), Wide(s));
  };
  for (const std::uint64_t s : old) {
    if (good) run(s);
  }
  for (; good && count > 0 && passed() < seconds; --count) run(seed++);

  const Figures& f = world.figures();
  std::printf(
      "daemon sim: %s: %llu steps, %llu seeds in %.1f s (%.0f steps/s); %llu requests (%llu "
      "granted), %llu ticks, %llu crashes, %llu reboots, %llu interruptions\n",
      good ? "nothing found" : "FAILED", Wide(f.steps), Wide(f.runs), passed(),
      static_cast<double>(f.steps) / passed(), Wide(f.requests), Wide(f.granted), Wide(f.ticks),
      Wide(f.crashes), Wide(f.reboots), Wide(f.interruptions));
  return good ? 0 : kFound;
}
