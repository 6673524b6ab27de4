// SPDX-License-Identifier: Apache-2.0
// The judge is judged: what the model must let pass, and what it must not.
#include "tests/guest/io/model.h"

#include <gtest/gtest.h>

#include "tests/guest/io/pattern.h"

namespace shadow::io {
namespace {

Record Op(Kind kind, std::uint32_t number, std::uint64_t sector, std::uint32_t count) {
  return Record{.kind = kind, .count = count, .sector = sector, .number = number};
}
Record Event(Kind kind, std::uint32_t number) { return Record{.kind = kind, .number = number}; }

TEST(PatternTest, TellsWriteAndPlace) {
  std::uint8_t sector[kSector];
  FillSector(sector, 77, 5);
  EXPECT_EQ(ReadSector(sector, 77), 5u);
  EXPECT_EQ(ReadSector(sector, 78), std::nullopt);
  sector[300] ^= 1;
  EXPECT_EQ(ReadSector(sector, 77), std::nullopt);
  std::uint8_t zero[kSector] = {};
  EXPECT_EQ(ReadSector(zero, 77), 0u);
  zero[511] = 1;
  EXPECT_EQ(ReadSector(zero, 77), std::nullopt);
}

TEST(ModelTest, InFlightWriteMayOrMayNotBeThere) {
  Model model(16, 0, Durable::kAck);
  model.Apply(Op(Kind::kWrite, 1, 4, 2));
  EXPECT_TRUE(model.Allows(4, 0));
  EXPECT_TRUE(model.Allows(5, 1));
  EXPECT_FALSE(model.Allows(6, 1));
  model.Apply(Event(Kind::kAck, 1));
  EXPECT_FALSE(model.Allows(4, 0)) << "an acknowledged write may not vanish";
  EXPECT_TRUE(model.Allows(4, 1));
}

TEST(ModelTest, FailedWriteStaysUndecided) {
  Model model(16, 0, Durable::kAck);
  model.Apply(Op(Kind::kWrite, 1, 0, 1));
  model.Apply(Event(Kind::kFail, 1));
  EXPECT_TRUE(model.Allows(0, 0));
  EXPECT_TRUE(model.Allows(0, 1));
  model.Apply(Op(Kind::kWrite, 2, 0, 1));
  model.Apply(Event(Kind::kAck, 2));
  EXPECT_FALSE(model.Allows(0, 1));
}

TEST(ModelTest, FlushDecidesWhatSurvives) {
  Model model(16, 0, Durable::kFlush);
  model.Apply(Op(Kind::kWrite, 1, 0, 1));
  model.Apply(Event(Kind::kAck, 1));
  EXPECT_TRUE(model.Allows(0, 0)) << "not flushed yet";
  model.Apply(Event(Kind::kFlushStart, 2));
  model.Apply(Op(Kind::kWrite, 3, 0, 1));
  model.Apply(Event(Kind::kAck, 3));
  model.Apply(Event(Kind::kFlushDone, 2));
  EXPECT_FALSE(model.Allows(0, 0));
  EXPECT_TRUE(model.Allows(0, 1)) << "write 3 was acknowledged after the flush began";
  EXPECT_TRUE(model.Allows(0, 3));
}

TEST(ModelTest, FuaIsDurableWhenAcknowledged) {
  Model model(16, 0, Durable::kFlush);
  Record write = Op(Kind::kWrite, 1, 0, 1);
  write.fua = 1;
  model.Apply(write);
  model.Apply(Event(Kind::kAck, 1));
  EXPECT_FALSE(model.Allows(0, 0));
}

TEST(ModelTest, DiscardIsStrictInWholeBlocksOnly) {
  Model model(32, 8, Durable::kAck);
  model.Apply(Op(Kind::kWrite, 1, 0, 32));
  model.Apply(Event(Kind::kAck, 1));
  model.Apply(Op(Kind::kDiscard, 2, 4, 16));  // 4..19: block 1 whole, edges in 0 and 2
  model.Apply(Event(Kind::kAck, 2));
  EXPECT_TRUE(model.Allows(5, 1));
  EXPECT_TRUE(model.Allows(5, 0));
  EXPECT_FALSE(model.Allows(8, 1));
  EXPECT_TRUE(model.Allows(15, 0));
  EXPECT_TRUE(model.Allows(16, 1));
}

TEST(ModelTest, SeenAfterACrashMustStay) {
  Model model(8, 0, Durable::kFlush);
  model.Apply(Op(Kind::kWrite, 1, 0, 1));
  model.Apply(Op(Kind::kSeen, 0, 0, 1));
  EXPECT_TRUE(model.Allows(0, 0));
  EXPECT_FALSE(model.Allows(0, 1));
}

}  // namespace
}  // namespace shadow::io
