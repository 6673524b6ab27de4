// SPDX-License-Identifier: Apache-2.0
// Is all well, and if not, what is to be done? One answer for the dashboard and for GetHealth.
//
// A pure function of what the engine says: no I/O, no clock. A sentence for the host and for each
// volume, and things to do with the command for each, worst first.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/engine/engine.h"

namespace shadow {

enum class HealthLevel : std::uint8_t { kOk, kBusy, kWarning, kError };
/// "ok", "busy" (all is well, a modification runs), "warning", "error".
[[nodiscard]] const char* HealthName(HealthLevel level);

/// What the answer is made of.
struct HealthInput {
  std::vector<VolumeInfo> volumes;
  std::vector<ModificationInfo> modifications;  // running ones, and the newest of each volume
  std::vector<ClassInfo> classes;
  std::vector<Check> checks;  // of doctor; may be empty
};

struct VolumeHealth {
  std::string volume;
  HealthLevel level = HealthLevel::kOk;
  std::string sentence;
};

/// Something to do.
struct Todo {
  HealthLevel level = HealthLevel::kWarning;
  std::string volume;    // "" for the host
  std::string sentence;  // what is the matter
  std::string command;   // what to type; "" when it is not one command
  std::string hint;      // in words; may be ""
};

struct Health {
  HealthLevel level = HealthLevel::kOk;
  std::string sentence;
  std::vector<VolumeHealth> volumes;  // in the order of the input
  std::vector<Todo> todos;            // worst first
};

[[nodiscard]] Health Assess(const HealthInput& input);

}  // namespace shadow
