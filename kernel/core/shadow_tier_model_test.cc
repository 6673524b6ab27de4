// SPDX-License-Identifier: Apache-2.0
// Random lives of one shadow, shrunk when they go wrong: writes, promotions, write-backs, drops,
// discards, commits and power cuts in any order against versions of the data. A read never sees
// anything but the newest version, and after a power cut nothing older than what was flushed, the
// same from every copy. The glue here does what the header's actions ask for, and no more.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <array>
#include <tuple>
#include <utility>
#include <vector>

#include "kernel/core/shadow_format.h"
#include "kernel/core/shadow_tier.h"

namespace {

constexpr u64 kZeroes = 0;  // the version of a hole

/// One copy of the block: what a read gets, and what is left after a power cut.
struct Copy {
  u64 now = kZeroes, durable = kZeroes;
};

/// Which promise the glue breaks, to see that the model notices.
enum class Fault { kNone, kIntentIgnored, kTierNotFlushed, kDirtyBeforeDurable, kMarkForgotten };

class Block {
 public:
  explicit Block(u8 writeback, Fault fault = Fault::kNone)
      : fault_(fault), tiers_{SHADOW_MASK_TIERS, writeback} {
    ctx_.phase = SHADOW_STEADY;
  }

  enum Op { kWrite, kFlush, kPromote, kCopyRead, kCopyDone, kClean, kHold, kDrop, kDiscard, kFail,
            kCommitBegin, kCommitEnd, kClearIntent, kPowerCut, kNrOps };

  void Do(Op op, unsigned dice) {
    switch (op) {
      case kWrite: return Write();
      case kFlush: return Flush();
      case kPromote: return Promote(dice);
      case kCopyRead: return CopyRead();
      case kCopyDone: return CopyDone(dice);
      case kClean: return Event(SHADOW_TEV_CLEAN_START);
      case kHold: copied_ = false; return Event(SHADOW_TEV_CLEAN_HOLD);
      case kDrop: return Event(SHADOW_TEV_DROP);
      case kDiscard: return Discard();
      case kFail: return CopyFailed();
      case kCommitBegin: return CommitBegin();
      case kCommitEnd: return CommitEnd();
      case kClearIntent: return ClearIntent();
      case kPowerCut: return PowerCut(dice);
      case kNrOps: break;
    }
  }

  /// The newest version from every copy that a read may use; false: something else.
  bool Readable() const {
    const auto t = shadow_tier_route(state_, word_, SHADOW_OP_READ, &ctx_, &tiers_);
    if (t.r.kind == SHADOW_ROUTE_ZERO) return newest_ == kZeroes;
    const u8 legs = t.r.legs | t.r.fallback;
    if (t.r.kind != SHADOW_ROUTE_LEG || legs == 0) return false;
    for (int leg = 0; leg < SHADOW_NR_LEGS; leg++)
      if (legs >> leg & 1 && legs_[static_cast<unsigned>(leg)].now != newest_) return false;
    return true;
  }
  bool right() const { return right_; }
  u32 word() const { return word_; }

 private:
  Copy& Home() { return legs_[SHADOW_LEG_ORIGIN]; }
  Copy& Shadow() { return legs_[static_cast<unsigned>(shadow_word_leg(word_))]; }

  void Event(shadow_tier_event event) {
    if (event == SHADOW_TEV_CLEAN_START && shadow_life(word_) == SHADOW_DIRTY) copied_ = false;
    word_ = shadow_tier_transition(word_, event).next;
  }
  bool Hole() const { return shadow_home(state_) == SHADOW_HOLE; }
  bool BeingCopied() const {
    const auto life = shadow_life(word_);
    return life == SHADOW_PROMOTING || life == SHADOW_CLEANING || life == SHADOW_HOLDING;
  }

  void Write() {
    if (Hole()) {  // filled, durably, and then it is a block like any other; not while a shadow ends
      if (word_ != 0 || disk_word_ != 0) return;
      state_ = disk_state_ = SHADOW_ORIGIN;
      Home().now = Home().durable = kZeroes;
    }
    const auto t = shadow_tier_route(state_, word_, SHADOW_OP_WRITE, &ctx_, &tiers_);
    if (t.r.kind == SHADOW_ROUTE_DIRTY) {
      Event(SHADOW_TEV_DIRTY_START);
      dirty_noted_ = false;
      if (fault_ == Fault::kDirtyBeforeDurable) Event(SHADOW_TEV_DIRTY_DONE);
      return;
    }
    if (t.r.kind == SHADOW_ROUTE_WAIT || t.r.kind == SHADOW_ROUTE_NO_COPY) return;
    if (t.mark && fault_ != Fault::kMarkForgotten) Event(SHADOW_TEV_WRITE);
    if (t.r.kind == SHADOW_ROUTE_BOTH) intent_ = true;
    newest_++;
    for (int leg = 0; leg < SHADOW_NR_LEGS; leg++)
      if (t.r.legs >> leg & 1) legs_[static_cast<unsigned>(leg)].now = newest_;
  }
  void FlushLegs() {
    for (Copy& c : legs_) c.durable = c.now;
  }
  void Flush() {
    FlushLegs();
    flushed_ = newest_;
  }

