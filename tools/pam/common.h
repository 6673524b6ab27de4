// SPDX-License-Identifier: Apache-2.0
// What the subcommands of `pam` share: options of input and windows, the progress bar, files.
//
// One thread. Every subcommand returns an exit code: 0 done, 1 failed, 2 bad usage (CLI11), 3 a
// gate was missed.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "pam/trace/reader.h"
#include "pam/window/windowing.h"

namespace shadow::pam::tool {

struct Input {
  std::vector<std::string> paths;
  std::string format = "auto";
  std::string device;
  std::uint64_t max_damaged = 100;
  std::uint64_t block_kib = 1024;
  double window_s = 60;
  std::string volume;  // size, e.g. 100G; "" is as far as the trace reaches
  void Add(CLI::App* app, bool windows);
};

Result<Trace> Read(const Input& in);
Result<WindowedTrace> ReadWindows(const Input& in);

/// Prints the error to stderr ("pam: what (hint)") and gives exit code 1.
int Fail(const Error& error);

/// A bar on stderr if that is a terminal, plain lines at each tenth otherwise.
class Progress {
 public:
  explicit Progress(std::string what);
  void operator()(int done, int total);
  void Finish();

 private:
  std::string what_;
  bool terminal_;
  int shown_ = -1;
};

Result<std::string> ReadFile(const std::string& path);
/// Writes through a temporary file and a rename: the old file stays whole if this fails.
Status WriteFile(const std::string& path, const std::string& bytes);
/// "oneandone_mysql" of "/x/oneandone_mysql.csv.xz".
std::string TraceName(const std::string& path);

// The subcommands; each adds itself to `app` and sets *run to what main shall call.
using Run = std::function<int()>;
void AddTrace(CLI::App& app, Run* run);
void AddEval(CLI::App& app, Run* run);
void AddModel(CLI::App& app, Run* run);
void AddBench(CLI::App& app, Run* run);

}  // namespace shadow::pam::tool
