// SPDX-License-Identifier: Apache-2.0
// Which devices are legs: a small text file that udev's rule asks before anybody looks at a
// device's content (tools/udev/59-dm-shadow.rules).
//
// A leg carries the file system of its volume, with the same UUID and label. Whoever puts a volume
// together (shadowd, dm-shadow-activate) writes its legs here first, by identity, in two places:
// /run/dm-shadow/legs for now, /etc/dm-shadow/legs for the next boot, when a disk may appear before
// the metadata that names it. The files only hide devices; nothing is put together from them, so a
// line too many costs visibility and never data. Safe between processes (a lock file beside them).
#pragma once

#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace shadow {

/// One line: "<identity> <role> <volume's UUID> <volume's name>".
struct LegEntry {
  std::string id;      // as in the table's leg_id
  std::string role;    // origin, target, tier1, tier2; old: no longer a leg, but still a copy
  std::string uuid;    // of the volume
  std::string volume;  // its name, for people
  friend bool operator==(const LegEntry&, const LegEntry&) = default;
};

/// Lines that are damaged, empty or begin with '#' are left out.
[[nodiscard]] std::vector<LegEntry> ParseLegTable(const std::string& text);
[[nodiscard]] std::string FormatLegTable(const std::vector<LegEntry>& legs);

/// The role of what holds an old copy of a volume and is no leg any more.
inline constexpr const char* kOldCopy = "old";

class LegTables {
 public:
  /// The first directory counts; what cannot be written to the others is only a warning.
  explicit LegTables(std::vector<std::string> directories = {"/run/dm-shadow", "/etc/dm-shadow"});

  /// The entries of all tables. A file that is not there is empty; one that cannot be read is an
  /// error.
  [[nodiscard]] Result<std::vector<LegEntry>> Read() const;
  /// From now on the volume has exactly these legs; none: it is forgotten. Durable.
  [[nodiscard]] Status Set(const std::string& uuid, const std::vector<LegEntry>& legs) const;
  /// The volume has these legs; what it had before and has no more stays, as "old". Durable.
  [[nodiscard]] Status Update(const std::string& uuid, const std::vector<LegEntry>& legs) const;

 private:
  [[nodiscard]] Status Write(const std::string& uuid, const std::vector<LegEntry>& legs,
                             bool keep_old) const;

  std::vector<std::string> directories_;
};

}  // namespace shadow
