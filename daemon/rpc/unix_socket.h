// SPDX-License-Identifier: Apache-2.0
// What a Unix socket's path is good for, looked at before gRPC gets it: gRPC's own errors do not
// say what to do. Each function makes a few system calls and never blocks for long.
#pragma once

#include <string>

#include "daemon/base/result.h"

namespace shadow::rpc {

/// Makes `path` ready to listen on: the folder is made if only its last part is missing, a socket
/// that nobody serves is removed. kUnavailable if somebody does, kInvalidArgument if it cannot be a
/// socket's path, kPermissionDenied or kIoError if the folder cannot be made or written.
[[nodiscard]] Status PrepareToListen(const std::string& path);

/// Whether somebody serves `path`. kUnavailable if nobody does or nothing is there,
/// kPermissionDenied if the caller may not connect.
[[nodiscard]] Status ProbeSocket(const std::string& path);

}  // namespace shadow::rpc
