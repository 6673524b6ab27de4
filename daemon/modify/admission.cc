// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/admission.h"

#include <algorithm>

#include "daemon/base/sizes.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

// What is on a device that no signature tells of.
constexpr const char* kUnknownData = "data";

Error Refused(std::string message, std::string hint) {
  return MakeError(Code::kFailedPrecondition, std::move(message), std::move(hint));
}

bool Names(const std::string& list, const std::string& type) {
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    if (list.compare(at, end - at, type) == 0) return true;
    at = end + 1;
  }
  return false;
}

// Tells whether somebody wrote another file system there since.
std::string Fingerprint(const std::vector<Signature>& signatures) {
  std::string text;
  for (const Signature& s : signatures) text += s.type + " " + s.label + " " + s.uuid + "\n";
  return text;
}

Status CheckShape(const BlockInfo& info, const Admission& how) {
  if (info.read_only) return Refused(info.path + " is read-only.", "name another device");
  if (info.zoned) {
    return MakeError(Code::kInvalidArgument, info.path + " is a zoned device.",
                     "name a device without zones");
  }
  if (how.most_sector != 0 && info.logical_block > how.most_sector) {
    return MakeError(Code::kInvalidArgument,
                     "The sectors of " + info.path + " are larger than the origin's (" +
                         std::to_string(info.logical_block) + " and " +
                         std::to_string(how.most_sector) + " bytes).",
                     "name a device with the same sector size");
  }
  if (info.size_bytes >= how.least_bytes) return Ok();
  return MakeError(Code::kOutOfSpace,
                   info.path + " is too small: it has " + FormatSize(info.size_bytes) + ", " +
                       FormatSize(how.least_bytes) + " are needed.",
                   "name a larger device");
}

// Records of earlier versions know some devices by another of their identities.
Result<std::optional<DeviceOwner>> OwnerByAnyIdentity(const Deps& deps, const Leg& leg) {
  SHADOW_ASSIGN(const std::optional<DeviceOwner> owner, deps.store->OwnerOf(leg.id));
  if (owner || leg.logical_volume) return owner;
  SHADOW_ASSIGN(const auto owners, deps.store->Owners());
  const auto here = deps.identities->Identify(leg.device);
  for (const auto& [id, one] : owners) {
    if (id.find(':') == std::string::npos) continue;  // a logical volume
    const auto found = deps.identities->Resolve(id);
    if (!found.ok() || !here.ok()) continue;
    if (found->major == here->major && found->minor == here->minor)
      return std::optional<DeviceOwner>(one);
  }
  return std::optional<DeviceOwner>();
}

// No volume has it, active or not.
Status CheckOwner(const Deps& deps, const Leg& leg, const Admission& how) {
  SHADOW_ASSIGN(const std::optional<DeviceOwner> owner, OwnerByAnyIdentity(deps, leg));
  if (!owner) return Ok();
  if (owner->volume == how.volume) {
    return MakeError(Code::kInvalidArgument,
                     leg.device + " is the " + owner->role + " of " + owner->volume + " already.",
                     "name another device");
  }
  return Refused(
      leg.device + " is in use: it is the " + owner->role + " of the volume " + owner->volume + ".",
      "name another device");
}

// It does not lie on the volume itself, nor on a leg of any volume.
Status CheckStack(const Deps& deps, const std::string& path, const Admission& how) {
  SHADOW_ASSIGN(const std::vector<StackedDevice> stack, deps.guard->Stack(path));
  for (const StackedDevice& below : stack) {
    if (!how.volume_uuid.empty() && below.dm_uuid == DmUuid(how.volume_uuid)) {
      return MakeError(Code::kInvalidArgument,
                       &below == &stack.front()
                           ? "A volume cannot be its own " + how.role + "."
                           : path + " lies on the volume " + how.volume + " itself.",
                       "name another device");
    }
    if (&below == &stack.front() || below.under_shadow) continue;
    const auto identity =
        deps.identities->Identify(below.name[0] == '/'    ? below.name
                                  : below.dm_name.empty() ? "/dev/" + below.name
                                                          : "/dev/mapper/" + below.dm_name);
    if (!identity.ok()) continue;
    SHADOW_ASSIGN(const std::optional<DeviceOwner> owner, deps.store->OwnerOf(identity->id));
    if (!owner) continue;
    return Refused(path + " lies on the " + owner->role + " of the volume " + owner->volume + ".",
                   "name another device");
  }
  return Ok();
}

Status CheckUse(const Deps& deps, const std::string& path) {
  SHADOW_ASSIGN(const std::string user, deps.guard->UsedBy(path));
  if (user.empty()) return Ok();
  return Refused(path + " is in use: " + user + ".",
                 "unmount it or close what has it open, or name another device");
}

