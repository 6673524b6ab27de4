// SPDX-License-Identifier: GPL-2.0-only
// The rules of a block's life, checked for every state byte, event, operation and volume.
//
// The oracle is not a second transition table but what a home *means* (Current(): the legs whose
// data is current) and what must hold around a change. tests/sim checks that these
// rules together lose nothing in time.
#include "kernel/core/shadow_state.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace {

// Functions of the same names hide these types.
using Home = enum shadow_home;
using Route = struct shadow_route;

constexpr unsigned kOrigin = 1, kTarget = 2, kBoth = 3;
constexpr u8 kAccess = SHADOW_READ | SHADOW_WROTE;
constexpr u8 kAllActions = SHADOW_ACT_DRAIN | SHADOW_ACT_COMMIT | SHADOW_ACT_COPY_AGAIN |
                           SHADOW_ACT_WAIT_COPY | SHADOW_ACT_RELEASE;

/// What a home means: which legs hold the block's newest data.
unsigned Current(u8 state, const shadow_ctx& ctx) {
  static constexpr unsigned kMeaning[] = {kOrigin, kOrigin, kBoth, kBoth, kTarget, kTarget, 0, 0};
  const unsigned legs = kMeaning[state & 7];
  return legs && ctx.phase == SHADOW_STEADY ? 1u << ctx.steady_leg : legs;
}

bool IsHome(u8 state, Home home) { return shadow_home(state) == home; }
bool BeingCopied(u8 s) { return IsHome(s, SHADOW_COPYING) || IsHome(s, SHADOW_REMIRRORING); }
bool IsHole(u8 s) { return IsHome(s, SHADOW_HOLE) || IsHome(s, SHADOW_FILLING); }

std::string Show(u8 state, const shadow_ctx& ctx) {
  return std::string(shadow_home_name(shadow_home(state))) + " (byte " + std::to_string(state) +
         ") phase " + shadow_phase_name(static_cast<shadow_phase>(ctx.phase)) + " policy " +
         shadow_policy_name(static_cast<shadow_policy>(ctx.policy)) + " steady_leg " +
         std::to_string(ctx.steady_leg) + " missing " + std::to_string(ctx.missing) +
         (ctx.tail ? " tail" : "");
}

void ForAllVolumes(const std::function<void(const shadow_ctx&)>& check) {
  for (u8 phase = 0; phase < SHADOW_NR_PHASES; phase++)
    for (u8 policy = 0; policy < SHADOW_NR_POLICIES; policy++)
      for (u8 leg = 0; leg < SHADOW_NR_HOME_LEGS; leg++)
        for (u8 missing = 0; missing <= kBoth; missing++)
          for (int tail = 0; tail < 2; tail++) check({phase, policy, leg, missing, tail == 1});
}

void ForAllStates(const std::function<void(u8, const shadow_ctx&)>& check) {
  ForAllVolumes([&](const shadow_ctx& ctx) {
    for (unsigned s = 0; s < 256; s++) check(static_cast<u8>(s), ctx);
  });
}

using StepCheck =
    std::function<void(u8, shadow_event, const shadow_ctx&, const shadow_step&)>;

/// Every legal step there is.
void ForAllSteps(const StepCheck& check) {
  ForAllStates([&](u8 state, const shadow_ctx& ctx) {
    for (int e = 0; e < SHADOW_NR_EVENTS; e++) {
      const auto event = static_cast<shadow_event>(e);
      const shadow_step step = shadow_transition(state, event, &ctx);
      if (step.legal) check(state, event, ctx, step);
    }
  });
}

// GoogleTest's macros are slow in loops of millions: only a failure builds a message.
#define MUST(cond, state, event, ctx)                                                    \
  do {                                                                                   \
    if (!(cond)) FAIL() << #cond << ": event " << int(event) << ", " << Show(state, ctx); \
  } while (0)

// ---------------------------------------------------------------- transitions