  void Promote(unsigned dice) {
    if (word_ != 0 || disk_word_ != 0 || Hole()) return;  // the old slot is not free before it is durable
    word_ = shadow_word(dice & 1 ? SHADOW_LEG_TIER1 : SHADOW_LEG_TIER2, dice % 3, SHADOW_PROMOTING);
    copied_ = false;
  }
  void CopyRead() {
    if (!BeingCopied()) return;
    copied_ = true;
    read_ = shadow_life(word_) == SHADOW_PROMOTING ? Home().now : Shadow().now;
  }
  void CopyDone(unsigned dice) {
    if (!BeingCopied() || !copied_) return;
    const bool up = shadow_life(word_) == SHADOW_PROMOTING;
    if (Hole()) return CopyFailed();
    (up ? Shadow() : Home()).now = read_;
    // The commit that is under way noted what was before: as good.
    const auto s = shadow_tier_transition(word_, up ? SHADOW_TEV_PROMOTE_DONE : SHADOW_TEV_CLEAN_DONE);
    word_ = s.next;
    copied_ = false;
    if (!(s.actions & SHADOW_ACT_COPY_AGAIN)) return;
    if (up) return Event(SHADOW_TEV_PROMOTE_RETRY);
    Event(dice & 1 ? SHADOW_TEV_CLEAN_RETRY : SHADOW_TEV_CLEAN_HOLD);
  }
  void CopyFailed() {
    if (BeingCopied())
      Event(shadow_life(word_) == SHADOW_PROMOTING ? SHADOW_TEV_PROMOTE_FAILED
                                                   : SHADOW_TEV_CLEAN_FAILED);
  }
  // A hole, durably, then the shadow's end.
  void Discard() {
    if (Hole() || BeingCopied()) return;
    state_ = disk_state_ = SHADOW_HOLE;
    newest_ = flushed_ = kZeroes;
    Event(SHADOW_TEV_DISCARD);
  }

  void CommitBegin() {
    if (committing_) return;
    committing_ = true;
    Event(SHADOW_TEV_DROP_NOTED);
    noted_ = shadow_tier_disk(word_);
    dirty_noted_ = shadow_life(word_) == SHADOW_DIRTYING;
    for (int leg = 0; leg < SHADOW_NR_LEGS; leg++)
      if (fault_ != Fault::kTierNotFlushed || leg == SHADOW_LEG_ORIGIN)
        legs_[static_cast<unsigned>(leg)].durable = legs_[static_cast<unsigned>(leg)].now;
  }
  void CommitEnd() {
    if (!std::exchange(committing_, false)) return;
    disk_word_ = noted_;
    if (dirty_noted_) Event(SHADOW_TEV_DIRTY_DONE);
    dirty_noted_ = false;
    Event(SHADOW_TEV_DROP_DONE);
  }
  void ClearIntent() {
    FlushLegs();
    intent_ = false;
  }

  // Each leg keeps what is durable, and maybe the rest; a commit that was under way, too.
  void PowerCut(unsigned dice) {
    for (int leg = 0; leg < SHADOW_NR_LEGS; leg++) {
      Copy& c = legs_[static_cast<unsigned>(leg)];
      if (dice >> leg & 1) c.durable = c.now;
      c.now = c.durable;
    }
    if (std::exchange(committing_, false) && dice >> 4 & 1) disk_word_ = noted_;
    dirty_noted_ = copied_ = false;
    state_ = disk_state_;
    const bool doubtful = intent_ && fault_ != Fault::kIntentIgnored;
    word_ = shadow_tier_from_disk(disk_word_, shadow_home(state_), tiers_.tiers, doubtful);
    disk_word_ = word_;  // the first commit, before anything else may rely on it
    intent_ = false;
    const auto t = shadow_tier_route(state_, word_, SHADOW_OP_READ, &ctx_, &tiers_);
    if (t.r.kind == SHADOW_ROUTE_ZERO) {
      newest_ = kZeroes;
    } else {
      u8 first = 0;
      while (!(t.r.legs >> first & 1)) first++;
      newest_ = legs_[first].now;
    }
    // Unacknowledged or not flushed: either way is right, an older one is not.
    right_ = right_ && newest_ >= flushed_;
    flushed_ = newest_;
  }

