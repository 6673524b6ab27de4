// SPDX-License-Identifier: Apache-2.0
// shadowctl as a library: the command line, and a run of it. main.cc calls Run; tests look at the
// command line that BuildApp makes.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "tools/shadowctl/context.h"
#include "tools/shadowctl/interrupts.h"

namespace shadow::ctl {

/// The command line. `context` and `interrupts` must outlive it.
[[nodiscard]] std::unique_ptr<CLI::App> BuildApp(Context& context, Interrupts& interrupts);

/// Parses and runs. Returns the exit code.
[[nodiscard]] int Run(int argc, const char* const* argv);

}  // namespace shadow::ctl
