// SPDX-License-Identifier: Apache-2.0
// See common.h.
#include "tools/pam/common.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace shadow::pam::tool {

void Input::Add(CLI::App* app, bool windows) {
  app->add_option("trace", paths, "trace file(s); several are joined (blktrace: one per CPU)")
      ->required();
  app->add_option("--format", format, "auto csv msr spc blkreplay blkparse blktrace vscsi");
  app->add_option("--device", device, "only this device of the trace");
  app->add_option("--max-damaged", max_damaged, "damaged records skipped before giving up");
  if (!windows) return;
  app->add_option("--block", block_kib, "block size in KiB, a power of two")->default_val(1024);
  app->add_option("--window", window_s, "window in seconds")->default_val(60);
  app->add_option("--volume", volume,
                  "size of the volume, e.g. 100G (default: reach of the trace)");
}

namespace {

Result<std::uint64_t> ParseSize(const std::string& text) {
  std::size_t used = 0;
  double value = 0;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  double unit = 1;
  if (used > 0 && used < text.size()) {
    const std::string suffix = text.substr(used);
    const std::string units = "KMGTP";
    const auto at = units.find(suffix[0]);
    if (at == std::string::npos || suffix.size() > 3) used = 0;
    for (std::size_t i = 0; at != std::string::npos && i <= at; ++i) unit *= 1024;
  }
  if (used == 0 || !(value * unit >= 1) || value * unit > 9e18) {
    return MakeError(Code::kInvalidArgument, "'" + text + "' is no size",
                     "a number with K, M, G, T or P");
  }
  return static_cast<std::uint64_t>(value * unit);
}

}  // namespace

Result<Trace> Read(const Input& in) {
  ReadOptions o;
  SHADOW_ASSIGN(o.format, ParseFormat(in.format));
  o.device = in.device;
  o.max_damaged = in.max_damaged;
  SHADOW_ASSIGN(Trace trace, ReadTraces(in.paths, o));
  for (const Damage& d : trace.damage) {
    std::fprintf(stderr, "pam: skipped record %llu: %s\n",
                 static_cast<unsigned long long>(d.position), d.reason.c_str());
  }
  if (trace.skipped > trace.damage.size()) {
    std::fprintf(stderr, "pam: %llu damaged records were skipped in all\n",
                 static_cast<unsigned long long>(trace.skipped));
  }
  return trace;
}

Result<WindowedTrace> ReadWindows(const Input& in) {
  SHADOW_ASSIGN(const Trace trace, Read(in));
  WindowOptions o;
  o.block_bytes = in.block_kib * 1024;
  o.window_us = static_cast<std::int64_t>(in.window_s * 1e6);
  if (!in.volume.empty()) {
    SHADOW_ASSIGN(o.volume_bytes, ParseSize(in.volume));
  }
  SHADOW_ASSIGN(WindowedTrace cut, CutWindows(trace, o));
  if (cut.beyond_end > 0) {
    std::fprintf(stderr, "pam: %llu accesses lie past the end of the volume and were dropped\n",
                 static_cast<unsigned long long>(cut.beyond_end));
  }
  return cut;
}

int Fail(const Error& error) {
  std::fprintf(stderr, "pam: %s\n", error.ToString().c_str());
  return 1;
}

Progress::Progress(std::string what) : what_(std::move(what)), terminal_(isatty(2) != 0) {}

void Progress::operator()(int done, int total) {
  const int percent = total > 0 ? 100 * done / total : 100;
  if (percent == shown_ || (!terminal_ && percent / 10 == shown_ / 10 && shown_ >= 0)) return;
  shown_ = percent;
  if (!terminal_) {
    std::fprintf(stderr, "%s %d %%\n", what_.c_str(), percent);
    return;
  }
  char bar[41];
  for (int i = 0; i < 40; ++i) bar[i] = i * 100 / 40 < percent ? '#' : '.';
  bar[40] = 0;
  std::fprintf(stderr, "\r%-28.28s [%s] %3d %%", what_.c_str(), bar, percent);
}

void Progress::Finish() {
  if (terminal_ && shown_ >= 0) std::fprintf(stderr, "\r%70s\r", "");
}

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return MakeError(Code::kNotFound, "cannot open " + path + ": " + std::strerror(errno));
  }
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (file.bad()) return MakeError(Code::kIoError, "cannot read " + path);
  return std::move(bytes).str();
}

Status WriteFile(const std::string& path, const std::string& bytes) {
  const std::string temporary = path + ".new";
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    std::remove(temporary.c_str());
    return MakeError(Code::kIoError, "cannot write " + path + ": " + why);
  }
  return Ok();
}

std::string TraceName(const std::string& path) {
  std::string name = std::filesystem::path(path).filename().string();
  return name.substr(0, name.find('.'));
}

}  // namespace shadow::pam::tool
