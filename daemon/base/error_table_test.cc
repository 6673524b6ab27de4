// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/error_table.h"

#include <gtest/gtest.h>

#include <set>

namespace shadow {
namespace {

constexpr Code kLast = Code::kInternal;

TEST(ErrorTable, EveryCodeHasItsOwnRowAndAName) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(kLast); ++i) {
    const ErrorRow& row = RowOf(static_cast<Code>(i));
    EXPECT_EQ(row.code, static_cast<Code>(i)) << i;
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " is there twice";
  }
}

TEST(ErrorTable, NoFailureExitsWithZeroAndNoneIsOkForGrpc) {
  for (int i = 0; i <= static_cast<int>(kLast); ++i) {
    EXPECT_NE(RowOf(static_cast<Code>(i)).exit_code, kExitOk);
    EXPECT_NE(RowOf(static_cast<Code>(i)).grpc_status, 0);
  }
}

TEST(ErrorTable, KnownPairs) {
  EXPECT_EQ(RowOf(Code::kNotFound).grpc_status, 5);
  EXPECT_EQ(RowOf(Code::kOutOfSpace).exit_code, kExitNoSpace);
  EXPECT_EQ(RowOf(Code::kDataLoss).exit_code, kExitDataLoss);
  EXPECT_EQ(RowOf(Code::kIoError).exit_code, kExitInternal);
  EXPECT_EQ(RowOf(static_cast<Code>(250)).code, Code::kInternal);
}

TEST(ErrorTable, GrpcStatusFindsItsRow) {
  EXPECT_EQ(RowOfGrpcStatus(9).code, Code::kFailedPrecondition);
  EXPECT_EQ(RowOfGrpcStatus(13).code, Code::kInternal);
  EXPECT_EQ(RowOfGrpcStatus(99).code, Code::kInternal);
}

}  // namespace
}  // namespace shadow
