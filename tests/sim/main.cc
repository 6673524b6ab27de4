// SPDX-License-Identifier: GPL-2.0-only
// shadow_simulator: runs seeds until the time is over or something is wrong, and tells the
// figures.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "tests/sim/shrink.h"
#include "tests/sim/world.h"

namespace {

constexpr u32 kSteps = 6000;  // of a run
constexpr int kFound = 1, kUsage = 2;

double ProcessorSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// Tells a failed run in the fewest words: its seed, what is wrong, the steps that lead there.
void Tell(sim::World& world, u64 seed, bool shrink) {
  const std::string error = world.error();
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), error.c_str());
  if (!shrink) return;
  std::vector<sim::Step> steps;
  std::vector<std::string> told;
  world.Run(seed, kSteps, &steps);
  const size_t all = steps.size();
  steps = sim::Shrinker<sim::World, sim::Step>(world, seed, error).Run(std::move(steps));
  world.Replay(seed, steps, &told);
  std::printf("%zu of its %zu steps are enough:\n", steps.size(), all);
  for (const auto& line : told) std::printf("  %s\n", line.c_str());
  std::printf("seed %llu: %s\n", static_cast<unsigned long long>(seed), world.error().c_str());
}

/// A run of the list.
struct Old {
  u64 seed;
  bool without_tiers;
};

/// Seeds of a list: a number at the beginning of a line, --without-tiers if so, then a comment.
bool ReadSeeds(const std::string& file, std::vector<Old>& seeds) {
  std::ifstream in(file);
  if (!in) return false;
  for (std::string line; std::getline(in, line);)
    if (!line.empty() && line[0] >= '0' && line[0] <= '9')
      seeds.push_back({std::stoull(line), line.find(" --without-tiers ") != std::string::npos});
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Runs the module under a simulated machine: every interleaving, power cut and error\n"
      "is chosen by a seed, every read is checked. Exit status: 0 nothing found, 1 a run failed,\n"
      "2 wrong usage."};
  double seconds = 0;
  u64 seed = 0;
  std::string regressions;
  std::vector<std::string> ignored;
  bool no_shrink = false, processor_time = false, without_tiers = false, blips = false;
  auto* seconds_option =
      app.add_option("--seconds", seconds, "Run fresh seeds for so long (default 10)");
  auto* seed_option = app.add_option("--seed", seed, "Run this seed; with --seconds: from it on");
  app.add_option("--regressions", regressions, "Run the seeds of this list first");
  app.add_flag("--processor-time", processor_time, "--seconds are seconds of processor time");
  app.add_option("--ignore", ignored, "Go on after failures that contain this text (repeatable)");
  app.add_flag("--no-shrink", no_shrink, "Do not cut a failing run down");
  app.add_flag("--without-tiers", without_tiers, "No run has tiers (else two thirds have)");
  app.add_flag("--blips", blips, "In each run legs lose their caches (else in a sixth)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) ? kUsage : 0;
  }

  std::vector<Old> old;
  if (!regressions.empty() && !ReadSeeds(regressions, old)) {
    std::cerr << "Cannot read " << regressions << ": give the path of a list of seeds\n";
    return kUsage;
  }
  const bool only_old = !regressions.empty() && !*seconds_option && !*seed_option;
  const bool one = *seed_option && !*seconds_option;
  if (!*seconds_option) seconds = 10;
  if (!*seed_option) seed = (u64{std::random_device{}()} << 16) + 1;

  sim::World world;
  world.AllBlips(blips);
  const auto start = std::chrono::steady_clock::now();
  const auto passed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  bool good = true;
  const auto run = [&](u64 s, bool bare) {
    world.WithoutTiers(bare);
    good = world.Run(s, kSteps);
    for (const auto& text : ignored)
      if (!good && world.error().find(text) != std::string::npos) good = true;
    if (good) return true;
    const u64 operations = world.figures().operations;
    Tell(world, s, !no_shrink);
    std::printf("found by seed %llu after %llu operations; again: tests/sim/run --seed %llu%s\n",
                static_cast<unsigned long long>(s), static_cast<unsigned long long>(operations),
                static_cast<unsigned long long>(s), bare ? " --without-tiers" : "");
    return false;
  };
  for (const Old& o : old)
    if (!run(o.seed, o.without_tiers)) break;
  if (good && one) run(seed, without_tiers);
  const auto spent = [&] { return processor_time ? ProcessorSeconds() : passed(); };
  const double end = spent() + seconds;
  if (!one && !only_old)
    while (good && spent() < end) run(seed++, without_tiers);

  const sim::Figures& f = world.figures();
  const double minutes = ProcessorSeconds() / 60;
  std::printf(
      "sim: %s: %llu operations, %llu crashes, %llu caches lost, %llu steps, %llu seeds in %.1f "
      "s; a core does "
      "%.0f operations and %.0f crashes a minute\n",
      good ? "nothing found" : "FAILED", static_cast<unsigned long long>(f.operations),
      static_cast<unsigned long long>(f.crashes), static_cast<unsigned long long>(f.blips),
      static_cast<unsigned long long>(f.steps), static_cast<unsigned long long>(f.runs), passed(),
      static_cast<double>(f.operations) / minutes, static_cast<double>(f.crashes) / minutes);
  return good ? 0 : kFound;
}
