// SPDX-License-Identifier: Apache-2.0
// Takes everything from the worker process that it does not need, before it reads the first byte.
//
// The worker computes on what others sent. Whoever takes it over through a frame, a snapshot or a
// library finds: no root (another user, no capability, none to be had), no files but those of the
// state directory (its root directory), no device, no network, no other process, no program to
// start, no code that was not there before, and limits on memory and files. Called once, by the
// only thread. Fails closed: the worker does not serve without.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace shadow::pam {

struct SandboxOptions {
  int socket = -1;        // the one descriptor that stays open, beside the standard ones; above 2
  std::string state_dir;  // becomes the root directory; "": an empty one, and no file can be opened
  uid_t user = 65534;     // whom to become when started as root; `state_dir` is given to it
  gid_t group = 65534;
  std::uint64_t memory_bytes = std::uint64_t{16} << 30;  // address space
};

/// The state directory as the worker now sees it: "/" or "". kPermissionDenied or kIoError if a
/// part of it cannot be done; the process is to end then.
[[nodiscard]] Result<std::string> EnterSandbox(const SandboxOptions& options);

}  // namespace shadow::pam