TEST(Transition, IsTotalAndARefusalChangesNothing) {
  size_t legal = 0, refused = 0;
  ForAllStates([&](u8 state, const shadow_ctx& ctx) {
    for (int e = -1; e <= SHADOW_NR_EVENTS; e++) {
      const shadow_step step = shadow_transition(state, static_cast<shadow_event>(e), &ctx);
      MUST(!(step.actions & ~kAllActions), state, e, ctx);
      if (step.legal) {
        legal++;
        MUST(e >= 0 && e < SHADOW_NR_EVENTS, state, e, ctx);
      } else {
        refused++;
        MUST(step.next == state && step.actions == 0, state, e, ctx);
      }
    }
  });
  EXPECT_GT(legal, 0u);
  EXPECT_GT(refused, 0u);
}

TEST(Transition, IsPure) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    const shadow_step again = shadow_transition(state, event, &ctx);
    MUST(again.next == step.next && again.actions == step.actions && again.legal, state, event,
         ctx);
  });
}

TEST(Transition, KeepsAccessBitsAndTheShadowBit) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    constexpr u8 kept = kAccess | SHADOW_SHADOW;
    MUST((step.next & kept) == (state & kept), state, event, ctx);
  });
}

TEST(Transition, AccessBitsDecideNothing) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    const u8 bare = state & static_cast<u8>(~kAccess);
    for (int e = 0; e < SHADOW_NR_EVENTS; e++) {
      const auto event = static_cast<shadow_event>(e);
      const shadow_step a = shadow_transition(state, event, &ctx);
      const shadow_step b = shadow_transition(bare, event, &ctx);
      MUST(a.legal == b.legal && a.actions == b.actions, state, e, ctx);
      MUST((a.next & ~kAccess) == b.next, state, e, ctx);
    }
  });
}

// The metadata may still say what the old state stood for. If a copy it lets a restart read from is
// not current any longer, or if it says "hole" and there is data, a commit has to come first.
TEST(Transition, WhateverMakesTheMetadataWrongDemandsACommit) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    if (event == SHADOW_EV_CRASH || event == SHADOW_EV_STEADY) return;  // the metadata is the cause
    if (event == SHADOW_EV_FILL_FAILED) return;  // the commit failed: zeroes here, zeroes there
    const u8 disk = static_cast<u8>(shadow_disk_home(state, &ctx));
    const unsigned read_after_restart = Current(disk, ctx), now = Current(step.next, ctx);
    const bool stale = (read_after_restart & ~now) || (IsHole(disk) && now);
    MUST(!stale || (step.actions & SHADOW_ACT_COMMIT), state, event, ctx);
  });
}

TEST(Transition, ACopyIsDroppedOnlyByARuleThatDemandedACommit) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    const unsigned dropped = Current(state, ctx) & ~Current(step.next, ctx);
    if (!dropped || (step.actions & SHADOW_ACT_COMMIT)) return;
    switch (event) {
      case SHADOW_EV_RETIRE_DONE:  // RETIRE_START demanded it
        MUST(IsHome(state, SHADOW_RETIRING) && dropped == kOrigin, state, event, ctx);
        return;
      case SHADOW_EV_FILL_FAILED:  // FILL_DONE demanded it, and it failed
        MUST((state & SHADOW_BUSY) && !BeingCopied(state), state, event, ctx);
        return;
      case SHADOW_EV_CRASH:  // a side that may lag behind is given up
        MUST(IsHome(state, SHADOW_MIRRORED), state, event, ctx);
        return;
      default:
        MUST(false, state, event, ctx);
    }
  });
}

TEST(Transition, CopiesComeOnlyFromCopyingAndFilling) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    const unsigned gained = Current(step.next, ctx) & ~Current(state, ctx);
    if (!gained) return;
    if (event == SHADOW_EV_COPY_DONE) {
      MUST(BeingCopied(state) && !(state & SHADOW_WRITTEN), state, event, ctx);
      return;
    }
    MUST(event == SHADOW_EV_FILL_DONE && IsHome(state, SHADOW_FILLING), state, event, ctx);
    // it lives only where a leg is; a table without any leg is refused when it is parsed
    if (ctx.missing == kBoth) return;
    MUST(ctx.phase == SHADOW_STEADY || !(gained & ctx.missing), state, event, ctx);
    // and never where the block has no place
    if (ctx.tail && ctx.phase != SHADOW_STEADY) MUST(gained == kTarget, state, event, ctx);
  });
}

