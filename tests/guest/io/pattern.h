// SPDX-License-Identifier: Apache-2.0
// The contents of a 512-byte sector that tell which write put them there, and where.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

namespace shadow::io {

inline constexpr std::size_t kSector = 512;

/// Fills one sector with the pattern of write `number` at `sector`.
inline void FillSector(std::uint8_t* out, std::uint64_t sector, std::uint32_t number) {
  std::array<std::uint64_t, kSector / 8> words;
  std::uint64_t x = (sector << 32 | number) * 0x9E3779B97F4A7C15u + 1;
  words[0] = sector;
  words[1] = number;
  for (std::size_t i = 2; i < words.size(); ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    words[i] = x;
  }
  std::memcpy(out, words.data(), kSector);
}

/// Which write is here: its number, 0 for zeroes, nothing for anything else (damage, or a sector
/// that belongs elsewhere).
inline std::optional<std::uint32_t> ReadSector(const std::uint8_t* in, std::uint64_t sector) {
  std::array<std::uint64_t, 2> head;
  std::memcpy(head.data(), in, sizeof(head));
  std::array<std::uint8_t, kSector> want{};
  if (head[0] == 0 && head[1] == 0) {
    return std::memcmp(in, want.data(), kSector) == 0 ? std::optional<std::uint32_t>(0)
                                                      : std::nullopt;
  }
  if (head[0] != sector || head[1] == 0 || head[1] > UINT32_MAX) return std::nullopt;
  FillSector(want.data(), sector, static_cast<std::uint32_t>(head[1]));
  if (std::memcmp(in, want.data(), kSector) != 0) return std::nullopt;
  return static_cast<std::uint32_t>(head[1]);
}

}  // namespace shadow::io
