// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/error_table.h"

#include <array>

namespace shadow {
namespace {

// The gRPC numbers are fixed by its protocol (statuscodes.md): they will not change.
constexpr std::array<ErrorRow, 12> kRows = {{
    {Code::kInvalidArgument, 3, kExitUsage, "INVALID_ARGUMENT"},
    {Code::kNotFound, 5, kExitNotFound, "NOT_FOUND"},
    {Code::kAlreadyExists, 6, kExitRefused, "ALREADY_EXISTS"},
    {Code::kFailedPrecondition, 9, kExitRefused, "FAILED_PRECONDITION"},
    {Code::kOutOfSpace, 8, kExitNoSpace, "OUT_OF_SPACE"},
    {Code::kPermissionDenied, 7, kExitPermission, "PERMISSION_DENIED"},
    {Code::kUnavailable, 14, kExitUnavailable, "UNAVAILABLE"},
    {Code::kAborted, 10, kExitRefused, "ABORTED"},
    {Code::kInternal, 13, kExitInternal, "INTERNAL"},
    {Code::kIoError, 13, kExitInternal, "IO_ERROR"},
    {Code::kDataLoss, 15, kExitDataLoss, "DATA_LOSS"},
    {Code::kUnimplemented, 12, kExitUsage, "UNIMPLEMENTED"},
}};

constexpr const ErrorRow& InternalRow() {
  for (const ErrorRow& row : kRows) {
    if (row.code == Code::kInternal) return row;
  }
  return kRows[0];
}

}  // namespace

const ErrorRow& RowOf(Code code) {
  for (const ErrorRow& row : kRows) {
    if (row.code == code) return row;
  }
  return InternalRow();
}

const ErrorRow& RowOfGrpcStatus(int grpc_status) {
  for (const ErrorRow& row : kRows) {
    if (row.grpc_status == grpc_status) return row;
  }
  return InternalRow();
}

}  // namespace shadow
