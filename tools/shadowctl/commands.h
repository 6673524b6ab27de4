// SPDX-License-Identifier: Apache-2.0
// The commands of shadowctl, a function and a file for each group. Each adds its commands to `app`
// and, when one is chosen on the command line, sets `context.command`.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tools/shadowctl/context.h"
#include "tools/shadowctl/interrupts.h"
#include "tools/shadowctl/watch.h"

namespace shadow::ctl {

void AddVolumeCommands(CLI::App& app, Context& context, Interrupts& interrupts);
void AddModifyCommand(CLI::App& volume, Context& context, Interrupts& interrupts);
void AddClassCommands(CLI::App& app, Context& context);
void AddTierCommands(CLI::App& app, Context& context, Interrupts& interrupts);
/// `tier explain` and `tier map` (to `tier`), and `heat`.
void AddTierMapCommands(CLI::App& app, CLI::App& tier, Context& context);
void AddTopCommand(CLI::App& app, Context& context, Interrupts& interrupts);
void AddOpCommands(CLI::App& app, Context& context, Interrupts& interrupts);
void AddEventsCommand(CLI::App& app, Context& context, Interrupts& interrupts);
void AddDoctorCommand(CLI::App& app, Context& context);
void AddStateCommands(CLI::App& app, Context& context);
void AddCompletionCommands(CLI::App& app, Context& context);

/// Adds --wait and --until to `command`.
struct WaitOptions {
  bool wait = false;
  std::string until = "done";
};
void AddWaitOptions(CLI::App& command, const std::shared_ptr<WaitOptions>& options);
/// What --until says.
[[nodiscard]] Until UntilOf(const WaitOptions& options);

/// Allows only `values`; says so in one sentence, and leaves the help text alone.
[[nodiscard]] CLI::Validator OneOf(std::vector<std::string> values);

/// A new random request id.
[[nodiscard]] std::string NewRequestId();

}  // namespace shadow::ctl
