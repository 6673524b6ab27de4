// SPDX-License-Identifier: Apache-2.0
#include "daemon/fs/references.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace shadow {
namespace {

bool Names(const DeviceNames& names, std::string word) {
  for (const char quote : {'"', '\''}) std::erase(word, quote);
  if (!names.part_uuid.empty() &&
      (word == "PARTUUID=" + names.part_uuid || word == "/dev/disk/by-partuuid/" + names.part_uuid))
    return true;
  return std::find(names.paths.begin(), names.paths.end(), word) != names.paths.end();
}

// Words of a line; "What=/dev/x" and "root=/dev/x" give what is behind the sign, too.
std::vector<std::string> WordsOf(const std::string& line) {
  std::vector<std::string> words;
  std::istringstream text(line);
  for (std::string word; text >> word;) {
    if (word.front() == '#') break;
    words.push_back(word);
    const auto sign = word.find('=');
    if (sign != std::string::npos) words.push_back(word.substr(sign + 1));
  }
  return words;
}

void LookInto(const std::filesystem::path& file, const std::string& shown, const DeviceNames& names,
              std::vector<Reference>* found) {
  std::ifstream in(file);
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    for (const std::string& word : WordsOf(line)) {
      if (!Names(names, word)) continue;
      found->push_back({shown + ", line " + std::to_string(number), word});
      break;
    }
  }
}

}  // namespace

DeviceNames NamesOf(const std::string& path, const std::string& dev) {
  namespace fs = std::filesystem;
  DeviceNames names;
  names.paths.push_back(path);
  struct stat device {};
  if (stat(path.c_str(), &device) != 0 || !S_ISBLK(device.st_mode)) return names;
  std::vector<fs::path> directories = {dev};
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(dev, none)) {
    if (entry.is_directory(none) && !entry.is_symlink(none)) directories.push_back(entry.path());
  }
  for (const auto& entry : fs::directory_iterator(fs::path(dev) / "disk", none))
    directories.push_back(entry.path());
  for (const fs::path& directory : directories) {
    const std::string kind = directory.filename();
    if (kind == "by-uuid" || kind == "by-label") continue;  // names of the content
    for (const auto& entry : fs::directory_iterator(directory, none)) {
      struct stat st {};
      if (stat(entry.path().c_str(), &st) != 0 || !S_ISBLK(st.st_mode) ||
          st.st_rdev != device.st_rdev || entry.path() == path) {
        continue;
      }
      names.paths.push_back(entry.path());
      if (kind == "by-partuuid") names.part_uuid = entry.path().filename();
    }
  }
  return names;
}

std::vector<Reference> FindReferences(const DeviceNames& names, const std::string& root) {
  namespace fs = std::filesystem;
  std::vector<Reference> found;
  const fs::path top(root);
  for (const char* file : {"etc/fstab", "etc/crypttab", "proc/swaps", "proc/cmdline",
                           "etc/default/grub", "etc/initramfs-tools/conf.d/resume"}) {
    LookInto(top / file, std::string("/") + file, names, &found);
  }
  std::error_code none;
  std::vector<fs::path> units;
  for (const auto& entry : fs::directory_iterator(top / "etc/systemd/system", none)) {
    const std::string kind = entry.path().extension();
    if (kind == ".mount" || kind == ".swap" || kind == ".automount" || kind == ".service")
      units.push_back(entry.path());
  }
  std::sort(units.begin(), units.end());
  for (const fs::path& unit : units) {
    LookInto(unit, "/etc/systemd/system/" + unit.filename().string(), names, &found);
  }
  return found;
}

}  // namespace shadow
