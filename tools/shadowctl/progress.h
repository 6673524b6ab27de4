// SPDX-License-Identifier: Apache-2.0
// A modification's progress in one line. Pure: what is shown depends on the arguments only.
#pragma once

#include <cstdint>
#include <string>

#include "proto/shadow/v1/modification.pb.h"
#include "tools/shadowctl/terminal.h"

namespace shadow::ctl {

/// "copying", "cutting over", ...
[[nodiscard]] std::string PhaseWord(v1::Phase phase);
/// "COPYING", ...: without the prefix, as in JSON.
[[nodiscard]] std::string PhaseName(v1::Phase phase);
[[nodiscard]] Colour PhaseColour(v1::Phase phase);

/// The line for a terminal of `width` columns; at most width - 1 of them are used, so that it never
/// wraps. What matters least is left out first. `now_ms` is milliseconds since the epoch, for the
/// rest of the grace period.
[[nodiscard]] std::string ProgressLine(const v1::Modification& m, const Terminal& terminal,
                                       int width, std::int64_t now_ms);

/// The same as a line for a log: everything, no bar, no colours.
[[nodiscard]] std::string PlainLine(const v1::Modification& m);

/// What became of it, for when it has come to its end: one sentence.
[[nodiscard]] std::string OutcomeSentence(const v1::Modification& m);
/// What it took: lines that begin with two spaces.
[[nodiscard]] std::string OutcomeFigures(const v1::Modification& m);

/// "db0 moves from hdd to nvme and grows from 10.00 GiB to 15.00 GiB": what a plan means.
[[nodiscard]] std::string PlanSentence(const v1::Plan& plan);

}  // namespace shadow::ctl
