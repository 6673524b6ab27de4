// SPDX-License-Identifier: Apache-2.0
// What a request may contain: lengths, characters and ranges of every field, as the .proto files
// say.
//
// Everything that reaches the engine has passed here; the engine still checks what only it can know
// (does the device exist, is there room). Pure functions; each error is one sentence that names the
// field and says what is allowed.
#pragma once

#include <cstdint>
#include <string_view>

#include "daemon/base/result.h"

namespace shadow::rpc {

inline constexpr std::uint64_t kMaxVolumeBytes = std::uint64_t{1} << 60;
inline constexpr std::uint64_t kMaxRate = std::uint64_t{1} << 40;  // bytes/s
inline constexpr std::uint64_t kMinBlockBytes = std::uint64_t{64} * 1024;
inline constexpr std::uint64_t kMaxBlockBytes = std::uint64_t{16} * 1024 * 1024;
inline constexpr std::int64_t kMaxGraceMs = std::int64_t{365} * 24 * 3600 * 1000;
inline constexpr std::uint64_t kMaxBudget = std::uint64_t{1} << 50;  // bytes a minute
inline constexpr std::int64_t kMinWindowMs = 100;
inline constexpr std::int64_t kMaxWindowMs = 3'600'000;
inline constexpr std::uint32_t kMaxHeatRanges = 4096;

/// A volume's name.
[[nodiscard]] Status CheckVolumeName(std::string_view name);
/// A modification's id.
[[nodiscard]] Status CheckModificationId(std::string_view id);
/// "" or an idempotency key.
[[nodiscard]] Status CheckRequestId(std::string_view id);
/// A path under /dev. `field` is named in the error.
[[nodiscard]] Status CheckDevice(std::string_view field, std::string_view path);
/// A storage class or a path under /dev.
[[nodiscard]] Status CheckPlace(std::string_view field, std::string_view place);
/// A size in bytes, 1..2^60.
[[nodiscard]] Status CheckSize(std::string_view field, std::uint64_t bytes);
/// "20G", "+10G", "-5G", "+50%": the characters; what it means depends on the volume.
[[nodiscard]] Status CheckSizeSpec(std::string_view spec);
/// What may be written over: "" or names of types with commas.
[[nodiscard]] Status CheckOverwrite(std::string_view types);
/// 0, or a power of two from 64 KiB to 16 MiB.
[[nodiscard]] Status CheckBlockSize(std::uint64_t bytes);
/// 0, or a rate in bytes/s up to 2^40.
[[nodiscard]] Status CheckRate(std::uint64_t bytes_per_second);
/// 0..365 days, in milliseconds.
[[nodiscard]] Status CheckGrace(std::int64_t ms);
/// A place for a tier and its size in bytes: up to 2^60; 0 only for a device.
[[nodiscard]] Status CheckTierSize(std::string_view place, std::uint64_t bytes);
/// Data may be given up only when the tier is forgotten.
[[nodiscard]] Status CheckForget(bool forget, bool lost);
/// A threshold of heat, 0..1; also refuses what is no number.
[[nodiscard]] Status CheckHeat(double heat);
/// The thresholds in 1/1000: tier 2's is not above tier 1's.
[[nodiscard]] Status CheckThresholds(std::uint32_t tier1, std::uint32_t tier2);
/// Bytes a minute, 1..2^50.
[[nodiscard]] Status CheckBudget(std::uint64_t bytes_per_minute);
/// 0.1 s..1 h, in milliseconds.
[[nodiscard]] Status CheckWindow(std::int64_t ms);
/// Ranges of a heat map: 0..4096.
[[nodiscard]] Status CheckHeatRanges(std::uint32_t ranges);

}  // namespace shadow::rpc
