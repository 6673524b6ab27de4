// SPDX-License-Identifier: Apache-2.0
// The one way in for a device that a user, or a class of devices, brings: an origin, a target, a
// tier, a place for metadata.
//
// Admit() looks when it is planned: is it there, large enough, nobody's, used by nobody, not on the
// volume itself, has it an identity that lasts, and may be written over what is on it? The record
// that plans its use then takes it (Store::OwnerOf). HoldForWriting() looks again right before the
// first write, under an exclusive hold that is kept until the table has the device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "daemon/modify/deps.h"

namespace shadow {

/// What a request allows, of what is refused otherwise.
struct Allowed {
  std::string overwrite;        // types that may be written over, "ext4,gpt"
  bool unstable_names = false;  // a device with nothing but a name to be known by
};

struct Admission {
  std::string role;               // "origin", "target", "metadata", "tier1", "tier2"
  std::string volume;             // the volume it is for
  std::string volume_uuid;        // "" while there is none
  std::uint64_t least_bytes = 0;  // smaller is kOutOfSpace
  std::uint32_t most_sector = 0;  // largest logical block, bytes; 0: any
  bool keeps_content = false;     // imported: nothing is written over
  bool from_class = false;        // nobody named it: it must be blank, or known to be free
  Allowed allowed;
};

/// The device as a leg. Errors say who has it or what is on it, and what to do.
[[nodiscard]] Result<Leg> Admit(const Deps& deps, const std::string& path, const Admission& how);

/// The smallest device of the class that Admit() lets in. kOutOfSpace says what was wrong with
/// each.
[[nodiscard]] Result<Leg> AdmitFromClass(const Deps& deps, const std::string& storage_class,
                                         const Admission& how);

/// Holds the leg, and looks at it again. What is returned is let go before the table is loaded.
[[nodiscard]] Result<std::unique_ptr<DeviceHold>> HoldForWriting(const Deps& deps, const Leg& leg,
                                                                 const Admission& how);

/// Remembers what a volume leaves on a device that it gives back: shadowd's own data (then the
/// device can be used again as long as nobody else writes a signature there) or somebody's.
[[nodiscard]] Status RememberReleased(const Deps& deps, const Leg& leg, bool reusable,
                                      const std::string& note);

}  // namespace shadow
