// SPDX-License-Identifier: Apache-2.0
// What a mounted file system itself says and does, through a descriptor of it (mounts.h).
//
// The device cannot be asked in its stead: xfs writes its superblock past the device's page cache,
// and lazily, so what a read of the device tells is older than the file system. Blocks; reads only,
// but for Grow.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace shadow {

/// Bytes from the device's start to the end of the mounted file system; 0 if it cannot be told.
/// `device_fd` is the device, open for reading.
[[nodiscard]] std::uint64_t LiveEnd(int root, const std::string& type, dev_t device, int device_fd);

/// Whether LiveGrow knows the type.
[[nodiscard]] bool CanGrowLive(const std::string& type);

/// Grows it to `bytes`, the end of the device. kUnimplemented: nothing is known of this type.
[[nodiscard]] Status LiveGrow(int root, const std::string& type, dev_t device, std::uint64_t bytes);

/// fstrim between two offsets. kUnimplemented if it cannot.
[[nodiscard]] Status LiveTrim(int root, std::uint64_t from, std::uint64_t bytes);

}  // namespace shadow
