// SPDX-License-Identifier: Apache-2.0
// Errors over the wire: an Error becomes a gRPC status with google.rpc details, and back.
//
// The way there and back loses nothing: code, message and hint come out as they went in. Used by
// the services and by shadowctl. Pure functions; a status from elsewhere, or garbage in its
// details, gives the nearest Error.
#pragma once

#include <grpcpp/support/status.h>

#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace shadow::rpc {

/// The gRPC status of `error`, with ErrorInfo and, if there is a hint, Help in its details.
[[nodiscard]] grpc::Status ToGrpcStatus(const Error& error);

/// The Error a failed call's status stands for. `status.ok()` must be false.
[[nodiscard]] Error FromGrpcStatus(const grpc::Status& status);

/// `text` in single quotes for use in a message: at most 64 characters, control characters and
/// whatever is not ASCII replaced by '?'.
[[nodiscard]] std::string Quote(std::string_view text);

}  // namespace shadow::rpc