TEST(Transition, TheLastCopyGoesOnlyByADiscard) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    if (!Current(state, ctx) || Current(step.next, ctx)) return;
    if (event == SHADOW_EV_DISCARD) return;
    // a block that was a hole a moment ago, and nobody has written: still busy
    MUST(event == SHADOW_EV_FILL_FAILED && (state & SHADOW_BUSY), state, event, ctx);
    MUST(IsHome(state, SHADOW_ORIGIN) || IsHome(state, SHADOW_MIRRORED) ||
             IsHome(state, SHADOW_TARGET),
         state, event, ctx);
  });
}

TEST(Transition, ALostLegNeverTakesTheOnlyCopy) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    for (const auto event : {SHADOW_EV_ORIGIN_LOST, SHADOW_EV_TARGET_LOST}) {
      const unsigned lost = event == SHADOW_EV_ORIGIN_LOST ? kOrigin : kTarget;
      const shadow_step step = shadow_transition(state, event, &ctx);
      if (ctx.phase == SHADOW_STEADY || Current(state, ctx) == lost)
        MUST(!step.legal, state, event, ctx);
      else
        MUST(step.legal && !(Current(step.next, ctx) & lost), state, event, ctx);
    }
  });
}

TEST(Transition, AMarkedCopyBecomesMirroredOnlyAfterARetry) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    if (!BeingCopied(state) || !(state & SHADOW_WRITTEN)) return;
    for (int e = 0; e < SHADOW_NR_EVENTS; e++) {
      const auto event = static_cast<shadow_event>(e);
      const shadow_step step = shadow_transition(state, event, &ctx);
      if (event == SHADOW_EV_STEADY && step.legal) continue;
      MUST(Current(step.next, ctx) != kBoth || ctx.phase == SHADOW_STEADY, state, e, ctx);
      MUST(!IsHome(step.next, SHADOW_MIRRORED), state, e, ctx);
      if (event == SHADOW_EV_COPY_DONE)
        MUST(step.next == state && step.actions == SHADOW_ACT_COPY_AGAIN, state, e, ctx);
      // the mark goes only with a new copy after a drain, or with the copy itself
      if (BeingCopied(step.next) && !(step.next & SHADOW_WRITTEN))
        MUST(event == SHADOW_EV_COPY_RETRY && (step.actions & SHADOW_ACT_DRAIN), state, e, ctx);
    }
  });
}

TEST(Transition, TheMarkLivesOnlyWhileABlockIsCopied) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    if (state & SHADOW_WRITTEN) return;
    MUST(!(step.next & SHADOW_WRITTEN) ||
             (event == SHADOW_EV_WRITE && BeingCopied(step.next)),
         state, event, ctx);
  });
}

// A copy reads its source, and a discard hands the place on: no older write may be on its way.
TEST(Transition, WhereAnOlderWriteCouldStillLandADrainIsDemanded) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    const bool copy_begins = event == SHADOW_EV_COPY_START || event == SHADOW_EV_REMIRROR_START ||
                             event == SHADOW_EV_COPY_RETRY || event == SHADOW_EV_HOLD;
    const bool two_legs = ctx.phase != SHADOW_STEADY;
    const bool handed_on = event == SHADOW_EV_DISCARD && two_legs;
    MUST(!(copy_begins || handed_on) || (step.actions & SHADOW_ACT_DRAIN), state, event, ctx);
    if (event == SHADOW_EV_DISCARD && BeingCopied(state))
      MUST(step.actions & SHADOW_ACT_WAIT_COPY, state, event, ctx);
    if (BeingCopied(step.next) && !BeingCopied(state))
      MUST(copy_begins && !(step.next & SHADOW_WRITTEN), state, event, ctx);
  });
}

TEST(Transition, ABlockIsClaimedForCopyingOnlyIfBothLegsHaveAPlaceForIt) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    if (event != SHADOW_EV_COPY_START && event != SHADOW_EV_REMIRROR_START) return;
    const bool back = event == SHADOW_EV_REMIRROR_START;
    MUST(!ctx.missing && !ctx.tail && ctx.phase != SHADOW_STEADY, state, event, ctx);
    MUST(!(state & SHADOW_BUSY), state, event, ctx);
    MUST(Current(state, ctx) == (back ? kTarget : kOrigin) && !BeingCopied(state), state, event,
         ctx);
    MUST(Current(step.next, ctx) == Current(state, ctx), state, event, ctx);
  });
}

