// SPDX-License-Identifier: Apache-2.0
// What LVM's commands say with --reportformat json, as plain types. Pure; the text is not trusted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace shadow {

struct LvmVolume {
  std::string path;  // /dev/<vg>/<lv>
  std::string name;
  std::string group;
  std::string uuid;
  std::uint64_t size_bytes = 0;
  std::vector<std::string> tags;
  bool active = false;
  bool open = false;
  bool suspended = false;  // by a command that is at work, or was killed
  bool skipped = false;    // carries activation skip
  bool has_snapshots = false;
  std::string origin;  // the name of what it is a snapshot of

  [[nodiscard]] std::string FullName() const { return group + "/" + name; }
  /// The value of tag "<key>=<value>", "" when there is none.
  [[nodiscard]] std::string Tag(const std::string& key) const;
};

struct LvmGroup {
  std::string name;
  std::uint64_t size_bytes = 0;
  std::uint64_t free_bytes = 0;
  std::uint64_t extent_bytes = 0;
};

/// Columns for lvs -o and vgs -o that the parsers need. Sizes must be asked for with
/// --units b --nosuffix.
inline constexpr const char* kLvsColumns =
    "lv_path,lv_name,vg_name,lv_uuid,lv_size,lv_tags,lv_attr,origin";
inline constexpr const char* kVgsColumns = "vg_name,vg_size,vg_free,vg_extent_size";

[[nodiscard]] Result<std::vector<LvmVolume>> ParseLvs(const std::string& text);
[[nodiscard]] Result<std::vector<LvmGroup>> ParseVgs(const std::string& text);

}  // namespace shadow
