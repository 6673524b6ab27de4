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
/// 0, or a power of two from 64 KiB to 16 MiB.
[[nodiscard]] Status CheckBlockSize(std::uint64_t bytes);
/// 0, or a rate in bytes/s up to 2^40.
[[nodiscard]] Status CheckRate(std::uint64_t bytes_per_second);
/// 0..365 days, in milliseconds.
[[nodiscard]] Status CheckGrace(std::int64_t ms);

}  // namespace shadow::rpc
