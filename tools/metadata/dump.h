// SPDX-License-Identifier: Apache-2.0
// Metadata as text: for people, and as JSON that shadow_restore turns back into the same bytes.
#pragma once

#include <string>
#include <vector>

#include "tools/metadata/check.h"
#include "tools/metadata/image.h"

namespace shadow::metadata {

/// Superblocks, legs, and the states of all blocks as runs, as the kernel would take them.
std::string DumpText(const Image& image);

/// Both places of everything; a damaged place is null. Block states as [home, count] runs.
std::string DumpJson(const Image& image);

/// What a device shall hold, from DumpJson()'s text. Refuses a dump with a damaged superblock and
/// pages without one good copy; a damaged copy becomes that of its twin.
Result<Image> ImageFromJson(const std::string& json);

std::string ReportText(const Report& report);
std::string ReportJson(const Report& report, int exit_code);

}  // namespace shadow::metadata
