// SPDX-License-Identifier: Apache-2.0
// Small reads of files and directories, sysfs above all. Nothing fails: what cannot be read is "".
#pragma once

#include <string>
#include <vector>

namespace shadow {

/// The whole file.
[[nodiscard]] std::string ReadTextFile(const std::string& path);
/// Its first line, without blanks at either end.
[[nodiscard]] std::string FirstLine(const std::string& path);
/// The names in a directory, sorted; not those that begin with a dot.
[[nodiscard]] std::vector<std::string> NamesIn(const std::string& directory);
/// The path without symbolic links.
[[nodiscard]] std::string RealPath(const std::string& path);

}  // namespace shadow
