// SPDX-License-Identifier: Apache-2.0
// The one way in which shadowd removes a logical volume.
//
// What may be removed is a leg of a record that says so: made_here (Make() returned it, and the
// same transaction that ended the step wrote it), or a delete that asked for the data to go. It is
// removed by LVM's UUID, and told as an event. What cannot be removed now is not removed later by
// itself: it stays, and doctor names it.
#pragma once

#include <string>

#include "daemon/modify/deps.h"

namespace shadow {

/// Why, as the end of a sentence: "its metadata is not needed any more".
[[nodiscard]] Status RemoveLeg(const Deps& deps, const Leg& leg, const std::string& volume,
                               const std::string& modification, const std::string& why);

/// Removes what Make() made of `order` just before a crash, if it is there. Only for an order that
/// a record says was under way.
[[nodiscard]] Status RemoveOrdered(const Deps& deps, const LegOrder& order, const std::string& why);

}  // namespace shadow
