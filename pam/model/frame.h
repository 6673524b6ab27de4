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
inline constexpr std::uint32_t kFileVersion = 4;
inline constexpr std::uint32_t kModelMagic = 0x4d504853;     // "SHPM"
inline constexpr std::uint32_t kSnapshotMagic = 0x53504853;  // "SHPS"

std::string Frame(std::uint32_t magic, const std::string& body);
/// The body; refuses what is another kind, another version, made for other shapes, cut or damaged.
Result<std::string_view> Unframe(std::uint32_t magic, std::string_view bytes);

}  // namespace shadow::pam