  const Fault fault_;
  shadow_ctx ctx_{};
  const shadow_tier_ctx tiers_;
  std::array<Copy, SHADOW_NR_LEGS> legs_;
  u8 state_ = SHADOW_ORIGIN, disk_state_ = SHADOW_ORIGIN;
  u32 word_ = 0, disk_word_ = 0, noted_ = 0;
  u64 newest_ = kZeroes, flushed_ = kZeroes, read_ = 0;
  bool intent_ = false, committing_ = false, dirty_noted_ = false, copied_ = false;
  bool right_ = true;
};

using Life = std::vector<std::pair<Block::Op, unsigned>>;

/// Every read is right, and nothing that was flushed is lost.
bool GoesWell(const Life& life, u8 writeback, Fault fault = Fault::kNone) {
  Block b(writeback, fault);
  for (const auto& [op, dice] : life) {
    b.Do(op, dice);
    if (!b.right() || !b.Readable()) return false;
  }
  return true;
}

rc::Gen<Life> Lives() {
  return rc::gen::scale(8.0, rc::gen::container<Life>(rc::gen::pair(
      rc::gen::map(rc::gen::inRange(0, static_cast<int>(Block::kNrOps)),
                   [](int op) { return static_cast<Block::Op>(op); }),
      rc::gen::inRange(0u, 32u))));
}

RC_GTEST_PROP(TierLife, AnyOrderKeepsWhatWasWritten, ()) {
  const Life life = *Lives();
  RC_ASSERT(GoesWell(life, 0));
  RC_ASSERT(GoesWell(life, SHADOW_MASK_TIERS));
}

// Not only by luck: each broken promise is noticed in lives like those above.
TEST(TierLife, BrokenPromisesAreNoticed) {
  for (const Fault fault : {Fault::kIntentIgnored, Fault::kTierNotFlushed,
                            Fault::kDirtyBeforeDurable, Fault::kMarkForgotten}) {
    u64 dice = 88172645463325252ull;
    const auto roll = [&dice](unsigned n) {
      dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
      return static_cast<unsigned>((dice >> 20) % n);
    };
    int noticed = 0;
    for (int n = 0; n < 20000 && noticed == 0; n++) {
      Life life;
      for (int i = 0; i < 60; i++) life.emplace_back(static_cast<Block::Op>(roll(Block::kNrOps)), roll(32));
      noticed += !GoesWell(life, 0, fault) || !GoesWell(life, SHADOW_MASK_TIERS, fault);
    }
    EXPECT_GT(noticed, 0) << static_cast<int>(fault);
  }
}

// Nor are the lives too dull to reach everything.
TEST(TierLife, LivesReachEveryState) {
  std::array<bool, SHADOW_NR_LIVES> seen{};
  u64 dice = 4711;
  Block b(SHADOW_MASK_TIERS);
  for (int i = 0; i < 100000; i++) {
    dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
    b.Do(static_cast<Block::Op>((dice >> 20) % Block::kNrOps), static_cast<unsigned>(dice >> 30) % 32);
    ASSERT_TRUE(b.right() && b.Readable()) << i;
    seen[shadow_life(b.word())] = true;
  }
  for (const bool life : seen) EXPECT_TRUE(life);
}

RC_GTEST_PROP(SlotPageProperty, ComesBackAsItWas, ()) {
  std::vector<u8> page(SHADOW_PAGE_SIZE);
  std::vector<u32> words(SHADOW_WORDS_PER_PAGE);
  using Word = std::tuple<u32, u32, bool, int>;
  const auto some = *rc::gen::container<std::vector<Word>>(
      rc::gen::tuple(rc::gen::inRange<u32>(0, SHADOW_WORDS_PER_PAGE), rc::gen::arbitrary<u32>(),
                     rc::gen::arbitrary<bool>(), rc::gen::inRange(0, 40)));
  bool valid = true;
  for (const auto& [at, bits, second, kind] : some) {
    words[at] = kind == 0 ? bits
                          : shadow_word(second ? SHADOW_LEG_TIER2 : SHADOW_LEG_TIER1,
                                        bits & SHADOW_SLOT_MASK,
                                        kind % 2 ? SHADOW_CLEAN : SHADOW_DIRTY);
    shadow_slot_page_set(page.data(), at, words[at]);
  }
  for (const u32 w : words) {
    const auto life = shadow_life(w);
    valid &= w == 0 || ((life == SHADOW_CLEAN || life == SHADOW_DIRTY) && !(w & SHADOW_WORD_WRITTEN));
  }
  const shadow_page_header written{*rc::gen::arbitrary<u64>(), *rc::gen::arbitrary<u64>(), 3, 0};
  shadow_slot_page_seal(page.data(), &written);
  shadow_page_header read{};
  RC_ASSERT(shadow_slot_page_decode(page.data(), written.tag, 3, &read) ==
            (valid ? SHADOW_FORMAT_OK : SHADOW_FORMAT_FIELD));
  if (!valid) return;
  RC_ASSERT(read.generation == written.generation);
  for (u32 i = 0; i < SHADOW_WORDS_PER_PAGE; i++)
    RC_ASSERT(shadow_slot_page_word(page.data(), i) == words[i]);
}

}  // namespace
