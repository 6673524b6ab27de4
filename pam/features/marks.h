// SPDX-License-Identifier: Apache-2.0
// Layout of BlockState::mark: what the rings of past windows say about the coming window.
// Internal to pam/features. Fields saturate.
#pragma once

#include <cstdint>

namespace shadow::pam {

inline constexpr std::uint16_t kMarkHourOne = 1;  // bits 0-4: hits in the last 23 hours
inline constexpr std::uint16_t kMarkHours = 0x001f;
inline constexpr std::uint16_t kMarkHourAgo = 1u << 5;
inline constexpr std::uint16_t kMarkYesterday = 1u << 6;
inline constexpr std::uint16_t kMarkNearOne = 1u << 7;  // bits 7-10: near this time yesterday
inline constexpr std::uint16_t kMarkNear = 0x000f << 7;
inline constexpr std::uint16_t kMarkWeek = 1u << 11;

}  // namespace shadow::pam
