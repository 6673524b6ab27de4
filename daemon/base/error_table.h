// SPDX-License-Identifier: Apache-2.0
// The one table that maps an error code to a gRPC status, an exit code and a name.
//
// Used by shadowd's RPC layer and by shadowctl, so both sides agree. Pure; never fails.
#pragma once

#include <string_view>

#include "daemon/base/result.h"

namespace shadow {

/// Exit codes of shadowd and shadowctl, documented in docs/daemon.md. 0 is success.
enum ExitCode : int {
  kExitOk = 0,
  kExitInternal = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitRefused = 4,
  kExitUnavailable = 5,
  kExitPermission = 6,
  kExitNoSpace = 7,
  kExitDataLoss = 8,
  kExitIncomplete = 9,  // done, but for something that was asked for too
};

struct ErrorRow {
  Code code;
  int grpc_status;  // number of grpc::StatusCode; kept as a number so that base needs no gRPC
  int exit_code;
  std::string_view name;  // upper case, stable: clients may match on it
};

/// The row of `code`; an unknown value gets the row of kInternal.
[[nodiscard]] const ErrorRow& RowOf(Code code);

/// The row whose gRPC status is `grpc_status`, the first one if several; kInternal if none.
[[nodiscard]] const ErrorRow& RowOfGrpcStatus(int grpc_status);

}  // namespace shadow
