// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/removal.h"

namespace shadow {

Status RemoveLeg(const Deps& deps, const Leg& leg, const std::string& volume,
                 const std::string& modification, const std::string& why) {
  SHADOW_ASSIGN(const bool was_there, deps.legs->Remove(leg));
  if (!was_there) return Ok();
  Event e;
  e.at_ms = deps.clock->WallMs();
  e.volume = volume;
  e.modification_id = modification;
  e.severity = "info";
  e.what = "removed";
  e.message = "Removed the logical volume " + leg.device + " (UUID " + leg.id + "): " + why + ".";
  deps.emit(std::move(e));
  return Ok();
}

Status RemoveOrdered(const Deps& deps, const LegOrder& order, const std::string& why) {
  SHADOW_ASSIGN(const std::optional<Leg> found, deps.legs->FindMade(order));
  if (!found) return Ok();
  return RemoveLeg(deps, *found, order.volume, order.modification, why);
}

}  // namespace shadow
