// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/validate.h"

#include <bit>
#include <string>

#include "daemon/rpc/errors.h"

namespace shadow::rpc {
namespace {

bool IsAlnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool OnlyOf(std::string_view text, std::string_view extra) {
  for (char c : text) {
    if (!IsAlnum(c) && extra.find(c) == std::string_view::npos) return false;
  }
  return true;
}

bool IsName(std::string_view name) {
  return !name.empty() && name.size() <= 64 && name[0] != '.' && name[0] != '-' &&
         OnlyOf(name, "_.-");
}

Error Invalid(std::string message, std::string hint) {
  return MakeError(Code::kInvalidArgument, std::move(message), std::move(hint));
}

}  // namespace

Status CheckVolumeName(std::string_view name) {
  if (IsName(name)) return Ok();
  constexpr char kHint[] =
      "Use 1 to 64 of the characters A-Z a-z 0-9 _ . -, and do not start with . or -.";
  if (name.empty()) return Invalid("The volume's name is missing.", kHint);
  return Invalid(Quote(name) + " cannot be the name of a volume.", kHint);
}

Status CheckModificationId(std::string_view id) {
  constexpr char kHint[] = "`shadowctl op list` shows the ids.";
  if (id.empty()) return Invalid("The modification's id is missing.", kHint);
  if (IsName(id)) return Ok();
  return Invalid(Quote(id) + " is not the id of a modification.", kHint);
}

Status CheckRequestId(std::string_view id) {
  if (id.size() <= 128 && OnlyOf(id, "_.:-")) return Ok();
  return Invalid("The request id " + Quote(id) + " cannot be used.",
                 "Use 1 to 128 of the characters A-Z a-z 0-9 _ . : -, for example a UUID.");
}

Status CheckDevice(std::string_view field, std::string_view path) {
  constexpr char kHint[] = "Give the path of a block device, for example /dev/vg/lv.";
  const std::string what(field);
  if (path.empty()) return Invalid("The " + what + " is missing.", kHint);
  bool good = path.starts_with("/dev/") && path.size() > 5 && path.size() <= 255;
  for (char c : path) good = good && c > 0x20 && c < 0x7f && c != '"' && c != '\'' && c != '`';
  good = good && path.find("//") == path.npos && path.find("/../") == path.npos &&
         !path.ends_with("/..") && !path.ends_with('/');
  if (good) return Ok();
  return Invalid("The " + what + " " + Quote(path) + " is not the path of a device under /dev.",
                 kHint);
}

Status CheckPlace(std::string_view field, std::string_view place) {
  if (place.starts_with('/')) return CheckDevice(field, place);
  if (IsName(place)) return Ok();
  constexpr char kHint[] =
      "Give a storage class (`shadowctl class list` shows them) or the path of a block device.";
  const std::string what(field);
  if (place.empty()) return Invalid("The " + what + " is missing.", kHint);
  return Invalid("The " + what + " " + Quote(place) + " is neither a storage class nor a device.",
                 kHint);
}

Status CheckSize(std::string_view field, std::uint64_t bytes) {
  if (bytes > 0 && bytes <= kMaxVolumeBytes) return Ok();
  return Invalid(
      "The " + std::string(field) + " of " + std::to_string(bytes) + " bytes is out of range.",
      "Give a size between 1 byte and 1 EiB.");
}

Status CheckSizeSpec(std::string_view spec) {
  std::string_view rest = spec;
  if (!rest.empty() && (rest[0] == '+' || rest[0] == '-')) rest.remove_prefix(1);
  const bool good =
      spec.size() <= 32 && !rest.empty() && rest[0] >= '0' && rest[0] <= '9' && OnlyOf(rest, ".% ");
  if (good) return Ok();
  return Invalid("The size " + Quote(spec) + " cannot be read.",
                 "Write it as 20G, +10G, -5G or +50%.");
}

Status CheckOverwrite(std::string_view types) {
  const bool good = OnlyOf(types, "_-.,");
  if (good && types.size() <= 256) return Ok();
  return MakeError(Code::kInvalidArgument, "What may be written over is no list of types.",
                   "Name them as the refusal does, e.g. ext4 or gpt,LVM2_member.");
}

Status CheckBlockSize(std::uint64_t bytes) {
  if (bytes == 0 ||
      (std::has_single_bit(bytes) && bytes >= kMinBlockBytes && bytes <= kMaxBlockBytes)) {
    return Ok();
  }
  return Invalid("A block size of " + std::to_string(bytes) + " bytes is not possible.",
                 "Use a power of two from 64K to 16M; the default is 256K.");
}

Status CheckRate(std::uint64_t bytes_per_second) {
  if (bytes_per_second <= kMaxRate) return Ok();
  return Invalid("A rate of " + std::to_string(bytes_per_second) + " bytes/s is out of range.",
                 "Use at most 1 TiB/s, or 0 to let the rate adapt.");
}

Status CheckGrace(std::int64_t ms) {
  if (ms >= 0 && ms <= kMaxGraceMs) return Ok();
  return Invalid("The grace period of " + std::to_string(ms) + " ms is out of range.",
                 "Use 0 to 365 days.");
}

Status CheckTierSize(std::string_view place, std::uint64_t bytes) {
  if (bytes == 0 && place.starts_with('/')) return Ok();
  if (bytes == 0) {
    return Invalid("The size of the tier is missing.",
                   "Give a size; only a device can be used as a whole.");
  }
  return CheckSize("size of the tier", bytes);
}

Status CheckForget(bool forget, bool lost) {
  if (forget || !lost) return Ok();
  return Invalid("Data can be given up only when the tier is forgotten.",
                 "Forget the tier too, or leave `lost` out.");
}

Status CheckHeat(double heat) {
  if (heat >= 0 && heat <= 1) return Ok();
  return Invalid("The threshold of heat is out of range.",
                 "Heat is a probability: use 0 to 1, for example 0.7.");
}

Status CheckThresholds(std::uint32_t tier1, std::uint32_t tier2) {
  if (tier1 <= 1000 && tier2 <= tier1) return Ok();
  return Invalid("The heat for tier 2 would be above the heat for tier 1.",
                 "Give both, tier 2's at most tier 1's.");
}

Status CheckBudget(std::uint64_t bytes_per_minute) {
  if (bytes_per_minute > 0 && bytes_per_minute <= kMaxBudget) return Ok();
  return Invalid(
      "A budget of " + std::to_string(bytes_per_minute) + " bytes a minute is out of range.",
      "Use 1 byte to 1 PiB; the policy off moves nothing.");
}

Status CheckWindow(std::int64_t ms) {
  if (ms >= kMinWindowMs && ms <= kMaxWindowMs) return Ok();
  return Invalid("The window is out of range.", "Use 0.1 s to 1 h; the default is 60 s.");
}

Status CheckHeatRanges(std::uint32_t ranges) {
  if (ranges <= kMaxHeatRanges) return Ok();
  return Invalid("A heat map of " + std::to_string(ranges) + " ranges is too fine.",
                 "Use 1 to 4096 ranges.");
}

}  // namespace shadow::rpc
