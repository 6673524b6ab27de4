// SPDX-License-Identifier: Apache-2.0
// What stands around the parts of a model file or snapshot: magic, version, length, checksum, and
// the shapes it was made for. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/result.h"

namespace shadow::pam {

/// Of model files and snapshots; raised with every change of what is in them.
inline constexpr std::uint32_t kFileVersion = 5;
inline constexpr std::uint32_t kModelMagic = 0x4d504853;     // "SHPM"
inline constexpr std::uint32_t kSnapshotMagic = 0x53504853;  // "SHPS"

inline constexpr std::size_t kHeadBytes = 28;

/// What stands before a body of so many bytes with this checksum.
std::string Head(std::uint32_t magic, std::uint64_t size, std::uint32_t crc);
/// CRC-32 of bytes that follow those of which `crc` is the checksum; begins with 0.
std::uint32_t CrcOf(std::uint32_t crc, std::string_view bytes);
std::string Frame(std::uint32_t magic, const std::string& body);
/// The body; refuses what is another kind, another version, made for other shapes, cut or damaged.
Result<std::string_view> Unframe(std::uint32_t magic, std::string_view bytes);

}  // namespace shadow::pam