TEST(Transition, ABusyBlockIsReleasedByItsOwnersEventOnly) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    const bool was = state & SHADOW_BUSY, is = step.next & SHADOW_BUSY;
    if (!was && is)
      MUST(event == SHADOW_EV_HOLD || event == SHADOW_EV_FILL_START || event == SHADOW_EV_DISCARD,
           state, event, ctx);
    if (was && !is) {
      if (BeingCopied(state))
        MUST(event == SHADOW_EV_COPY_DONE || event == SHADOW_EV_COPY_FAILED ||
                 event == SHADOW_EV_UNHOLD,
             state, event, ctx);
      else
        MUST(event == SHADOW_EV_RELEASE || event == SHADOW_EV_FILL_FAILED, state, event, ctx);
      MUST(step.actions & SHADOW_ACT_RELEASE, state, event, ctx);
    }
    if (IsHome(step.next, SHADOW_FILLING) && !IsHome(state, SHADOW_FILLING)) MUST(is, state, event, ctx);
  });
}

// What is acknowledged as discarded reads as zeroes: only who holds none may refuse.
TEST(Transition, ADiscardTakesEveryBlockThatMayHoldData) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    if (event != SHADOW_EV_DISCARD) return;
    const bool data = !IsHome(state, SHADOW_HOLE) && !IsHome(state, SHADOW_FILLING);
    const bool filled = (state & SHADOW_BUSY) && !BeingCopied(state);  // with zeroes
    MUST(step.legal == (data && !filled), state, event, ctx);
    if (step.legal) MUST((step.next & SHADOW_BUSY) && IsHome(step.next, SHADOW_HOLE), state, event, ctx);
  });
}

TEST(Transition, AFilledBlockStaysBusyUntilItsCommit) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    if (event != SHADOW_EV_FILL_DONE || !(state & SHADOW_BUSY)) return;
    MUST((step.next & SHADOW_BUSY) && (step.actions & SHADOW_ACT_COMMIT), state, event, ctx);
  });
}

TEST(Transition, NothingOfAModificationHappensInTheSteadyPhase) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step&) {
    if (ctx.phase != SHADOW_STEADY) return;
    MUST(event != SHADOW_EV_COPY_START && event != SHADOW_EV_REMIRROR_START &&
             event != SHADOW_EV_RETIRE_START && event != SHADOW_EV_ORIGIN_LOST &&
             event != SHADOW_EV_TARGET_LOST,
         state, event, ctx);
  });
}

TEST(Transition, AfterAModificationOnlyHolesAndTheOneLegAreLeft) {
  ForAllSteps([](u8 state, shadow_event event, const shadow_ctx& ctx, const shadow_step& step) {
    if (event != SHADOW_EV_STEADY) return;
    MUST(ctx.phase == SHADOW_STEADY && !(state & SHADOW_BUSY), state, event, ctx);
    MUST((step.next & ~(kAccess | SHADOW_SHADOW)) ==
             (IsHole(state) ? SHADOW_HOLE : SHADOW_ORIGIN),
         state, event, ctx);
  });
}

// A write leaves no copy in the set of current copies that it was not sent to.
TEST(Transition, AWriteGoesToEveryCopyThatCountsAfterwards) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    const Route route = shadow_route(state, SHADOW_OP_WRITE, &ctx);
    const shadow_step step = shadow_transition(state, SHADOW_EV_WRITE, &ctx);
    const bool goes = route.kind == SHADOW_ROUTE_LEG || route.kind == SHADOW_ROUTE_BOTH ||
                      route.kind == SHADOW_ROUTE_MARK;
    MUST(step.legal == goes, state, SHADOW_EV_WRITE, ctx);
    if (!goes) return;
    // a missing leg's copies are dropped, durably, before the volume takes its first write
    MUST(!(Current(step.next, ctx) & ~route.legs & ~ctx.missing), state, SHADOW_EV_WRITE, ctx);
    MUST(Current(step.next, ctx) == Current(state, ctx), state, SHADOW_EV_WRITE, ctx);
    if (BeingCopied(state) && ctx.phase != SHADOW_STEADY)
      MUST(step.next & SHADOW_WRITTEN, state, SHADOW_EV_WRITE, ctx);
  });
}

// --------------------------------------------------------------------- routes

