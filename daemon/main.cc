// SPDX-License-Identifier: Apache-2.0
// shadowd: puts the parts together, then waits for a signal. Exit codes: daemon/base/error_table.h.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "daemon/base/error_table.h"
#include "daemon/base/interrupt.h"
#include "daemon/boot/device_events.h"
#include "daemon/boot/leg_hider.h"
#include "daemon/boot/superblock.h"
#include "daemon/config/config.h"
#include "daemon/dm/dm_helper.h"
#include "daemon/dm/isolated_dm.h"
#include "daemon/dm/isolated_io.h"
#include "daemon/dm/libdm.h"
#include "daemon/dm/linux_block_devices.h"
#include "daemon/dm/linux_device_guard.h"
#include "daemon/engine/engine_impl.h"
#include "daemon/fs/linux_filesystems.h"
#include "daemon/host.h"
#include "daemon/http/web_services.h"
#include "daemon/identity/linux_identities.h"
#include "daemon/place/pam_client.h"
#include "daemon/rpc/grpc_log.h"
#include "daemon/rpc/server.h"
#include "daemon/simulate.h"
#include "kernel/core/shadow_version.h"

namespace shadow {
namespace {

constexpr const char* kDefaultConfig = "/etc/dm-shadow/shadowd.toml";

struct Options {
  std::string config_file = kDefaultConfig;
  bool config_given = false;
  std::string listen, readonly, state_dir;
  std::string log_level = "info";
  bool no_udev = false;
  bool check_config = false;
  bool simulate = false;
  bool no_story = false;
};

int Complain(const Error& error) {
  spdlog::error("{}", error.ToString());
  sd_notifyf(0, "STATUS=%s", error.message.c_str());
  return RowOf(error.code).exit_code;
}

// What is wrong with the configuration costs what it is about, not the volumes: it goes to
// `problems`.
Result<Config> Settings(const Options& options, std::vector<Error>* problems) {
  Config config;
  auto loaded = LoadConfig(options.config_file, problems);
  // No file at the default place is fine: classes can be added later.
  if (!loaded.ok() && (options.config_given || loaded.error().code != Code::kNotFound)) {
    return loaded.error();
  }
  if (loaded.ok()) config = *loaded;
  if (!options.listen.empty()) {
    config.socket = options.listen;
    config.readonly_socket = options.readonly;
  } else if (!options.readonly.empty()) {
    config.readonly_socket = options.readonly;
  }
  if (!options.state_dir.empty()) config.state_dir = options.state_dir;
  if (config.state_dir.empty()) return problems->front();
  if (config.listen) {
    if (const Status good = CheckTlsListen(*config.listen); !good.ok()) {
      problems->push_back(good.error());
      config.listen.reset();
    }
  }
  return config;
}

// Blocks the signals we wait for; threads started later inherit that.
sigset_t BlockSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set, s);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return set;
}

// Pets systemd's watchdog until a signal ends the daemon. Only this loop is watched: what waits for
// a device that does not answer waits rightly, and a restart would not make it answer.
void WaitForSignal(const sigset_t& set, EngineImpl& engine) {
  std::uint64_t watchdog_us = 0;
  const bool pet = sd_watchdog_enabled(0, &watchdog_us) > 0;
  const std::uint64_t every_us = pet ? watchdog_us / 3 : 10'000'000;
  while (true) {
    timespec wait{static_cast<time_t>(every_us / 1'000'000),
                  static_cast<long>(every_us % 1'000'000) * 1000};
    const int signal = sigtimedwait(&set, nullptr, &wait);
    if (signal == SIGHUP) spdlog::info("the configuration is read at start only");
    if (signal == SIGINT || signal == SIGTERM) return;
    if (pet) sd_notify(0, "WATCHDOG=1");
    sd_notifyf(0, "STATUS=%s", engine.StatusText().c_str());
  }
}

// The model's worker: as configured, else beside this program. "": there is none.
std::string WorkerProgram(const Config& config) {
  if (config.worker) return *config.worker;
  std::error_code none;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", none);
  const std::filesystem::path beside = self.parent_path() / "pam_worker";
  return !none && std::filesystem::exists(beside, none) ? beside.string() : "";
}

// --check-config: says what is wrong and touches nothing.
int CheckConfig(const Options& options) {
  std::vector<Error> problems;
  const auto config = Settings(options, &problems);
  if (!config.ok()) return Complain(config.error());
  // A daemon that runs finds these out when it begins to serve.
  if (config->http) {
    for (Error& error : CheckHttpListen(*config->http)) problems.push_back(std::move(error));
  }
  for (const Error& error : problems) spdlog::error("{}", error.ToString());
  if (!problems.empty()) return RowOf(problems.front().code).exit_code;
  std::printf("%s is good.\n", options.config_file.c_str());
  return kExitOk;
}

