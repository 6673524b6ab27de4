// SPDX-License-Identifier: Apache-2.0
// shadow-trace: shows, records and converts what is accessed on a volume, with the daemon's
// sources.
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <iostream>
#include <nlohmann/json.hpp>

#include "daemon/base/clock.h"
#include "daemon/base/error_table.h"
#include "daemon/dm/libdm.h"
#include "daemon/dm/status.h"
#include "daemon/trace/access_bits_source.h"
#include "daemon/trace/blktrace_source.h"
#include "daemon/trace/recorder.h"
#include "kernel/core/shadow_version.h"
#include "pam/trace/reader.h"

namespace {

using namespace shadow;  // NOLINT: a main

constexpr char kStateDir[] = "/run/shadow-trace";

std::atomic<bool> stop = false;

int Say(const Error& e) {
  std::cerr << "shadow-trace: " << e.ToString() << "\n";
  return RowOf(e.code).exit_code;
}

std::int64_t NowUs() { return RealClock().WallMs() * 1000; }

BlktraceChannelOptions Channel(const std::string& volume) {
  mkdir(kStateDir, 0700);  // if it cannot be made, opening says so
  return {.device = "/dev/mapper/" + volume, .state_dir = kStateDir};
}

// --- watch ---------------------------------------------------------------------------------------

struct WatchOptions {
  std::string volume, source = "access";
  double window_s = 60;
  std::uint64_t windows = 0;  // 0: until interrupted
  bool by_line = false;
};

void Print(const std::string& name, const AccessWindow& w) {
  nlohmann::json blocks = nlohmann::json::array();
  for (const BlockAccess& a : w.blocks) blocks.push_back({a.block, a.count, a.writes});
  const nlohmann::json j = {
      {"source", name},   {"start_us", w.start_us}, {"length_us", w.length_us},   {"ops", w.ops},
      {"bytes", w.bytes}, {"lost", w.lost},         {"blocks", std::move(blocks)}};
  std::cout << j.dump() << std::endl;
}

// Waits for a line on standard input; true if a window ends now.
Result<bool> EndOfWindow(const WatchOptions& o, std::int64_t end_us, std::int64_t poll_us) {
  pollfd in{STDIN_FILENO, POLLIN, 0};
  const std::int64_t left = o.by_line ? poll_us : std::min(poll_us, end_us - NowUs());
  const int ready =
      poll(&in, o.by_line ? 1 : 0, static_cast<int>(std::max<std::int64_t>(left, 0) / 1000));
  if (!o.by_line) return NowUs() >= end_us;
  if (ready <= 0) return false;
  char c = 0;
  do {
    if (read(STDIN_FILENO, &c, 1) <= 0) {
      stop = true;
      return false;
    }
  } while (c != '\n');
  return true;
}

int Watch(const WatchOptions& o) {
  const auto dm = MakeLibDeviceMapper({.udev = false});
  const auto target = dm->StatusOf(o.volume);
  if (!target.ok()) return Say(target.error());
  const auto status = ParseStatus(target->params);
  if (!status.ok()) return Say(status.error());
  const std::uint64_t block = status->kernel.block_bytes;
  const auto window_us = static_cast<std::int64_t>(o.window_s * 1e6);

  std::vector<std::unique_ptr<AccessSource>> sources;
  if (o.source != "access") {
    sources.push_back(MakeBlktraceSource(MakeBlktraceChannel(Channel(o.volume)), block, nullptr));
  }
  if (o.source != "blktrace") {
    sources.push_back(MakeAccessBitsSource(dm.get(), {o.volume, block, window_us}));
  }
  for (auto& source : sources) {
    if (const auto s = source->Start(NowUs()); !s.ok()) return Say(s.error());
    std::cout << nlohmann::json{{"source", source->Name()}, {"block_bytes", block}}.dump()
              << std::endl;
  }
  std::int64_t end_us = NowUs() + window_us;
  for (std::uint64_t done = 0; !stop && (o.windows == 0 || done < o.windows);) {
    std::int64_t poll_us = window_us;
    for (auto& source : sources) poll_us = std::min(poll_us, source->PollUs());
    const auto over = EndOfWindow(o, end_us, poll_us);
    if (!over.ok()) return Say(over.error());
    for (auto& source : sources) {
      if (!*over) {
        if (const auto s = source->Poll(NowUs()); !s.ok()) return Say(s.error());
        continue;
      }
      const auto window = source->CloseWindow(NowUs());
      if (!window.ok()) return Say(window.error());
      Print(source->Name(), *window);
    }
    if (!*over) continue;
    ++done;
    end_us += window_us;
  }
  for (auto& source : sources) source->Stop();
  return 0;
}

// --- record --------------------------------------------------------------------------------------

int Record(const std::string& volume, const std::string& path, double seconds,
           std::uint64_t most_mib) {
  auto recorder = Recorder::Create(path, most_mib << 20);
  if (!recorder.ok()) return Say(recorder.error());
  // The block size is of no matter here.
  const auto source =
      MakeBlktraceSource(MakeBlktraceChannel(Channel(volume)), 1u << 20, recorder->get());
  if (const auto s = source->Start(NowUs()); !s.ok()) {
    unlink(path.c_str());
    return Say(s.error());
  }
  std::cout << "recording" << std::endl;
  const std::int64_t end = NowUs() + static_cast<std::int64_t>(seconds * 1e6);
  std::uint64_t lost = 0;
  Status status = Ok();
  while (!stop && status.ok() && (seconds == 0 || NowUs() < end)) {
    poll(nullptr, 0, static_cast<int>(source->PollUs() / 1000));
    const auto window = source->CloseWindow(NowUs());  // empties the counts, too
    if (window.ok()) {
      lost += window->lost;
    } else {
      status = window.error();
    }
  }
  source->Stop();
  const Status closed = (*recorder)->Close();
  if (status.ok()) status = closed;
  std::cout << (*recorder)->requests() << " requests, " << (*recorder)->file_bytes()
            << " bytes of file, " << lost << " events lost\n";
  return status.ok() ? 0 : Say(status.error());
}

int Convert(const std::vector<std::string>& from, const std::string& to, const std::string& format,
            const std::string& device) {
  pam::ReadOptions options;
  options.device = device;
  const auto parsed = pam::ParseFormat(format);
  if (!parsed.ok()) return Say(parsed.error());
  options.format = *parsed;
  const auto trace = pam::ReadTraces(from, options);
  if (!trace.ok()) return Say(trace.error());
  auto recorder = Recorder::Create(to);
  if (!recorder.ok()) return Say(recorder.error());
  for (const pam::Request& r : trace->requests) (*recorder)->Take(r);
  if (const auto s = (*recorder)->Close(); !s.ok()) return Say(s.error());
  std::cout << trace->requests.size() << " requests of a " << trace->format << " trace, "
            << trace->skipped << " damaged records skipped\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Shows, records and converts what is accessed on a dm-shadow volume."};
  app.set_version_flag("--version", "shadow-trace " SHADOW_VERSION);
  app.require_subcommand(1);
  WatchOptions w;
  auto* watch = app.add_subcommand("watch", "Print the accesses of each window as a line of JSON");
  watch->add_option("VOLUME", w.volume, "Its device-mapper name")->required();
  watch->add_option("--source", w.source, "access, blktrace or both [access]")
      ->check(CLI::IsMember({"access", "blktrace", "both"}));
  watch->add_option("--window", w.window_s, "Seconds of a window [60]")
      ->check(CLI::Range(0.01, 86400.0));
  watch->add_option("--windows", w.windows, "End after so many [0: never]");
  watch->add_flag("--by-line", w.by_line, "A window ends with each line on standard input");

