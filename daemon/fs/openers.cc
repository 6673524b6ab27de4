// SPDX-License-Identifier: Apache-2.0
#include "daemon/fs/openers.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace shadow {
namespace {

namespace fs = std::filesystem;

bool IsNumber(const std::string& name) {
  return !name.empty() && name.find_first_not_of("0123456789") == std::string::npos;
}

// A node may be anywhere (a container has its own). Asks no server: a file on a dead NFS mount must
// not hold us up.
bool LeadsTo(const fs::path& link, dev_t device) {
  char first = 0;
  if (readlink(link.c_str(), &first, 1) != 1 || first != '/') return false;  // a socket, a pipe
  struct statx st {};
  return statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &st) == 0 &&
         S_ISBLK(st.stx_mode) && st.stx_rdev_major == major(device) &&
         st.stx_rdev_minor == minor(device);
}

// Whether the descriptor was opened for writing: "flags:" of fdinfo, octal.
bool MayWrite(const fs::path& info) {
  std::ifstream file(info);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("flags:", 0) != 0) continue;
    const unsigned long flags = std::strtoul(line.c_str() + 6, nullptr, 8);  // NOLINT
    return (flags & O_ACCMODE) != O_RDONLY;
  }
  return true;
}

std::string FirstLineOf(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

Openers FindOpeners(dev_t device, const std::string& proc, const std::string& sys) {
  Openers found;
  std::error_code error;  // what cannot be looked at counts as not there
  const fs::path holders = fs::path(sys) / "dev/block" /
                           (std::to_string(major(device)) + ":" + std::to_string(minor(device))) /
                           "holders";
  for (const auto& entry : fs::directory_iterator(holders, error)) {
    ++found.holders;
    found.holder = entry.path().filename();
  }
  const std::string self = std::to_string(getpid());
  for (const auto& process : fs::directory_iterator(proc, error)) {
    const std::string pid = process.path().filename();
    if (!IsNumber(pid)) continue;
    for (const auto& link : fs::directory_iterator(process.path() / "fd", error)) {
      if (!LeadsTo(link.path(), device)) continue;
      ++found.processes;
      if (pid == self) {
        ++found.ours;
        continue;
      }
      const std::string name = FirstLineOf(process.path() / "comm") + " (process " + pid + ")";
      if (found.other.empty()) found.other = name;
      if (found.writer.empty() && MayWrite(process.path() / "fdinfo" / link.path().filename()))
        found.writer = name;
    }
  }
  return found;
}

}  // namespace shadow
