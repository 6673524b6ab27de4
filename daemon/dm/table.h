// SPDX-License-Identifier: Apache-2.0
// Table lines of the shadow target: built for a load, read back from the kernel.
//
// Pure functions over text. Device names and leg ids are checked before they get into a line, so
// no name, however hostile, becomes a second argument.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/dm/blocks.h"

namespace shadow {

struct TableLeg {
  std::string device;  // path, "major:minor" when read back, "-" when the leg is missing
  std::string id;      // identity recorded in the metadata
  friend bool operator==(const TableLeg&, const TableLeg&) = default;
};

struct TableTier {
  TableLeg leg;
  bool write_back = false;
  friend bool operator==(const TableTier&, const TableTier&) = default;
};

struct ShadowTable {
  std::uint64_t sectors = 0;
  std::string metadata;
  std::string metadata_id;  // its identity; not in the line
  std::uint32_t block_sectors = 512;
  TableLeg origin;
  std::optional<TableLeg> target;
  std::array<std::optional<TableTier>, kTiers> tiers;  // tier1, tier2
  bool fresh = false;
  bool shrink = false;
  std::string read_policy;  // "" for the kernel's default
};

/// The parameters after "<start> <len> shadow". kInvalidArgument names the field that is wrong.
[[nodiscard]] Result<std::string> BuildTable(const ShadowTable& table);

/// Reads the parameters of a live table of `sectors`. kDataLoss if it is none of the shadow
/// target's.
[[nodiscard]] Result<ShadowTable> ParseTable(std::uint64_t sectors, std::string_view params);

/// A leg id: 1..63 of A-Za-z0-9_.:+-
[[nodiscard]] bool IsLegId(std::string_view id);

/// Makes a leg id of any text: unusable characters become '_', what is too long is cut and hashed.
[[nodiscard]] std::string ToLegId(std::string_view text);

/// "tier1", "tier2": the role, as tables, messages and status spell it.
[[nodiscard]] const char* TierName(TierLevel tier);
[[nodiscard]] std::optional<TierLevel> ParseTierName(std::string_view name);

/// Splits at white space; empty words do not occur.
[[nodiscard]] std::vector<std::string_view> SplitWords(std::string_view text);

/// A whole non-negative decimal number, or nothing.
[[nodiscard]] std::optional<std::uint64_t> ParseNumber(std::string_view text);

}  // namespace shadow
