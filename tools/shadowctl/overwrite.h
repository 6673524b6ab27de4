// SPDX-License-Identifier: Apache-2.0
// What is on a device is written over only if it is named: with --overwrite, or on a terminal when
// the daemon has found it and the user types it.
#pragma once

#include <string>

#include "daemon/base/result.h"
#include "tools/shadowctl/context.h"

namespace shadow::ctl {

inline constexpr const char* kOverwriteHelp =
    "Write over what is there: its types as the refusal names them, e.g. ext4";

inline constexpr const char* kUnstableNames = "--allow-unstable-names";
inline constexpr const char* kUnstableNamesHelp =
    "Take devices that have nothing but a name, which may be another's after a reboot";

/// The types that `error`'s hint wants named, "" if it is another error.
[[nodiscard]] std::string WantsOverwrite(const Error& error);

/// Asks for them on a terminal. "" : nobody there, or another answer.
[[nodiscard]] std::string AskOverwrite(Context& context, const Error& error);

/// `call(overwrite)` with what was given; once more with what the user types, if it is refused for
/// what is on the device.
template <typename F>
auto WithOverwrite(Context& context, const std::string& given, F call) {
  auto response = call(given);
  if (response.ok() || !given.empty()) return response;
  const std::string named = AskOverwrite(context, response.error());
  return named.empty() ? response : call(named);
}

}  // namespace shadow::ctl
