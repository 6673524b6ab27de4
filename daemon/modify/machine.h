// SPDX-License-Identifier: Apache-2.0
// The modification as a pure state machine: (state, event) -> (state, what to do now).
//
// A state names the one step that is being done. The runner (runner.h) makes the state durable,
// does the step, and feeds the outcome back; after a crash it does the step of the recorded state
// again, so every step can be repeated. Nothing here does I/O, reads time or allocates more than
// its answer.
//
// The steps of a move, and where each can turn back:
//
//   start -> trim -> backup -> make target -> attach -> grow fs -> copy -> catch up -> cut over ->
//   grace
//     |________|________|__________|_____________|_________|_________|________|____________|_________|
//        release target                                  stop copy -> remirror -> roll back
//                                                          -> abort target -> restore table
//                                                          -> release target -> end (ABORTED,
//                                                          FAILED)
//   grace -> commit -> detach -> grow fs at end -> release origin -> end (COMPLETED); from commit
//   on there is no way back. A file system that grows uses what the origin does not have, so it is
//   grown there, and before the copy (grow fs) only if that is asked for.
//
// In place: start -> backup -> [extend origin] -> attach -> [grow fs] -> [reduce origin] -> end;
// attach (the new table) is its point of no return.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/engine/engine.h"

namespace shadow {

enum class Kind : std::uint8_t {
  kMove,    // to a target leg, with or without a new size
  kGrow,    // in place
  kShrink,  // in place
};
inline constexpr int kKinds = 3;

enum class Step : std::uint8_t {
  kStart,
  kTrim,
  kBackup,
  kMakeTarget,
  kExtendOrigin,
  kAttach,
  kGrowFs,
  kCopy,
  kCatchUp,
  kCutover,
  kGrace,
  kCommit,
  kDetach,
  kGrowFsAtEnd,
  kReleaseOrigin,
  kReduceOrigin,
  kStopCopy,
  kRemirror,
  kRollBack,
  kAbortTarget,
  kRestoreTable,
  kReleaseTarget,
  kShrinkBack,
  kEnd,
};
inline constexpr int kSteps = static_cast<int>(Step::kEnd) + 1;

/// Why the modification turned back.
enum class Ending : std::uint8_t { kNone, kAbort, kRollBack, kFail };
inline constexpr int kEndings = 4;

struct MachineState {
  Kind kind = Kind::kMove;
  Step step = Step::kStart;
  Ending ending = Ending::kNone;
  bool paused = false;        // by the user, or because nobody but the user can help
  std::uint8_t attempts = 0;  // failures of this step in a row
  friend bool operator==(const MachineState&, const MachineState&) = default;
};

enum class ModEvent : std::uint8_t {
  kDone,      // the step is done
  kFailed,    // the step failed
  kNotReady,  // the step's condition does not hold any more, e.g. blocks turned up on one leg only
  kPause,
  kResume,
  kAbort,
  kRollBack,
  kCommit,
};
inline constexpr int kModEvents = 8;

struct Transition {
  MachineState state;
  bool accepted = true;      // false: a request that is wrong now; state is unchanged
  bool retry_later = false;  // do the step again, but after a while
  bool pause_mover = false;  // tell the kernel now
  bool resume_mover = false;
  bool left_out = false;  // the step that failed is given up, and the modification goes on
  std::string note;       // why: a sentence for the history, or the refusal
};

[[nodiscard]] Transition Apply(const MachineState& state, ModEvent event);

/// The phase people see.
[[nodiscard]] Phase PhaseOf(const MachineState& state);

/// Can this combination occur at all? (For exhaustive tests and for records read from disk.)
[[nodiscard]] bool IsValid(const MachineState& state);

/// "make-target", ...
[[nodiscard]] const char* StepName(Step step);

}  // namespace shadow
