// SPDX-License-Identifier: Apache-2.0
// Runs another program: argv only, never a shell; a deadline; its output captured.
//
// Interface because it is a real edge: tests script the answers of LVM's commands.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
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
  /// kUnavailable: it could not be started, or the caller was interrupted (base/interrupt.h);
  /// kIoError: it did not end within `timeout_ms`. Thread safe.
  virtual Result<ProcessResult> Run(const std::vector<std::string>& argv,
                                    std::int64_t timeout_ms) = 0;
};

/// A process that is late gets SIGTERM, which LVM puts off while it must, and time to end. It is
/// never killed otherwise: LVM that dies between suspending a device and resuming it leaves it
/// suspended. One that does not end even so is given up: it is told of, and reaped when it ends.
class RealProcessRunner final : public ProcessRunner {
 public:
  explicit RealProcessRunner(std::int64_t term_ms = 10'000) : term_ms_(term_ms) {}
  Result<ProcessResult> Run(const std::vector<std::string>& argv, std::int64_t timeout_ms) override;

 private:
  // Children that were given up and have not ended.
  struct GivenUp {
    pid_t pid;
    std::string program;
  };
  Status ReapGivenUp(const std::string& program);

  const std::int64_t term_ms_;
  std::mutex mutex_;
  std::vector<GivenUp> given_up_;
};

/// The first line of what a failed program said, for an error message; never empty.
[[nodiscard]] std::string FirstComplaint(const ProcessResult& result);

}  // namespace shadow