// Tells systemd that the start goes on; one volume may take as long as a disk and LVM take
// together.
void TellProgress(const std::string& volume) {
  sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%d\nSTATUS=Activating %s.", 300'000'000, volume.c_str());
}

// TCP that cannot be served costs TCP.
Result<std::unique_ptr<RpcServer>> Serve(EngineImpl& engine, const Config& config) {
  RpcOptions options{config.socket, config.readonly_socket, config.listen};
  if (const auto group = FindGroup(config.socket_group); group.ok()) {
    options.admin_group = *group;
  } else {
    engine.TellDegraded(group.error());
  }
  auto server = StartRpcServer(engine, options);
  if (server.ok() || !config.listen) return server;
  const Error why = server.error();
  options.tls.reset();
  server = StartRpcServer(engine, options);
  if (!server.ok()) return server;
  engine.TellDegraded(why);
  return server;
}

// The page and the metrics; null if they are not asked for. What cannot be served costs itself.
std::unique_ptr<WebServices> ServeWeb(EngineImpl& engine, const Clock& clock,
                                      const Config& config) {
  if (!config.http) return nullptr;
  std::vector<Error> problems;
  auto web = StartWebServices(engine, clock, *config.http, &problems);
  for (const Error& problem : problems) engine.TellDegraded(problem);
  if (web->PagePort() != 0) spdlog::info("the page is on port {}", web->PagePort());
  if (web->MetricsPort() != 0) spdlog::info("metrics are on port {}", web->MetricsPort());
  return web;
}

int Run(const Options& options) {
  std::vector<Error> problems;
  const auto config = Settings(options, &problems);
  if (!config.ok()) return Complain(config.error());
  const bool udev = !options.no_udev && UdevIsRunning();
  // Forked before there are threads, locks and sockets that it would have, too.
  const auto nursery = DmNursery::Start([udev] {
    (void)StayInMemory();
    static const RealClock clock;
    HelperTools tools;
    tools.dm = MakeLibDeviceMapper({udev});
    tools.guard = MakeLinuxDeviceGuard(*tools.dm);
    tools.blocks = MakeLinuxBlockDevices(clock);
    return tools;
  });
  if (!nursery.ok()) return Complain(nursery.error());
  const sigset_t signals = BlockSignals();
  if (const Status locked = LockStateDirectory(config->state_dir); !locked.ok()) {
    return Complain(locked.error());
  }
  if (const Status stays = StayInMemory(); !stays.ok())
    spdlog::warn("{}", stays.error().ToString());

  const RealClock clock;
  RandomIds ids;
  RealProcessRunner runner;
  const auto looks = MakeLibDeviceMapper({udev});
  Isolation isolation(**nursery);
  const auto isolated = MakeIsolatedDeviceMapper(*looks, isolation);
  const LvmCommandOptions lvm_options = {udev, [&] { return HiddenFromLvm(*looks); }};
  LvmCommands lvm(runner, lvm_options);
  LegHider hider(LegTables(), runner, {udev, [&] { return lvm.Settings(); }});
  const auto dm = HideLegs(*isolated, hider);
  const auto block_looks = MakeLinuxBlockDevices(clock);
  const auto blocks = MakeIsolatedBlockDevices(*block_looks, isolation);
  const auto guard_looks = MakeLinuxDeviceGuard(*dm);
  const auto guard = MakeIsolatedDeviceGuard(*guard_looks, isolation);
  const auto identities = MakeLinuxIdentities();
  const auto legs =
      MakeLvmLegs(runner, *blocks, *identities,
                  {config->classes, lvm_options, [&] { return SuspendedLvs(*looks); }});
  const auto fs = MakeLinuxFilesystems(runner);
  auto store = OpenStore({config->state_dir + "/state.db"});
  if (!store.ok()) return Complain(store.error());

  const char* module = std::getenv("SHADOW_MODULE");
  // Without the module shadowd still answers, and says what is missing.
  if (const Status loaded = EnsureModule(*dm, runner, module != nullptr ? module : "");
      !loaded.ok()) {
    spdlog::error("{}", loaded.error().ToString());
  }
  Deps deps;
  deps.store = store->get();
  deps.dm = dm.get();
  deps.hider = &hider;
  deps.blocks = blocks.get();
  deps.guard = guard.get();
  deps.identities = identities.get();
  deps.only_copies = OnlyCopies;
  deps.superblock = ReadSuperblock;
  deps.references = [](const std::string& device) { return FindReferences(NamesOf(device)); };
  deps.legs = legs.get();
  deps.fs = fs.get();
  deps.clock = &clock;
  deps.ids = &ids;
  deps.state_dir = config->state_dir;
  deps.default_grace_ms = config->grace_ms;
  // To compare orders in a measurement; no setting (docs/placement.md).
  if (const char* order = std::getenv("SHADOW_COPY_ORDER"); order != nullptr) {
    if (!MakeCopyOrder(order, nullptr)) {
      return Complain(MakeError(Code::kInvalidArgument,
                                "There is no order '" + std::string(order) + "' of copies.",
                                "SHADOW_COPY_ORDER is heat, ascending, hottest or random"));
    }
    deps.copy_order = order;
    spdlog::warn("blocks are copied in the order '{}', for a measurement", order);
  }
  EngineOptions engine_options;
  DeviceEvents devices;
  engine_options.leg_wait_ms = config->leg_wait_ms;
  engine_options.wait_devices = [&](std::int64_t ms) { devices.Wait(ms); };
  engine_options.keeper.source.source = config->access_source;
  engine_options.keeper.source.state_dir = config->state_dir;
  std::optional<PamClient> pam;
  const std::string worker = WorkerProgram(*config);
  if (worker.empty()) {
    spdlog::info("the model is not installed: EWMA decides what is hot");
  } else {
    pam.emplace(PamClientOptions{.program = worker, .state_dir = config->state_dir + "/pam"},
                clock);
    engine_options.keeper.pam = &*pam;
  }
  engine_options.on_activate = TellProgress;
  EngineImpl engine(deps, engine_options);
  if (const Status started = engine.Start(); !started.ok()) return Complain(started.error());

  for (const Error& problem : problems) engine.TellDegraded(problem);
  TakeGrpcLog();
  auto server = Serve(engine, *config);
  if (!server.ok()) {
    engine.Stop();
    return Complain(server.error());
  }
  spdlog::info("serving on {}", config->socket);
  const auto web = ServeWeb(engine, clock, *config);
  if ((*server)->Port() != 0) {
    spdlog::info("serving on {}, port {}, with TLS", config->listen->address, (*server)->Port());
  }
  sd_notifyf(0, "READY=1\nSTATUS=%s", engine.StatusText().c_str());
  WaitForSignal(signals, engine);
  sd_notify(0, "STOPPING=1\nSTATUS=Stopping; volumes go on working.");
  spdlog::info("stopping; volumes go on working, copies wait");
  InterruptAll();
  if (web) web->Shutdown();
  (*server)->Shutdown();
  engine.Stop();
  return kExitOk;
}