TEST(Route, NamesOnlyLegsThatAreThereAndCurrent) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    const unsigned usable = Current(state, ctx) & ~ctx.missing;
    for (int op = 0; op < SHADOW_NR_OPS; op++) {
      const Route r = shadow_route(state, static_cast<shadow_op>(op), &ctx);
      MUST(r.kind < SHADOW_NR_ROUTES, state, op, ctx);
      MUST(!(r.legs & ~usable) && !(r.fallback & ~usable), state, op, ctx);
      switch (r.kind) {
        case SHADOW_ROUTE_LEG:
        case SHADOW_ROUTE_MARK:
          MUST(r.legs == kOrigin || r.legs == kTarget, state, op, ctx);
          MUST(!(r.fallback & r.legs), state, op, ctx);
          break;
        case SHADOW_ROUTE_BOTH:
        case SHADOW_ROUTE_RACE:
        case SHADOW_ROUTE_BALANCE:
          MUST(r.legs == kBoth, state, op, ctx);
          break;
        default:
          MUST(!r.legs && !r.fallback, state, op, ctx);
      }
    }
  });
}

TEST(Route, AReadAlwaysHasAnAnswerAtOnce) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    const Route r = shadow_route(state, SHADOW_OP_READ, &ctx);
    const unsigned usable = Current(state, ctx) & ~ctx.missing;
    if (IsHole(state)) {
      MUST(r.kind == SHADOW_ROUTE_ZERO, state, SHADOW_OP_READ, ctx);
    } else if (!usable) {
      MUST(r.kind == SHADOW_ROUTE_NO_COPY, state, SHADOW_OP_READ, ctx);
    } else if (usable != kBoth) {
      MUST(r.kind == SHADOW_ROUTE_LEG && r.legs == usable, state, SHADOW_OP_READ, ctx);
    } else {
      const unsigned reach = r.legs | r.fallback;
      MUST(reach == kBoth, state, SHADOW_OP_READ, ctx);  // the other copy can help out
      const bool as_asked =
          (ctx.policy == SHADOW_READ_TARGET && r.kind == SHADOW_ROUTE_LEG && r.legs == kTarget) ||
          (ctx.policy == SHADOW_READ_ORIGIN && r.kind == SHADOW_ROUTE_LEG && r.legs == kOrigin) ||
          (ctx.policy == SHADOW_READ_BALANCE && r.kind == SHADOW_ROUTE_BALANCE) ||
          (ctx.policy == SHADOW_READ_MIRROR && r.kind == SHADOW_ROUTE_RACE);
      MUST(as_asked, state, SHADOW_OP_READ, ctx);
    }
  });
}

TEST(Route, AWriteGoesToAllUsableCopiesOrWaitsOrFails) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    const Route r = shadow_route(state, SHADOW_OP_WRITE, &ctx);
    const unsigned usable = Current(state, ctx) & ~ctx.missing;
    if (state & SHADOW_BUSY) {
      MUST(r.kind == SHADOW_ROUTE_WAIT, state, SHADOW_OP_WRITE, ctx);
    } else if (IsHole(state)) {
      MUST(r.kind == SHADOW_ROUTE_FILL || r.kind == SHADOW_ROUTE_NO_SPACE ||
               (r.kind == SHADOW_ROUTE_WAIT && IsHome(state, SHADOW_FILLING)),
           state, SHADOW_OP_WRITE, ctx);
      const bool fill = shadow_transition(state, SHADOW_EV_FILL_START, &ctx).legal;
      if (IsHome(state, SHADOW_HOLE))
        MUST(fill == (r.kind == SHADOW_ROUTE_FILL), state, SHADOW_OP_WRITE, ctx);
    } else {
      MUST(usable ? r.legs == usable : r.kind == SHADOW_ROUTE_NO_COPY, state, SHADOW_OP_WRITE,
           ctx);
      const bool unmarked = BeingCopied(state) && !(state & SHADOW_WRITTEN) &&
                            ctx.phase != SHADOW_STEADY && usable;
      MUST((r.kind == SHADOW_ROUTE_MARK) == unmarked, state, SHADOW_OP_WRITE, ctx);
    }
  });
}

