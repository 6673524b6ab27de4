// SPDX-License-Identifier: Apache-2.0
// Every state with every event, and random walks through a small model of the kernel.
#include "daemon/modify/machine.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <functional>
#include <set>

namespace shadow {
namespace {

void ForEveryState(const std::function<void(const MachineState&)>& look) {
  for (int kind = 0; kind < kKinds; ++kind) {
    for (int step = 0; step < kSteps; ++step) {
      for (int ending = 0; ending < kEndings; ++ending) {
        for (bool paused : {false, true}) {
          for (std::uint8_t attempts : {0, 1, 2, 4, 200}) {
            MachineState s{static_cast<Kind>(kind), static_cast<Step>(step),
                           static_cast<Ending>(ending), paused, attempts};
            if (IsValid(s)) look(s);
          }
        }
      }
    }
  }
}

std::string Show(const MachineState& s) {
  return std::string(StepName(s.step)) + " kind " + std::to_string(static_cast<int>(s.kind)) +
         " ending " + std::to_string(static_cast<int>(s.ending)) + (s.paused ? " paused" : "") +
         " attempts " + std::to_string(s.attempts);
}

TEST(Machine, EveryEventLeadsFromAValidStateToAValidState) {
  int pairs = 0;
  ForEveryState([&](const MachineState& s) {
    for (int e = 0; e < kModEvents; ++e) {
      const Transition t = Apply(s, static_cast<ModEvent>(e));
      EXPECT_TRUE(IsValid(t.state)) << Show(s) << " event " << e << " -> " << Show(t.state);
      if (!t.accepted) {
        EXPECT_EQ(t.state, s) << Show(s);
        EXPECT_FALSE(t.note.empty()) << Show(s);
      }
      ++pairs;
    }
  });
  EXPECT_GT(pairs, 1000);
}

TEST(Machine, TheEndIsTheEnd) {
  ForEveryState([](const MachineState& s) {
    if (s.step != Step::kEnd) return;
    EXPECT_TRUE(IsFinal(PhaseOf(s)));
    for (int e = 0; e < kModEvents; ++e) EXPECT_FALSE(Apply(s, static_cast<ModEvent>(e)).accepted);
  });
}

TEST(Machine, SuccessAlwaysEnds) {
  ForEveryState([](const MachineState& from) {
    MachineState s = from;
    for (int i = 0; i < 2 * kSteps; ++i) {
      if (s.step == Step::kEnd) return;
      s = Apply(s, ModEvent::kDone).state;
    }
    ADD_FAILURE() << Show(from) << " does not end";
  });
}

// Failure for ever either ends, or waits where only the user or a repaired device can help.
TEST(Machine, FailureEndsOrWaitsInAKnownPlace) {
  const std::set<Step> may_wait = {Step::kGrace, Step::kCommit, Step::kDetach, Step::kRestoreTable};
  ForEveryState([&](const MachineState& from) {
    MachineState s = from;
    s.attempts = 0;
    for (int i = 0; i < 100 && s.step != Step::kEnd && !s.paused; ++i) {
      s = Apply(s, ModEvent::kFailed).state;
    }
    EXPECT_TRUE(s.step == Step::kEnd || s.paused || may_wait.count(s.step) == 1) << Show(from);
  });
}

TEST(Machine, AbortIsPossibleUntilCommit) {
  ForEveryState([](const MachineState& s) {
    const bool before_commit = s.kind == Kind::kMove && s.step <= Step::kGrace;
    const Transition t = Apply(s, ModEvent::kAbort);
    const bool after_commit = s.step >= Step::kCommit && s.step <= Step::kReduceOrigin;
    EXPECT_TRUE(!before_commit || t.accepted) << Show(s);
    EXPECT_TRUE(!after_commit || !t.accepted) << Show(s);
    if (!t.accepted) return;
    MachineState end = t.state;
    for (int i = 0; i < kSteps && end.step != Step::kEnd; ++i) {
      EXPECT_NE(end.step, Step::kCommit);
      EXPECT_NE(end.step, Step::kReleaseOrigin);
      end = Apply(end, ModEvent::kDone).state;
    }
    EXPECT_EQ(PhaseOf(end), Phase::kAborted) << Show(s);
  });
}

TEST(Machine, PhasesOfAMove) {
  MachineState s;
  std::vector<Phase> seen;
  while (true) {
    if (seen.empty() || seen.back() != PhaseOf(s)) seen.push_back(PhaseOf(s));
    if (s.step == Step::kEnd) break;
    s = Apply(s, ModEvent::kDone).state;
  }
  EXPECT_EQ(seen, (std::vector<Phase>{Phase::kPlanned, Phase::kPreparing, Phase::kCopying,
                                      Phase::kCatchingUp, Phase::kCuttingOver, Phase::kGrace,
                                      Phase::kDecommissioning, Phase::kCompleted}));
}

TEST(Machine, PauseAndResume) {
  MachineState s;
  s.step = Step::kCopy;
  Transition t = Apply(s, ModEvent::kPause);
  EXPECT_TRUE(t.pause_mover);
  EXPECT_EQ(PhaseOf(t.state), Phase::kPaused);
  t = Apply(t.state, ModEvent::kResume);
  EXPECT_TRUE(t.resume_mover);
  EXPECT_EQ(PhaseOf(t.state), Phase::kCopying);
  EXPECT_FALSE(Apply(t.state, ModEvent::kResume).accepted);
  s.step = Step::kGrace;
  EXPECT_FALSE(Apply(s, ModEvent::kPause).accepted);
}

// What the kernel would hold. Steps change it when they succeed; the adversary moves blocks.
struct World {
  bool target_made = false, attached = false, grace = false, committed = false, aborted = false;
  bool only_origin = true, only_target = false;
  bool origin_gone = false, target_gone = false;
};

// Does the step. The kernel's refusals come back as kNotReady.
ModEvent DoStep(Step step, World* w) {
  switch (step) {
    case Step::kMakeTarget:
      w->target_made = true;
      break;
    case Step::kAttach:
      w->attached = true;
      break;
    case Step::kCopy:
      w->only_origin = false;
      break;
    case Step::kCutover:
      if (!w->grace && w->only_origin) return ModEvent::kNotReady;
      w->grace = true;
      break;
    case Step::kCommit:
      if (w->only_origin || !w->grace) return ModEvent::kNotReady;
      w->committed = true;
      break;
    case Step::kReleaseOrigin:
      w->origin_gone = true;
      break;
    case Step::kRemirror:
      w->only_target = false;
      break;
    case Step::kRollBack:
      if (w->grace && w->only_target) return ModEvent::kNotReady;
      w->grace = false;
      break;
    case Step::kAbortTarget:
      if (w->attached && (w->only_target || w->grace)) return ModEvent::kNotReady;
      w->aborted = w->attached;
      break;
    case Step::kReleaseTarget:
      w->target_gone = true;
      break;
    default:
      break;
  }
  return ModEvent::kDone;
}

RC_GTEST_PROP(Machine, RandomWalksNeverLoseTheLastCopy, ()) {
  const auto moves = *rc::gen::container<std::vector<int>>(200, rc::gen::inRange(0, 13));
  MachineState s;
  World w;
  for (int move : moves) {
    if (s.step == Step::kEnd) break;
    const Step step = s.step;
    ModEvent event = ModEvent::kDone;
    if (move < 6) {
      if (s.paused && (step == Step::kCopy || step == Step::kCatchUp)) continue;
      event = DoStep(step, &w);
      // A crash right after the effect: the state was not recorded, the step is done again.
      if (move == 5) event = DoStep(step, &w);
    } else if (move == 6) {
      event = ModEvent::kFailed;
    } else if (move == 7) {
      // Mirrored blocks may be retired, or lose a copy to a failing leg, while both legs are
      // attached.
      if (w.attached && !w.committed && !w.aborted)
        (w.grace ? w.only_target : w.only_origin) = true;
      continue;
    } else {
      event = static_cast<ModEvent>(move - 5);  // 8.. pause, resume, abort, roll back
    }
    s = Apply(s, event).state;
    RC_ASSERT(IsValid(s));
    // The last copy is never dropped.
    RC_ASSERT(!(w.origin_gone && w.target_gone));
    if (w.origin_gone) RC_ASSERT(w.committed);
    if (w.target_gone && w.attached) RC_ASSERT(w.aborted);
    if (w.committed) RC_ASSERT(!w.aborted);
  }
  // From wherever the walk stopped, success and the user's patience end it.
  for (int i = 0; i < 100 && s.step != Step::kEnd; ++i) {
    if (s.paused) s = Apply(s, ModEvent::kResume).state;
    s = Apply(s, DoStep(s.step, &w)).state;
  }
  RC_ASSERT(s.step == Step::kEnd);
}

}  // namespace
}  // namespace shadow
