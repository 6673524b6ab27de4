// SPDX-License-Identifier: Apache-2.0
// Gives an old origin the signatures back that were wiped from it when its volume had moved away.
//
// They are written only where nothing but zeroes or they themselves can be: every signature that is
// there now must be one of them. A crash in between leaves some of them; done again it writes all.
#include <algorithm>

#include "daemon/engine/engine_impl.h"
#include "daemon/modify/tables.h"

namespace shadow {

Result<std::string> EngineImpl::RestoreOrigin(const std::string& id) {
  SHADOW_ASSIGN(const std::optional<ModificationRecord> found, deps_.store->FindModification(id));
  if (!found) {
    return MakeError(Code::kNotFound, "There is no modification " + id + ".",
                     "shadowctl op list shows them");
  }
  ModificationRecord record = *found;
  if (record.state.step != Step::kEnd || record.wiped.empty()) {
    return MakeError(
        Code::kFailedPrecondition, "Nothing was wiped from the old origin of " + id + ".",
        "signatures are wiped at the end of a move, from a device that shadowd does not remove");
  }
  std::vector<DeviceBytes> saved;
  for (const std::string& text : record.wiped) {
    const auto bytes = ParseBytes(text);
    if (!bytes) return MakeError(Code::kDataLoss, "The record of " + id + " is damaged.");
    saved.push_back(*bytes);
  }
  SHADOW_ASSIGN(const DeviceIdentity device, deps_.identities->Resolve(record.origin.id));
  SHADOW_ASSIGN(const std::optional<DeviceOwner> owner, deps_.store->OwnerOf(record.origin.id));
  if (owner) {
    return MakeError(
        Code::kFailedPrecondition,
        device.path + " is the " + owner->role + " of the volume " + owner->volume + " now.",
        "its content is not the old copy any more");
  }
  SHADOW_ASSIGN(const std::string user, deps_.guard->UsedBy(device.path));
  if (!user.empty()) {
    return MakeError(Code::kFailedPrecondition, device.path + " is in use: " + user + ".",
                     "unmount it and close what has it open");
  }
  SHADOW_ASSIGN(const std::vector<DeviceBytes> there, deps_.guard->SignatureBytes(device.path));
  for (const DeviceBytes& one : there) {
    if (std::count(saved.begin(), saved.end(), one) > 0) continue;
    SHADOW_ASSIGN(const std::vector<Signature> what, deps_.guard->Signatures(device.path));
    return MakeError(Code::kFailedPrecondition,
                     "Somebody has written to " + device.path + " since (" + ToText(what) + ").",
                     "the old copy is gone; nothing was changed");
  }
  SHADOW_TRY(deps_.guard->WriteBytes(device.path, saved));
  record.wiped.clear();
  ModificationUpdate update;
  update.record = &record;
  SHADOW_TRY(deps_.store->PutModification(update));
  Say("info", "origin_free", record.volume,
      "The old origin " + device.path + " has its signatures again; it holds an old copy.");
  return device.path;
}

}  // namespace shadow