TEST(Route, ADiscardGoesThroughTheBlocksState) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    const Route r = shadow_route(state, SHADOW_OP_DISCARD, &ctx);
    const bool legal = shadow_transition(state, SHADOW_EV_DISCARD, &ctx).legal;
    MUST(!r.legs, state, SHADOW_OP_DISCARD, ctx);
    MUST((r.kind == SHADOW_ROUTE_PUNCH) == legal, state, SHADOW_OP_DISCARD, ctx);
    if (!legal)
      MUST(r.kind == ((state & SHADOW_BUSY) ? SHADOW_ROUTE_WAIT : SHADOW_ROUTE_NOTHING), state,
           SHADOW_OP_DISCARD, ctx);
  });
}

TEST(Route, CopiesAreWhatTheHomeMeans) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    MUST(shadow_copies(state, &ctx) == Current(state, ctx), state, 0, ctx);
  });
}

// A write to a hole ends on a leg that is there, beyond the old end never on the origin.
TEST(Route, AHoleIsFilledWhereThereIsAPlace) {
  ForAllVolumes([](const shadow_ctx& ctx) {
    const shadow_step start = shadow_transition(SHADOW_HOLE, SHADOW_EV_FILL_START, &ctx);
    const shadow_step done =
        shadow_transition(SHADOW_FILLING | SHADOW_BUSY, SHADOW_EV_FILL_DONE, &ctx);
    MUST(start.legal == done.legal, SHADOW_HOLE, SHADOW_EV_FILL_START, ctx);
    if (ctx.phase == SHADOW_STEADY) {
      MUST(start.legal == (ctx.steady_leg == SHADOW_LEG_TARGET || !ctx.tail), SHADOW_HOLE,
           SHADOW_EV_FILL_START, ctx);
      return;
    }
    unsigned places = kBoth & ~ctx.missing;
    if (ctx.tail) places &= kTarget;
    if (places)
      MUST(done.legal && Current(done.next, ctx) == places, SHADOW_HOLE, SHADOW_EV_FILL_DONE, ctx);
    else if (ctx.tail)
      MUST(!done.legal, SHADOW_HOLE, SHADOW_EV_FILL_DONE, ctx);
  });
}

// ----------------------------------------------------------- metadata's homes

TEST(DiskHome, IsOneOfFourAndPromisesNoCopyThatIsNotCurrent) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    const Home disk = shadow_disk_home(state, &ctx);
    MUST(disk == SHADOW_ORIGIN || disk == SHADOW_MIRRORED || disk == SHADOW_TARGET ||
             disk == SHADOW_HOLE,
         state, disk, ctx);
    MUST((disk == SHADOW_HOLE) == IsHole(state), state, disk, ctx);
    MUST(!(Current(static_cast<u8>(disk), ctx) & ~Current(state, ctx)), state, disk, ctx);
  });
}

TEST(FromDisk, KeepsNoCopyThatMayBeStale) {
  ForAllVolumes([](const shadow_ctx& ctx) {
    for (const auto home : {SHADOW_ORIGIN, SHADOW_MIRRORED, SHADOW_TARGET, SHADOW_HOLE})
      for (int current = 0; current < 2; current++)
        for (int dirty = 0; dirty < 2; dirty++) {
          const Home h = shadow_from_disk(home, &ctx, current, dirty);
          const u8 was = static_cast<u8>(home);
          MUST((h == SHADOW_HOLE) == (home == SHADOW_HOLE), was, h, ctx);
          if (home == SHADOW_HOLE) continue;
          if (ctx.phase == SHADOW_STEADY || !current) {
            MUST(h == SHADOW_ORIGIN, was, h, ctx);  // there was no target when it was written
            continue;
          }
          if (home != SHADOW_MIRRORED || !dirty) {
            MUST(h == home, was, h, ctx);
            continue;
          }
          MUST(h == (ctx.phase == SHADOW_GRACE ? SHADOW_TARGET : SHADOW_ORIGIN), was, h, ctx);
        }
  });
}

TEST(FromDisk, ARestartInOrderFindsTheSameCopiesOrFewer) {
  ForAllStates([](u8 state, const shadow_ctx& ctx) {
    if (ctx.phase == SHADOW_STEADY) return;
    const Home home = shadow_from_disk(shadow_disk_home(state, &ctx), &ctx, true, false);
    MUST(!(Current(static_cast<u8>(home), ctx) & ~Current(state, ctx)), state, home, ctx);
    MUST(IsHole(state) || Current(static_cast<u8>(home), ctx), state, home, ctx);
  });
}

