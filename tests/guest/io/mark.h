// SPDX-License-Identifier: Apache-2.0
// Marks in the log of a dm-log-writes device: what a program knows stands there between what was
// durable before and after it. Any thread.
#pragma once

#include <string>

namespace shadow::io {

/// Writes `text` (one word, at most 480 bytes) into the log of the device `name`. Exits the program
/// with a sentence if the log takes no mark.
void Mark(const std::string& name, const std::string& text);

}  // namespace shadow::io
