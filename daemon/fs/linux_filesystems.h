// SPDX-License-Identifier: Apache-2.0
// The real Filesystems: libblkid, mountinfo, FITRIM, resize2fs and xfs_growfs.
#pragma once

#include <memory>

#include "daemon/base/process.h"
#include "daemon/fs/filesystems.h"

namespace shadow {

/// `runner` must outlive what is returned.
[[nodiscard]] std::unique_ptr<Filesystems> MakeLinuxFilesystems(ProcessRunner& runner);

}  // namespace shadow