  std::string volume, path, format = "auto", device;
  std::vector<std::string> paths;
  double seconds = 0;
  std::uint64_t most_mib = 1u << 20;
  auto* record = app.add_subcommand("record", "Record the requests (blktrace) until interrupted");
  record->add_option("VOLUME", volume, "A device-mapper name, of any target")->required();
  record->add_option("FILE", path, "CSV; compressed if the name ends in .zst")->required();
  record->add_option("--seconds", seconds, "End after so many")->check(CLI::NonNegativeNumber);
  record->add_option("--most-mib", most_mib, "End at so many MiB of file [1048576]")
      ->check(CLI::Range(1u, 1u << 30));

  auto* convert = app.add_subcommand("convert", "Turn a trace of any known format into CSV");
  convert->add_option("PATH", paths, "Trace (several: the per-CPU files of one), and last the CSV")
      ->required()
      ->expected(2, -1);
  convert->add_option("--format", format,
                      "auto, csv, msr, spc, blkreplay, blkparse, blktrace or vscsi [auto]");
  convert->add_option("--trace-device", device, "Only this device of the trace");
  app.footer("Exit status as of shadowctl. See shadow-trace(1).");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  struct sigaction act {};
  act.sa_handler = [](int) { stop = true; };
  sigaction(SIGINT, &act, nullptr);
  sigaction(SIGTERM, &act, nullptr);
  if (*watch) return Watch(w);
  if (*record) return Record(volume, path, seconds, most_mib);
  const std::string to = paths.back();
  paths.pop_back();
  return Convert(paths, to, format, device);
}
