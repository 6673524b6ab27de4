// SPDX-License-Identifier: Apache-2.0
// Following a modification until it is where the user wants it, across restarts of the daemon.
//
// The modification does not need us: whatever happens here, it goes on.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "daemon/base/result.h"
#include "proto/shadow/v1/modification.pb.h"
#include "tools/shadowctl/client.h"
#include "tools/shadowctl/context.h"
#include "tools/shadowctl/interrupts.h"

namespace shadow::ctl {

/// How far to follow it. The cut-over and the beginning of the grace period are the same instant.
enum class Until { kCutOver, kDone };

/// Whether a modification in this state has got there, or will not get any further.
[[nodiscard]] bool Reached(const v1::Modification& m, Until until);

/// Shows what happens. Called on the thread that watches.
class Reporter {
 public:
  virtual ~Reporter() = default;
  virtual void Update(const v1::Modification& m) = 0;
  /// The daemon does not answer any more; we keep trying for `patience`.
  virtual void Lost(const Error& error, std::chrono::seconds patience) = 0;
  virtual void Back() = 0;
  /// Nothing more will come: leave the terminal clean.
  virtual void End() = 0;
};

/// The reporter that fits the output: a line that is redrawn, lines for a log, or JSON.
[[nodiscard]] std::unique_ptr<Reporter> MakeReporter(Context& context);

struct WatchOptions {
  std::string id;
  Until until = Until::kDone;
  std::chrono::seconds patience{120};         // how long the daemon may be away
  std::chrono::milliseconds retry{250};       // between two tries to reach it
  std::chrono::milliseconds heartbeat{1000};  // how often a state that stands is shown again
};

struct WatchOutcome {
  v1::Modification last;
  bool interrupted = false;
};

/// Follows the modification. An error when the daemon refuses, or is away for longer than
/// `options.patience`.
[[nodiscard]] Result<WatchOutcome> Watch(const std::function<Result<Client>()>& connect,
                                         const WatchOptions& options, Reporter& reporter,
                                         Interrupts& interrupts);

/// Watch with the output and the exit code of `--wait` and `op watch`. `wanted` is the final phase
/// that counts as success.
int WatchCommand(Context& context, Interrupts& interrupts, const std::string& id, Until until,
                 v1::Phase wanted = v1::PHASE_COMPLETED);

}  // namespace shadow::ctl
