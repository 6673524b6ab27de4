// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <charconv>
#include <cstdio>

namespace shadow {
namespace {

constexpr std::size_t kMaxLegId = 63;
constexpr std::array<const char*, kTiers> kTierNames = {"tier1", "tier2"};
constexpr std::uint32_t kMinBlockSectors = 128;
constexpr std::uint32_t kMaxBlockSectors = 32768;

bool IsLegIdChar(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("_.:+-").find(c) != std::string_view::npos;
}

// The kernel splits a table at white space and reads a backslash as an escape.
bool IsDeviceWord(std::string_view device) {
  if (device.empty() || device.size() > 4096) return false;
  return std::all_of(device.begin(), device.end(), [](char c) {
    return std::isgraph(static_cast<unsigned char>(c)) != 0 && c != '\\';
  });
}

Error Bad(const std::string& what) { return MakeError(Code::kInvalidArgument, what); }

Status CheckLeg(const char* role, const TableLeg& leg, bool needs_id) {
  if (!IsDeviceWord(leg.device)) {
    return Bad(std::string("The ") + role + " device has a name that device mapper cannot take.");
  }
  if ((needs_id || !leg.id.empty()) && !IsLegId(leg.id)) {
    return Bad(std::string("The ") + role + " leg has no usable identity.");
  }
  return Ok();
}

// The leg that a feature names; null when the table has none of that role.
TableLeg* LegOfRole(std::string_view role, ShadowTable* table) {
  if (role == "origin") return &table->origin;
  if (role == "target") return table->target ? &*table->target : nullptr;
  const auto tier = ParseTierName(role);
  if (!tier) return nullptr;
  auto& found = table->tiers.at(static_cast<std::size_t>(*tier));
  return found ? &found->leg : nullptr;
}

// Reads the feature words into the table; false if they are not the target's own.
bool ReadFeatures(const std::vector<std::string_view>& words, std::size_t at, ShadowTable* table) {
  while (at < words.size()) {
    const std::string_view word = words[at++];
    if (word == "fresh") {
      table->fresh = true;
    } else if (word == "shrink") {
      table->shrink = true;
    } else if (word == "read" && at < words.size()) {
      table->read_policy = words[at++];
    } else if (word == "leg_id" && at + 1 < words.size()) {
      const std::string_view role = words[at++];
      TableLeg* leg = LegOfRole(role, table);
      if (leg == nullptr) return false;
      leg->id = words[at++];
    } else if (word == "writeback" && at < words.size()) {
      const auto tier = ParseTierName(words[at++]);
      if (!tier || !table->tiers.at(static_cast<std::size_t>(*tier))) return false;
      table->tiers.at(static_cast<std::size_t>(*tier))->write_back = true;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

bool IsLegId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxLegId && std::all_of(id.begin(), id.end(), IsLegIdChar);
}

std::string ToLegId(std::string_view text) {
  std::string id;
  for (char c : text) id += IsLegIdChar(c) ? c : '_';
  if (id.empty()) id = "_";
  if (id.size() > kMaxLegId) {
    std::uint64_t hash = 1469598103934665603ULL;  // FNV-1a
    for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    std::array<char, 20> hex{};
    std::snprintf(hex.data(), hex.size(), "%016llx", static_cast<unsigned long long>(hash));
    id = id.substr(0, kMaxLegId - 17) + "." + hex.data();
  }
  return id;
}

const char* TierName(TierLevel tier) { return kTierNames.at(static_cast<std::size_t>(tier)); }

std::optional<TierLevel> ParseTierName(std::string_view name) {
  for (std::size_t i = 0; i < kTierNames.size(); ++i) {
    if (name == kTierNames.at(i)) return static_cast<TierLevel>(i);
  }
  return std::nullopt;
}

std::vector<std::string_view> SplitWords(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t at = 0;
  while (at < text.size()) {
    if (std::isspace(static_cast<unsigned char>(text[at])) != 0) {
      ++at;
      continue;
    }
    std::size_t end = at;
    while (end < text.size() && std::isspace(static_cast<unsigned char>(text[end])) == 0) ++end;
    words.push_back(text.substr(at, end - at));
    at = end;
  }
  return words;
}

std::optional<std::uint64_t> ParseNumber(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

Result<std::string> BuildTable(const ShadowTable& table) {
  if (table.sectors == 0) return Bad("A volume cannot be empty.");
  if (!std::has_single_bit(table.block_sectors) || table.block_sectors < kMinBlockSectors ||
      table.block_sectors > kMaxBlockSectors) {
    return Bad("The block size must be a power of two from 64 KiB to 16 MiB.");
  }
  if (!IsDeviceWord(table.metadata)) {
    return Bad("The metadata device has a name that device mapper cannot take.");
  }
  struct Role {
    const char* name;
    const TableLeg* leg;
  };
  std::vector<Role> legs = {{"origin", &table.origin}};
  if (table.target) legs.push_back({"target", &*table.target});
  for (std::size_t i = 0; i < table.tiers.size(); ++i) {
    if (table.tiers.at(i)) legs.push_back({kTierNames.at(i), &table.tiers.at(i)->leg});
  }
  // Legs that come and go must be told apart from each other.
  for (const Role& r : legs) {
    SHADOW_TRY(CheckLeg(r.name, *r.leg, table.target.has_value() || r.leg != &table.origin));
  }

  std::string out = table.metadata + " " + std::to_string(table.block_sectors) + " " +
                    std::to_string(legs.size());
  for (const Role& r : legs) out += std::string(" ") + r.name + " " + r.leg->device;
  int words = 0;
  std::string features;
  const auto add = [&](int count, const std::string& text) {
    words += count;
    features += " " + text;
  };
  for (const Role& r : legs) {
    if (!r.leg->id.empty()) add(3, std::string("leg_id ") + r.name + " " + r.leg->id);
  }
  if (table.fresh) add(1, "fresh");
  if (table.shrink) add(1, "shrink");
  for (std::size_t i = 0; i < table.tiers.size(); ++i) {
    if (table.tiers.at(i) && table.tiers.at(i)->write_back) {
      add(2, std::string("writeback ") + kTierNames.at(i));
    }
  }
  if (!table.read_policy.empty()) add(2, "read " + table.read_policy);
  if (words > 0) out += " " + std::to_string(words) + features;
  return out;
}

Result<ShadowTable> ParseTable(std::uint64_t sectors, std::string_view params) {
  const Error damaged =
      MakeError(Code::kDataLoss, "The kernel holds a table that is not one of the shadow target's.",
                "look at it with dmsetup table; it was not loaded by shadowd");
  const auto words = SplitWords(params);
  if (words.size() < 5) return damaged;
  ShadowTable table;
  table.sectors = sectors;
  table.metadata = words[0];
  const auto block_sectors = ParseNumber(words[1]);
  const auto legs = ParseNumber(words[2]);
  if (!block_sectors || *block_sectors > kMaxBlockSectors || !legs || *legs < 1 ||
      *legs > 2 + kTiers) {
    return damaged;
  }
  table.block_sectors = static_cast<std::uint32_t>(*block_sectors);
  std::size_t at = 3;
  bool origin = false;
  for (std::uint64_t i = 0; i < *legs; ++i) {
    if (at + 1 >= words.size()) return damaged;
    const std::string_view role = words[at++];
    const std::string device(words[at++]);
    if (role == "origin" && !origin) {
      table.origin.device = device;
      origin = true;
    } else if (role == "target" && !table.target) {
      table.target = TableLeg{device, ""};
    } else if (const auto tier = ParseTierName(role);
               tier && !table.tiers.at(static_cast<std::size_t>(*tier))) {
      table.tiers.at(static_cast<std::size_t>(*tier)) = TableTier{{device, ""}, false};
    } else {
      return damaged;
    }
  }
  if (!origin) return damaged;
  if (at == words.size()) return table;
  const auto count = ParseNumber(words[at++]);
  if (!count || *count != words.size() - at || !ReadFeatures(words, at, &table)) return damaged;
  return table;
}

}  // namespace shadow
