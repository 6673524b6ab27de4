// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/machine.h"

#include <array>

namespace shadow {
namespace {

constexpr std::uint8_t kForever = 255;

// What a step means for the machine: how often it may fail, and what then.
enum class GiveUp : std::uint8_t {
  kIgnore,  // go on: it was only a service
  kFail,    // turn back, end in FAILED
  kStuck,   // turning back is impossible now: stop and wait for the user
  kNever,   // no other way than this: try for ever
};

struct StepRow {
  Step step;
  const char* name;
  Phase phase;
  std::uint8_t attempts;
  GiveUp give_up;
};

constexpr std::array<StepRow, kSteps> kRows = {{
    {Step::kStart, "start", Phase::kPlanned, 1, GiveUp::kFail},
    {Step::kTrim, "trim", Phase::kPreparing, 1, GiveUp::kIgnore},
    {Step::kBackup, "backup", Phase::kPreparing, 1, GiveUp::kIgnore},
    {Step::kMakeTarget, "make-target", Phase::kPreparing, 1, GiveUp::kFail},
    {Step::kExtendOrigin, "extend-origin", Phase::kPreparing, 1, GiveUp::kFail},
    {Step::kAttach, "attach", Phase::kPreparing, 1, GiveUp::kFail},
    {Step::kGrowFs, "grow-filesystem", Phase::kPreparing, 1, GiveUp::kIgnore},
    {Step::kCopy, "copy", Phase::kCopying, 5, GiveUp::kFail},
    {Step::kCatchUp, "catch-up", Phase::kCatchingUp, 5, GiveUp::kFail},
    {Step::kCutover, "cut-over", Phase::kCuttingOver, 5, GiveUp::kFail},
    {Step::kGrace, "grace", Phase::kGrace, kForever, GiveUp::kNever},
    {Step::kCommit, "commit", Phase::kDecommissioning, kForever, GiveUp::kNever},
    {Step::kDetach, "detach", Phase::kDecommissioning, kForever, GiveUp::kNever},
    {Step::kGrowFsAtEnd, "grow-filesystem-at-end", Phase::kDecommissioning, 3, GiveUp::kIgnore},
    {Step::kReleaseOrigin, "release-origin", Phase::kDecommissioning, 3, GiveUp::kIgnore},
    {Step::kReduceOrigin, "reduce-origin", Phase::kDecommissioning, 3, GiveUp::kIgnore},
    {Step::kStopCopy, "stop-copy", Phase::kAborting, 3, GiveUp::kIgnore},
    {Step::kRemirror, "remirror", Phase::kAborting, 5, GiveUp::kStuck},
    {Step::kRollBack, "roll-back", Phase::kAborting, 5, GiveUp::kStuck},
    {Step::kAbortTarget, "abort-target", Phase::kAborting, 5, GiveUp::kStuck},
    {Step::kRestoreTable, "restore-table", Phase::kAborting, kForever, GiveUp::kNever},
    {Step::kReleaseTarget, "release-target", Phase::kAborting, 3, GiveUp::kIgnore},
    {Step::kShrinkBack, "shrink-back", Phase::kAborting, 3, GiveUp::kIgnore},
    {Step::kEnd, "end", Phase::kCompleted, 1, GiveUp::kIgnore},
}};

const StepRow& RowOf(Step step) { return kRows.at(static_cast<std::size_t>(step)); }

Step NextOfMove(Step step) {
  switch (step) {
    case Step::kStart:
      return Step::kTrim;
    case Step::kTrim:
      return Step::kBackup;
    case Step::kBackup:
      return Step::kMakeTarget;
    case Step::kMakeTarget:
      return Step::kAttach;
    case Step::kAttach:
      return Step::kGrowFs;
    case Step::kGrowFs:
      return Step::kCopy;
    case Step::kCopy:
      return Step::kCatchUp;
    case Step::kCatchUp:
      return Step::kCutover;
    case Step::kCutover:
      return Step::kGrace;
    case Step::kGrace:
      return Step::kCommit;
    case Step::kCommit:
      return Step::kDetach;
    case Step::kDetach:
      return Step::kGrowFsAtEnd;
    case Step::kGrowFsAtEnd:
      return Step::kReleaseOrigin;
    case Step::kStopCopy:
      return Step::kRemirror;
    case Step::kRemirror:
      return Step::kRollBack;
    case Step::kRollBack:
      return Step::kAbortTarget;
    case Step::kAbortTarget:
      return Step::kRestoreTable;
    case Step::kRestoreTable:
      return Step::kReleaseTarget;
    default:
      return Step::kEnd;
  }
}

Step NextInPlace(Kind kind, Step step) {
  const bool grow = kind == Kind::kGrow;
  switch (step) {
    case Step::kStart:
      return Step::kBackup;
    case Step::kBackup:
      return grow ? Step::kExtendOrigin : Step::kAttach;
    case Step::kExtendOrigin:
      return Step::kAttach;
    case Step::kAttach:
      return grow ? Step::kGrowFs : Step::kReduceOrigin;
    default:
      return Step::kEnd;
  }
}

MachineState GoTo(MachineState state, Step step) {
  state.step = step;
  state.attempts = 0;
  return state;
}

MachineState Done(const MachineState& state) {
  const Step next =
      state.kind == Kind::kMove ? NextOfMove(state.step) : NextInPlace(state.kind, state.step);
  MachineState out = GoTo(state, next);
  // A pause means the copying: nothing of it is left behind once that is over.
  if (next == Step::kCutover) out.paused = false;
  return out;
}

// The first step of the way back from `step`; kEnd when nothing was done yet. kStart: there is
// none.
Step WayBack(Kind kind, Step step) {
  if (step == Step::kStart) return Step::kEnd;
  if (kind == Kind::kMove) {
    if (step <= Step::kMakeTarget) return Step::kReleaseTarget;
    if (step <= Step::kGrace) return Step::kStopCopy;
    return Step::kStart;
  }
  if (step == Step::kBackup) return Step::kEnd;
  if (step == Step::kExtendOrigin) return Step::kShrinkBack;
  // The new table did not get in: the old one runs on.
  if (step == Step::kAttach) return kind == Kind::kGrow ? Step::kShrinkBack : Step::kEnd;
  return Step::kStart;
}

bool IsTurningBack(const MachineState& state) { return state.ending != Ending::kNone; }

MachineState TurnBack(const MachineState& state, Ending ending) {
  MachineState out = GoTo(state, WayBack(state.kind, state.step));
  out.ending = ending;
  out.paused = false;
  return out;
}

// The way back is barred. Before the kernel rolled back the volume is whole in grace; else the copy
// waits, and the user decides.
MachineState Stuck(const MachineState& state) {
  const bool still_in_grace = state.ending == Ending::kRollBack && state.step != Step::kAbortTarget;
  MachineState out = GoTo(state, still_in_grace ? Step::kGrace : Step::kCopy);
  out.ending = Ending::kNone;
  out.paused = !still_in_grace;
  return out;
}

Transition Failed(const MachineState& state) {
  const StepRow& row = RowOf(state.step);
  Transition t;
  t.state = state;
  if (row.attempts == kForever || state.attempts + 1 < row.attempts) {
    if (t.state.attempts < kForever - 1) ++t.state.attempts;
    t.retry_later = true;
    t.note = std::string("The step ") + row.name + " failed and is tried again.";
    return t;
  }
  switch (row.give_up) {
    case GiveUp::kIgnore:
      t.state = Done(state);
      t.left_out = true;
      t.note =
          std::string("The step ") + row.name + " failed; the modification goes on without it.";
      break;
    case GiveUp::kFail:
      t.state = TurnBack(state, Ending::kFail);
      t.note =
          std::string("The step ") + row.name + " failed; the volume goes back to where it was.";
      break;
    case GiveUp::kStuck:
    case GiveUp::kNever:
      t.state = Stuck(state);
      t.pause_mover = t.state.paused;
      t.note = std::string("The step ") + row.name +
               " failed for good: there is no way back now, and nothing was changed.";
      break;
  }
  return t;
}

Transition NotReady(const MachineState& state) {
  const bool forth =
      state.step == Step::kCatchUp || state.step == Step::kCutover || state.step == Step::kCommit;
  const bool back = state.step == Step::kRollBack || state.step == Step::kAbortTarget;
  if (!forth && !back) return Failed(state);
  // Counted like a failure, so that two steps do not send each other round for ever.
  if (back && state.attempts + 1 >= RowOf(state.step).attempts) return Failed(state);
  Transition t;
  t.state = state;
  if (forth) {
    t.state = GoTo(state, Step::kCopy);
    t.note = "Blocks turned up that are not on the target: they are copied first.";
  } else {
    ++t.state.attempts;
    t.retry_later = true;
    t.note = "Blocks turned up that are not on the origin.";
  }
  return t;
}

Transition Refuse(const MachineState& state, std::string why) {
  Transition t;
  t.state = state;
  t.accepted = false;
  t.note = std::move(why);
  return t;
}

bool MayPause(const MachineState& state) {
  return state.kind == Kind::kMove && state.step <= Step::kCatchUp && !IsTurningBack(state);
}

Transition Pause(const MachineState& state) {
  if (!MayPause(state)) return Refuse(state, "Nothing is being copied that could be paused.");
  Transition t;
  t.state = state;
  t.state.paused = true;
  t.pause_mover = state.step >= Step::kCopy;
  t.note = "Paused.";
  return t;
}

Transition Resume(const MachineState& state) {
  if (!state.paused) return Refuse(state, "The modification is not paused.");
  Transition t;
  t.state = state;
  t.state.paused = false;
  t.state.attempts = 0;
  t.resume_mover = state.step >= Step::kCopy;
  t.note = "Resumed.";
  return t;
}

Transition Abort(const MachineState& state, Ending ending) {
  if (ending == Ending::kRollBack && state.step != Step::kGrace) {
    return Refuse(state, "The modification is not in its grace period.");
  }
  if (IsTurningBack(state)) return Refuse(state, "The modification is turning back already.");
  const bool too_late = WayBack(state.kind, state.step) == Step::kStart ||
                        (state.kind != Kind::kMove && state.step == Step::kAttach);
  if (too_late) return Refuse(state, "It is too late to turn back: the change has been made.");
  Transition t;
  t.state = TurnBack(state, state.step == Step::kGrace ? Ending::kRollBack : ending);
  t.note = state.step == Step::kGrace ? "Rolling back." : "Aborting.";
  t.resume_mover = state.paused && state.step >= Step::kCopy;
  return t;
}

}  // namespace

Transition Apply(const MachineState& state, ModEvent event) {
  if (state.step == Step::kEnd) return Refuse(state, "The modification is over.");
  switch (event) {
    case ModEvent::kDone: {
      Transition t;
      t.state = Done(state);
      return t;
    }
    case ModEvent::kFailed:
      return Failed(state);
    case ModEvent::kNotReady:
      return NotReady(state);
    case ModEvent::kPause:
      return Pause(state);
    case ModEvent::kResume:
      return Resume(state);
    case ModEvent::kAbort:
      return Abort(state, Ending::kAbort);
    case ModEvent::kRollBack:
      return Abort(state, Ending::kRollBack);
    case ModEvent::kCommit: {
      if (state.step != Step::kGrace) {
        return Refuse(state, "The modification is not in its grace period.");
      }
      Transition t;
      t.state = GoTo(state, Step::kCommit);
      t.note = "Committed before the grace period was over.";
      return t;
    }
  }
  return Refuse(state, "Unknown event.");
}

Phase PhaseOf(const MachineState& state) {
  const bool copying = state.step == Step::kCopy || state.step == Step::kCatchUp;
  if (state.paused && copying) return Phase::kPaused;
  if (state.step == Step::kEnd) {
    switch (state.ending) {
      case Ending::kNone:
        return Phase::kCompleted;
      case Ending::kFail:
        return Phase::kFailed;
      default:
        return Phase::kAborted;
    }
  }
  const Phase phase = RowOf(state.step).phase;
  if (phase == Phase::kAborting && state.ending == Ending::kRollBack) return Phase::kRollingBack;
  return phase;
}

bool IsValid(const MachineState& state) {
  const int step = static_cast<int>(state.step);
  if (step < 0 || step >= kSteps || static_cast<int>(state.kind) >= kKinds ||
      static_cast<int>(state.ending) >= kEndings) {
    return false;
  }
  const bool back = state.step >= Step::kStopCopy && state.step <= Step::kShrinkBack;
  if (state.step != Step::kEnd && back != IsTurningBack(state)) return false;
  if (state.paused && !MayPause(state)) return false;
  if (state.ending == Ending::kRollBack && state.kind != Kind::kMove) return false;
  const bool in_place_only = state.step == Step::kExtendOrigin ||
                             state.step == Step::kReduceOrigin || state.step == Step::kShrinkBack;
  if (state.kind == Kind::kMove) return !in_place_only;
  switch (state.step) {
    case Step::kStart:
    case Step::kBackup:
    case Step::kAttach:
    case Step::kEnd:
      return true;
    case Step::kExtendOrigin:
    case Step::kGrowFs:
    case Step::kShrinkBack:
      return state.kind == Kind::kGrow;
    case Step::kReduceOrigin:
      return state.kind == Kind::kShrink;
    default:
      return false;
  }
}

const char* StepName(Step step) { return RowOf(step).name; }

}  // namespace shadow