// --simulate: without --config everything lies in a folder that goes when it ends.
int Simulate(const Options& options) {
  const sigset_t signals = BlockSignals();
  const auto until_signal = [&] {
    int signal = 0;
    (void)::sigwait(&signals, &signal);
  };
  SimulateOptions simulate;
  simulate.story = !options.no_story;
  if (options.config_given) {
    std::vector<Error> problems;
    auto config = Settings(options, &problems);
    if (!config.ok()) return Complain(config.error());
    if (!problems.empty()) return Complain(problems.front());
    simulate.config = std::move(*config);
    return RunSimulated(simulate, until_signal);
  }
  std::string folder =
      (std::filesystem::temp_directory_path() / "shadowd-simulate-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) {
    return Complain(MakeError(Code::kIoError, "No folder could be made for " + folder + "."));
  }
  int code = kExitInternal;
  if (auto config = SimulatedConfig(folder); config.ok()) {
    simulate.config = std::move(*config);
    code = RunSimulated(simulate, until_signal);
  } else {
    code = Complain(config.error());
  }
  std::error_code none;
  std::filesystem::remove_all(folder, none);
  return code;
}

}  // namespace
}  // namespace shadow

int main(int argc, char** argv) {
  shadow::Options options;
  CLI::App app{"shadowd: moves and resizes dm-shadow volumes while they are in use"};
  const auto* config =
      app.add_option("--config", options.config_file, "Configuration file")->capture_default_str();
  app.add_option("--listen", options.listen, "Path of the admin socket (0660)");
  app.add_option("--listen-readonly", options.readonly, "Path of the read-only socket (0666)");
  app.add_option("--state-dir", options.state_dir, "Where the state is kept");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warning, error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}))
      ->capture_default_str();
  app.footer("The page and the metrics are set in [http] of the configuration: shadowd.toml(5).");
  app.add_flag("--check-config", options.check_config,
               "Say what is wrong with the configuration, and touch nothing");
  auto* simulate =
      app.add_flag("--simulate", options.simulate,
                   "Show it all on simulated disks: no root, no module, nothing touched");
  app.add_flag("--no-story", options.no_story, "With --simulate: nothing happens by itself")
      ->needs(simulate);
  app.set_version_flag("--version", std::string("shadowd ") + SHADOW_VERSION);
  app.add_flag("--no-udev", options.no_udev, "Make device nodes ourselves (found out by itself)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? shadow::kExitOk : shadow::kExitUsage;
  }
  options.config_given = config->count() > 0;
  spdlog::set_default_logger(spdlog::stderr_logger_mt("shadowd"));
  spdlog::set_level(spdlog::level::from_str(options.log_level));
  spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  if (options.simulate) return shadow::Simulate(options);
  return options.check_config ? shadow::CheckConfig(options) : shadow::Run(options);
}
