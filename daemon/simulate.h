// SPDX-License-Identifier: Apache-2.0
// shadowd --simulate: the whole control plane, with its page, on a machine in memory. No root, no
// module, no disks; for a first look, and for the tests of the page.
#pragma once

#include <functional>
#include <string>

#include "daemon/config/config.h"

namespace shadow {

struct SimulateOptions {
  Config config;      // sockets and [http]; classes are the story's own
  bool story = true;  // false: volumes lie there, and nothing happens by itself
};

/// A configuration that touches nothing of the machine: everything lies in `folder`, which has to
/// be there, the page is on the loopback, and a token is made.
[[nodiscard]] Result<Config> SimulatedConfig(const std::string& folder);

/// Serves until `wait` returns. Exit codes: daemon/base/error_table.h.
int RunSimulated(const SimulateOptions& options, const std::function<void()>& wait);

}  // namespace shadow
