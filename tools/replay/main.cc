// SPDX-License-Identifier: Apache-2.0
// shadow-replay: plays a block I/O trace against a device, with the trace's own timing.
#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <iostream>

#include "daemon/base/error_table.h"
#include "daemon/dm/libdm.h"
#include "kernel/core/shadow_version.h"
#include "pam/trace/reader.h"
#include "tools/replay/report.h"

namespace {

using namespace shadow;          // NOLINT: a main
using namespace shadow::replay;  // NOLINT

std::atomic<bool> stop = false;

int Say(const Error& e) {
  std::cerr << "shadow-replay: " << e.ToString() << "\n";
  return RowOf(e.code).exit_code;
}

struct Options {
  std::vector<std::string> paths;  // traces, and last the device
  std::string format = "auto", trace_device;
  PlanOptions plan;
  std::uint32_t depth = 128;
  bool json = false;
};

int Run(Options o) {
  const std::string device = o.paths.back();
  o.paths.pop_back();
  pam::ReadOptions reading;
  reading.device = o.trace_device;
  auto format = pam::ParseFormat(o.format);
  if (!format.ok()) return Say(format.error());
  reading.format = *format;
  auto trace = pam::ReadTraces(o.paths, reading);
  if (!trace.ok()) return Say(trace.error());
  auto target = Target::Open(device, !o.plan.skip_writes);
  if (!target.ok()) return Say(target.error());
  o.plan.device_bytes = (*target)->bytes();
  o.plan.align = (*target)->logical_block();
  auto plan = MakePlan(*trace, o.plan);
  if (!plan.ok()) return Say(plan.error());
  trace->requests = {};

  const auto dm = MakeLibDeviceMapper({.udev = false});
  auto before = TakeSnapshot(dm.get(), device);
  if (!before.ok()) return Say(before.error());
  auto outcome = Play(*plan, **target, o.depth, stop);
  if (!outcome.ok()) return Say(outcome.error());
  auto after = TakeSnapshot(dm.get(), device);
  if (!after.ok()) return Say(after.error());

  const Difference counters = Compare(*before, *after, *plan);
  const ReportInput input{.trace = o.paths.front(),
                          .device = device,
                          .speed = o.plan.speed,
                          .depth = o.depth,
                          .plan = &*plan,
                          .counters = &counters};
  std::cout << (o.json ? JsonReport(input, &*outcome) : TableReport(input, &*outcome));
  std::cout.flush();
  if (!std::cout) return Say(MakeError(Code::kIoError, "The report cannot be written."));
  if (outcome->interrupted) return 130;
  return outcome->reads.errors + outcome->writes.errors > 0 ? kExitInternal : 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Plays a block I/O trace against a device with the trace's own timing, and reports latencies "
      "and what the tiers of the device did. Overwrites the device."};
  app.set_version_flag("--version", "shadow-replay " SHADOW_VERSION);
  Options o;
  app.add_option("PATH", o.paths, "Trace (several: the per-CPU files of one), and last the device")
      ->required()
      ->expected(2, -1);
  app.add_option("--speed", o.plan.speed, "So many times as fast as it was recorded [1]")
      ->check(CLI::PositiveNumber);
  app.add_flag("--offset-fold", o.plan.fold, "Offsets beyond the device's end: modulo its size");
  app.add_option("--start", o.plan.start_s, "Begin so many seconds into the trace [0]");
  app.add_option("--duration", o.plan.duration_s, "Play so many seconds of the trace [all]");
  app.add_option("--depth", o.depth, "At most so many I/Os in flight [128]")
      ->check(CLI::Range(1u, 4096u));
  app.add_flag("--skip-writes", o.plan.skip_writes,
               "Play the reads alone; the device may be in use");
  app.add_option("--format", o.format,
                 "auto, csv, msr, spc, blkreplay, blkparse, blktrace or vscsi [auto]");
  app.add_option("--trace-device", o.trace_device, "Only this device of the trace");
  app.add_flag("--json", o.json, "Report as JSON");
  app.footer(
      "Exit status: 0 played, 1 I/O errors, 2 usage, 3 no such file, 4 in use, 8 damaged trace, "
      "130 interrupted. See shadow-replay(1).");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : 2;
  }
  struct sigaction act {};
  act.sa_handler = [](int) { stop = true; };
  sigaction(SIGINT, &act, nullptr);
  sigaction(SIGTERM, &act, nullptr);
  return Run(std::move(o));
}