// ---------------------------------------- the table of states in docs/dm-shadow.rst

struct Row {
  const char* name;
  u8 state;
  u8 read_kind, read_legs;
  u8 write_kind, write_legs;
};

class StateTable : public testing::TestWithParam<Row> {};

TEST_P(StateTable, Holds) {
  const Row& row = GetParam();
  EXPECT_STREQ(shadow_home_name(shadow_home(row.state)), row.name);
  for (const u8 phase : {SHADOW_MIGRATING, SHADOW_GRACE}) {
    const shadow_ctx ctx{phase, SHADOW_READ_TARGET, SHADOW_LEG_ORIGIN, 0, false};
    const Route read = shadow_route(row.state, SHADOW_OP_READ, &ctx);
    const Route write = shadow_route(row.state, SHADOW_OP_WRITE, &ctx);
    EXPECT_EQ(read.kind, row.read_kind) << row.name;
    EXPECT_EQ(read.legs, row.read_legs) << row.name;
    EXPECT_EQ(write.kind, row.write_kind) << row.name;
    EXPECT_EQ(write.legs, row.write_legs) << row.name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, StateTable,
    testing::Values(
        Row{"origin", SHADOW_ORIGIN, SHADOW_ROUTE_LEG, kOrigin, SHADOW_ROUTE_LEG, kOrigin},
        Row{"copying", SHADOW_COPYING, SHADOW_ROUTE_LEG, kOrigin, SHADOW_ROUTE_MARK, kOrigin},
        Row{"copying", SHADOW_COPYING | SHADOW_WRITTEN, SHADOW_ROUTE_LEG, kOrigin,
            SHADOW_ROUTE_LEG, kOrigin},
        Row{"mirrored", SHADOW_MIRRORED, SHADOW_ROUTE_LEG, kTarget, SHADOW_ROUTE_BOTH, kBoth},
        Row{"retiring", SHADOW_RETIRING, SHADOW_ROUTE_LEG, kTarget, SHADOW_ROUTE_BOTH, kBoth},
        Row{"target", SHADOW_TARGET, SHADOW_ROUTE_LEG, kTarget, SHADOW_ROUTE_LEG, kTarget},
        Row{"remirroring", SHADOW_REMIRRORING, SHADOW_ROUTE_LEG, kTarget, SHADOW_ROUTE_MARK,
            kTarget},
        Row{"hole", SHADOW_HOLE, SHADOW_ROUTE_ZERO, 0, SHADOW_ROUTE_FILL, 0},
        Row{"filling", SHADOW_FILLING | SHADOW_BUSY, SHADOW_ROUTE_ZERO, 0, SHADOW_ROUTE_WAIT, 0}),
    [](const auto& info) {
      return std::string(info.param.name) + "_" + std::to_string(info.param.state);
    });

TEST(Names, AreTheDocumentsAndNeverRunOut) {
  const char* homes[] = {"origin", "copying",     "mirrored", "retiring",
                         "target", "remirroring", "hole",     "filling"};
  for (int i = 0; i < SHADOW_NR_HOMES; i++)
    EXPECT_STREQ(shadow_home_name(static_cast<Home>(i)), homes[i]);
  EXPECT_STREQ(shadow_home_name(static_cast<Home>(SHADOW_NR_HOMES)), "?");
  EXPECT_STREQ(shadow_phase_name(SHADOW_STEADY), "steady");
  EXPECT_STREQ(shadow_phase_name(SHADOW_MIGRATING), "migrating");
  EXPECT_STREQ(shadow_phase_name(SHADOW_GRACE), "grace");
  EXPECT_STREQ(shadow_phase_name(static_cast<shadow_phase>(SHADOW_NR_PHASES)), "?");
  const char* policies[] = {"target", "origin", "balance", "mirror"};
  for (int i = 0; i < SHADOW_NR_POLICIES; i++)
    EXPECT_STREQ(shadow_policy_name(static_cast<shadow_policy>(i)), policies[i]);
  EXPECT_STREQ(shadow_policy_name(static_cast<shadow_policy>(SHADOW_NR_POLICIES)), "?");
}

}  // namespace