// Will it be found again after a reboot, and no other in its place?
Status CheckLasting(const Deps& deps, const std::string& path, const Admission& how, Leg* leg) {
  SHADOW_ASSIGN(const DeviceIdentity identity, deps.identities->Identify(path));
  leg->by_name = !identity.Lasts();
  if (identity.Lasts() || how.allowed.unstable_names) return Ok();
  const bool mapped = identity.id.rfind("dmname:", 0) == 0;
  return Refused(
      path + " has nothing but its name to be known by (" +
          (mapped ? "no device-mapper UUID" : "no WWN, NGUID or serial number, no PARTUUID") +
          "): after a reboot another device may have it.",
      std::string(mapped ? "make it with a UUID (dmsetup create --uuid)"
                         : "give it an identity: a partition with a PARTUUID (GPT), or "
                           "LVM on it") +
          "; or insist with --allow-unstable-names");
}

// May what is on it be written over?
Status CheckContent(const Deps& deps, const Leg& leg, const Admission& how) {
  if (how.keeps_content) return Ok();
  SHADOW_ASSIGN(const std::vector<Signature> found, deps.guard->Signatures(leg.device));
  SHADOW_ASSIGN(const std::optional<ReleasedDevice> before, deps.store->FindReleased(leg.id));
  if (before && before->reusable && before->signatures == Fingerprint(found)) return Ok();
  const bool named = std::all_of(found.begin(), found.end(), [&](const Signature& s) {
    return Names(how.allowed.overwrite, s.type);
  });
  if (!found.empty() && !named) {
    return Refused(
        leg.device + " holds data (" + ToText(found) + ").",
        "if it is not needed: --overwrite " + TypesOf(found) + "; to keep it, import it");
  }
  if (!found.empty()) return Ok();  // named, all of it
  const bool somebodys = before && !before->reusable;
  if (!somebodys && !how.from_class) return Ok();
  if (Names(how.allowed.overwrite, kUnknownData)) return Ok();
  SHADOW_ASSIGN(const bool blank, deps.guard->LooksBlank(leg.device));
  if (blank) return Ok();
  return Refused(leg.device + " holds data" + (somebodys ? ": " + before->note : "") + ".",
                 std::string("if they are not needed: --overwrite ") + kUnknownData);
}

}  // namespace

Result<Leg> Admit(const Deps& deps, const std::string& path, const Admission& how) {
  SHADOW_ASSIGN(const BlockInfo info, deps.blocks->Describe(path));
  SHADOW_ASSIGN(Leg leg, deps.legs->Describe(path));
  leg.size_bytes = info.size_bytes;
  leg.given = !how.keeps_content;
  SHADOW_TRY(CheckOwner(deps, leg, how));
  SHADOW_TRY(CheckStack(deps, path, how));
  SHADOW_TRY(CheckShape(info, how));
  SHADOW_TRY(CheckUse(deps, path));
  SHADOW_TRY(CheckLasting(deps, path, how, &leg));
  SHADOW_TRY(CheckContent(deps, leg, how));
  return leg;
}

Result<Leg> AdmitFromClass(const Deps& deps, const std::string& storage_class,
                           const Admission& asked) {
  Admission how = asked;
  how.from_class = true;
  SHADOW_ASSIGN(const std::vector<ClassInfo> classes, deps.legs->ListClasses());
  const auto it = std::find_if(classes.begin(), classes.end(),
                               [&](const ClassInfo& c) { return c.name == storage_class; });
  if (it == classes.end()) {
    return MakeError(Code::kNotFound, "There is no storage class " + storage_class + ".",
                     "name one in shadowd.toml, or give the path of a device");
  }
  std::optional<Leg> best;
  std::string why;
  for (const std::string& device : it->devices) {
    auto leg = Admit(deps, device, how);
    if (!leg.ok()) {
      why += (why.empty() ? "" : " ") + leg.error().message;
    } else if (!best || leg->size_bytes < best->size_bytes) {
      best = std::move(*leg);
    }
  }
  if (best) {
    best->storage_class = storage_class;
    return *best;
  }
  return MakeError(Code::kOutOfSpace,
                   "No device of class " + storage_class + " can be used for " +
                       FormatSize(how.least_bytes) + ". " + why,
                   "add one to the class, free one, or name another class");
}

Result<std::unique_ptr<DeviceHold>> HoldForWriting(const Deps& deps, const Leg& planned,
                                                   const Admission& how) {
  const Leg leg = Located(*deps.identities, planned);
  SHADOW_ASSIGN(const BlockInfo info, deps.blocks->Describe(leg.device));
  SHADOW_TRY(CheckShape(info, how));
  SHADOW_TRY(CheckUse(deps, leg.device));
  SHADOW_ASSIGN(std::unique_ptr<DeviceHold> hold, deps.guard->Hold(leg.device));
  SHADOW_TRY(CheckContent(deps, leg, how));
  return hold;
}

Status RememberReleased(const Deps& deps, const Leg& leg, bool reusable, const std::string& note) {
  if (leg.id.empty()) return Ok();
  const auto found = deps.guard->Signatures(Located(*deps.identities, leg).device);
  ReleasedDevice device;
  device.id = leg.id;
  device.reusable = reusable && found.ok();
  if (found.ok()) device.signatures = Fingerprint(*found);
  device.note = note;
  return deps.store->PutReleased(device);
}

}  // namespace shadow
