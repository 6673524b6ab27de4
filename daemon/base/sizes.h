// SPDX-License-Identifier: Apache-2.0
// Sizes as people write them ("20GiB", "1.5T", "+50%", "-5G") and as we print them.
//
// Pure functions; hostile input gives an Error, never an overflow. As in coreutils and util-linux
// K, M, G, T, P are powers of 1024, with or without "iB", and KB, MB, ... powers of 1000. A bare
// number is refused: to one tool it is bytes, to another sectors or MiB.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace shadow {

/// Parses "64K", "1.5GiB", "20 g", "20GB", "4096B", "0". Bytes; at most 2^63-1.
[[nodiscard]] Result<std::uint64_t> ParseSize(std::string_view text);

/// Parses a rate: a size, with "/s" or without. Bytes per second.
[[nodiscard]] Result<std::uint64_t> ParseRate(std::string_view text);

/// The new size a request means: absolute ("20G"), relative ("+10G", "-5G") or in percent of
/// `current` ("+50%", "-10%", "150%"). Bytes; an empty text means `current`.
[[nodiscard]] Result<std::uint64_t> ResolveSize(std::string_view spec, std::uint64_t current);

/// "1.50 GiB", "512 B": for people; at most four significant digits.
[[nodiscard]] std::string FormatSize(std::uint64_t bytes);

/// Rounds up to a multiple of `unit` (> 0), saturating at the largest multiple.
[[nodiscard]] std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit);

}  // namespace shadow
