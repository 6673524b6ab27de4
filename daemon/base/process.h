// SPDX-License-Identifier: Apache-2.0
// Runs another program: argv only, never a shell; a deadline; its output captured.
//
// Interface because it is a real edge: tests script the answers of LVM's commands.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace shadow {

struct ProcessResult {
  int exit_code = 0;  // 128 + n when a signal n ended it
  std::string out;    // first 16 MiB of each stream
  std::string err;
};

class ProcessRunner {
 public:
  virtual ~ProcessRunner() = default;
  /// Runs argv[0] (found in PATH) to its end. An exit code other than 0 is not an Error here;
  /// kUnavailable: it could not be started; kIoError: killed after `timeout_ms`. Thread safe.
  virtual Result<ProcessResult> Run(const std::vector<std::string>& argv,
                                    std::int64_t timeout_ms) = 0;
};

class RealProcessRunner final : public ProcessRunner {
 public:
  Result<ProcessResult> Run(const std::vector<std::string>& argv, std::int64_t timeout_ms) override;
};

/// The first line of what a failed program said, for an error message; never empty.
[[nodiscard]] std::string FirstComplaint(const ProcessResult& result);

}  // namespace shadow
