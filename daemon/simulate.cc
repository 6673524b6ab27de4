// SPDX-License-Identifier: Apache-2.0
// The world goes on in real time, in one thread, which also plays the story: a database that is in
// use moves to faster disks, a tier warms up, and a device fails.
#include "daemon/simulate.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "daemon/base/error_table.h"
#include "daemon/base/ids.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/http/web_services.h"
#include "daemon/rpc/server.h"
#include "daemon/sim/sim_world.h"
#include "daemon/store/store.h"

namespace shadow {
namespace {

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;
constexpr int kTickMs = 50;

// Accesses and latency as a busy database's: most reads go to a few blocks, and everything takes
// longer while a copy is at work on the same disks.
class Application {
 public:
  explicit Application(sim::SimWorld& world) : world_(world) {}

  void Tick(std::int64_t ms) {
    const std::lock_guard lock(world_.mutex);
    now_ms_ += ms;
    bool copying = false;
    for (auto& [name, device] : world_.devices) {
      if (!device.target || device.suspended) continue;
      // As a file system that has not been grown: new capacity is not used by itself.
      const auto it = used_.find(name);
      if (it == used_.end()) continue;
      const std::uint64_t used = it->second;
      copying = copying || device.target->metadata().phase == "migrating";
      std::geometric_distribution<std::uint64_t> hot(40.0 / static_cast<double>(used + 1));
      for (int i = 0; i < 6; ++i) {
        const std::uint64_t block = (hot(dice_) * 37) % used;
        if (i < 4) {
          (void)device.target->Read(block);
        } else {
          (void)device.target->Write(block, dice_());
        }
      }
    }
    const double wave = 1 + 0.15 * std::sin(static_cast<double>(now_ms_) / 9000.0);
    const double busy = copying ? 1.3 : 1;
    world_.latency.ios = static_cast<std::uint64_t>(140 * wave);
    world_.latency.p50_us = static_cast<std::uint64_t>(620 * wave * busy);
    world_.latency.p99_us = static_cast<std::uint64_t>(2300 * wave * busy);
  }

  // What was written before anybody looked.
  void Fill(const std::string& volume) {
    const std::lock_guard lock(world_.mutex);
    const auto it = world_.devices.find(volume);
    if (it == world_.devices.end()) return;
    const std::uint64_t blocks = it->second.target->metadata().states.size();
    used_[volume] = std::max<std::uint64_t>(1, blocks * 7 / 10);
    for (std::uint64_t b = 0; b < used_[volume]; ++b) {
      // Free space lies in holes, some of it in the middle.
      if (b % 512 < 430) it->second.target->Write(b, b);
    }
    (void)it->second.target->Message("access");
  }

 private:
  sim::SimWorld& world_;
  std::map<std::string, std::uint64_t> used_;  // blocks, by volume
  std::mt19937_64 dice_{42};
  std::int64_t now_ms_ = 0;
};

template <typename T>
bool Told(const Result<T>& result) {
  if (!result.ok()) spdlog::error("the story: {}", result.error().ToString());
  return result.ok();
}

class Story {
 public:
  Story(Engine& engine, sim::SimWorld& world, Application& application)
      : engine_(engine), world_(world), application_(application) {}

  void Begin() {
    for (const auto& [name, gib] : {std::pair{"db0", 12}, std::pair{"web", 4}, {"archive", 2}}) {
      CreateRequest r;
      r.name = name;
      r.size_bytes = static_cast<std::uint64_t>(gib) * kGiB;
      r.to = "hdd";
      if (Told(engine_.CreateVolume(r))) application_.Fill(name);
    }
    AddTierRequest tier;
    tier.volume = "web";
    tier.to = "nvme";
    tier.size_bytes = kGiB;
    (void)Told(engine_.AddTier(tier));
  }

  void Tick(std::int64_t at_ms) {
    if (!moved_ && at_ms > 6'000) {
      moved_ = true;
      ModifyRequest r;
      r.volume = "db0";
      r.to = "nvme";
      r.size_spec = "+50%";
      (void)Told(engine_.Modify(r));
    }
    if (!failed_ && at_ms > 90'000) {
      failed_ = true;
      const std::lock_guard lock(world_.mutex);
      for (auto& [path, disk] : world_.disks) {
        if (path.find("web.tier1") != std::string::npos) disk.fail_writes = disk.fail_reads = true;
      }
    }
  }

