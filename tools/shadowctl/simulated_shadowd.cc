// SPDX-License-Identifier: Apache-2.0
// A daemon with the real engine on a simulated machine, for the records that hold what users read:
// simulated_shadowd FOLDER. Serves FOLDER/admin.sock and prints "ready". Time stands still; "run"
// on its standard input lets it go on until no modification is at work, and is answered with
// "ready". It ends when its standard input does.
//
// The machine has the classes hdd and nvme of 512 MiB each, the class pool of /dev/d1 and /dev/d2,
// and the disks /dev/a and /dev/b of 16 MiB, /dev/small of 1 MiB, /dev/backup with an ext4 named
// "payroll", and /dev/busy, which qemu has open.
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <array>
#include <cinttypes>
#include <csignal>
#include <cstdio>
#include <string>

#include "daemon/base/error_table.h"
#include "daemon/base/ids.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/rpc/server.h"
#include "daemon/sim/sim_world.h"
#include "daemon/store/store.h"

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
constexpr int kTickMs = 100;
constexpr int kMostTicks = 100'000;

// As RandomIds gives them, so that the records' UUIDs are recognised; and always the same.
class FixedIds final : public shadow::IdSource {
 public:
  std::string NewUuid() override {
    std::array<char, 37> text{};
    (void)std::snprintf(text.data(), text.size(), "%08" PRIx64 "-0000-4000-8000-000000000000",
                        next_ += 0x10000001);
    return text.data();
  }

 private:
  std::uint64_t next_ = 0;
};

void Furnish(shadow::sim::SimWorld* world) {
  world->AddGroup("hdd", 512 * kMiB);
  world->AddGroup("nvme", 512 * kMiB);
  for (const char* path : {"/dev/a", "/dev/b", "/dev/d1", "/dev/d2", "/dev/backup", "/dev/busy"}) {
    world->AddDisk(path, 16 * kMiB);
  }
  world->AddDisk("/dev/small", kMiB);
  world->AddDeviceClass("pool", {"/dev/d1", "/dev/d2"});
  world->disks.at("/dev/backup").signatures = {{"ext4", "payroll", "u"}};
  world->disks.at("/dev/busy").opened_by = "qemu (process 4711)";
}

}  // namespace

int main(int argc, char** argv) {
  using namespace shadow;
  if (argc != 2) return kExitUsage;
  spdlog::set_level(spdlog::level::off);  // it logs to where "ready" goes
  std::signal(SIGPIPE, SIG_IGN);          // the server logs, and nobody reads on after "ready"
  sim::SimWorld world;
  Furnish(&world);
  ManualClock clock;
  FixedIds ids;
  auto store = OpenStore({":memory:"});
  if (!store.ok()) return kExitInternal;
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
  deps.state_dir = argv[1];
  const auto pass = [&](std::int64_t ms) {
    clock.AdvanceMs(ms);
    world.Advance(ms);
  };
  EngineOptions engine_options;
  engine_options.threads = false;
  engine_options.sleep = pass;
  EngineImpl engine(deps, engine_options);
  if (!engine.Start().ok()) return kExitInternal;
  RpcOptions options;
  options.admin_socket = std::string(argv[1]) + "/admin.sock";
  options.clock = &clock;
  auto server = StartRpcServer(engine, options);
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.error().ToString().c_str());
    return RowOf(server.error().code).exit_code;
  }
  const auto ready = [] {
    std::puts("ready");
    std::fflush(stdout);
  };
  ready();
  std::string word;
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
    if (byte != '\n') {
      word += byte;
      continue;
    }
    for (int tick = 0; word == "run" && tick < kMostTicks && engine.Step() > 0; ++tick)
      pass(kTickMs);
    word.clear();
    ready();
  }
  return 0;
}