 private:
  Engine& engine_;
  sim::SimWorld& world_;
  Application& application_;
  bool moved_ = false, failed_ = false;
};

}  // namespace

Result<Config> SimulatedConfig(const std::string& folder) {
  Config config;
  config.state_dir = folder;
  config.socket = folder + "/shadowd.sock";
  config.readonly_socket.clear();
  config.http.emplace();
  config.http->token_file = folder + "/tokens";
  std::random_device dice;
  std::string token;
  for (int i = 0; i < 4; ++i) token += fmt::format("{:08x}", dice());
  {
    std::ofstream file(config.http->token_file);
    if (::chmod(config.http->token_file.c_str(), 0600) != 0 || !(file << "you " << token << "\n")) {
      return MakeError(Code::kIoError, "No token could be written to " + folder + ".");
    }
  }
  spdlog::info("sign in on the page with the token {}", token);
  return config;
}

int RunSimulated(const SimulateOptions& options, const std::function<void()>& wait) {
  const Config& config = options.config;
  const auto fail = [](const Error& error) {
    spdlog::error("{}", error.ToString());
    return RowOf(error.code).exit_code;
  };
  sim::SimWorld world;
  world.AddGroup("hdd", 64 * kGiB);
  world.AddGroup("nvme", 32 * kGiB);
  world.device_kib_per_s = std::uint64_t{300} << 10;
  std::atomic<bool> over{false};
  const auto nap = [&](std::int64_t ms) {
    for (; ms > 0 && !over; ms -= kTickMs)
      std::this_thread::sleep_for(std::chrono::milliseconds(kTickMs));
  };
  world.wait = [&](std::int64_t ms) { nap(std::min<std::int64_t>(ms, 200)); };
  const RealClock clock;
  RandomIds ids;
  auto store = OpenStore({":memory:"});
  if (!store.ok()) return fail(store.error());
  Deps deps;
  deps.store = store->get();
  deps.dm = &world.dm();
  deps.blocks = &world.blocks();
  deps.guard = &world.guard();
  deps.identities = &world.identities();
  deps.legs = &world.legs();
  deps.fs = &world.fs();
  deps.clock = &clock;
  deps.ids = &ids;
  deps.state_dir = config.state_dir;
  deps.default_grace_ms = config.grace_ms;
  EngineOptions engine_options;
  engine_options.keeper.source.source = "access";
  engine_options.keeper.source.state_dir = config.state_dir;
  engine_options.wait_devices = nap;
  EngineImpl engine(deps, engine_options);
  if (const Status started = engine.Start(); !started.ok()) return fail(started.error());
  RpcOptions rpc{config.socket, config.readonly_socket, std::nullopt};
  auto server = StartRpcServer(engine, rpc);
  if (!server.ok()) {
    engine.Stop();
    return fail(server.error());
  }

  Application application(world);
  Story story(engine, world, application);
  story.Begin();
  std::thread life([&] {
    using SteadyClock = std::chrono::steady_clock;
    const auto begin = SteadyClock::now();
    std::int64_t at_ms = 0;
    while (!over) {
      std::this_thread::sleep_for(std::chrono::milliseconds(kTickMs));
      const auto since = SteadyClock::now() - begin;
      const auto now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
      application.Tick(now_ms - at_ms);
      world.Advance(now_ms - at_ms);
      at_ms = now_ms;
      if (options.story) story.Tick(at_ms);
    }
  });

  std::vector<Error> problems;
  std::unique_ptr<WebServices> web;
  if (config.http) web = StartWebServices(engine, clock, *config.http, &problems);
  for (const Error& problem : problems) spdlog::error("{}", problem.ToString());
  spdlog::info("nothing of this machine is touched: all disks are simulated");
  spdlog::info("serving on {}", config.socket);
  if (web && web->PagePort() != 0) {
    spdlog::info("the page is on http://localhost:{}/", web->PagePort());
  }
  if (web && web->MetricsPort() != 0) spdlog::info("metrics are on port {}", web->MetricsPort());
  wait();
  if (web) web->Shutdown();
  (*server)->Shutdown();
  over = true;
  life.join();
  engine.Stop();
  return kExitOk;
}

}  // namespace shadow
