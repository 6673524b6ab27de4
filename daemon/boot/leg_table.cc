// SPDX-License-Identifier: Apache-2.0
#include "daemon/boot/leg_table.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <utility>

#include "daemon/dm/table.h"

namespace shadow {
namespace {

constexpr const char* kHead =
    "# Devices that are legs of shadow volumes: hidden from mount, LVM and the like by udev's "
    "rule.\n"
    "# Written by shadowd and dm-shadow-activate. identity, role, volume's UUID, volume's name\n";

// A file that is not there is empty. One that cannot be read is not: nothing may be concluded from
// it.
Result<std::string> ReadFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  ssize_t got = fd < 0 ? -1 : 1;
  while (got > 0) {
    std::array<char, 4096> piece;
    got = read(fd, piece.data(), piece.size());
    if (got > 0) text.append(piece.data(), static_cast<std::size_t>(got));
  }
  const int error = got < 0 ? errno : 0;
  if (fd >= 0) close(fd);
  if (error == 0 || error == ENOENT || error == ENOTDIR) return text;
  return MakeError(Code::kIoError,
                   "The table of legs " + path + " cannot be read: " + std::strerror(error) + ".");
}

Error Failed(const std::string& path) {
  const Code code = errno == ENOSPC                     ? Code::kOutOfSpace
                    : errno == EACCES || errno == EROFS ? Code::kPermissionDenied
                                                        : Code::kIoError;
  return MakeError(
      code, "The table of legs " + path + " cannot be written: " + std::strerror(errno) + ".",
      "without it a leg may be mounted in its volume's place");
}

// A whole new file in the old one's place.
Status Replace(const std::string& path, const std::string& text) {
  const std::string fresh = path + ".new";
  const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return Failed(path);
  // Whatever the umask is: udev's helper and people read it.
  bool ok = fchmod(fd, 0644) == 0;
  ok = ok && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ok = ok && fsync(fd) == 0;
  const int error = errno;
  close(fd);
  errno = error;
  if (ok && rename(fresh.c_str(), path.c_str()) == 0) {
    // The new name, too, has to outlive a power cut: the next boot hides by it.
    const int directory =
        open(path.substr(0, path.rfind('/')).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool durable = directory >= 0 && fsync(directory) == 0;
    const Error why = Failed(path);
    if (directory >= 0) close(directory);
    return durable ? Ok() : Status(why);
  }
  const Error why = Failed(path);
  unlink(fresh.c_str());
  return why;
}

bool Lasts(const std::string& id) {
  return id.rfind("name:", 0) != 0 && id.rfind("dmname:", 0) != 0;
}

Status SetIn(const std::string& directory, const std::string& uuid,
             const std::vector<LegEntry>& legs, bool keep_old) {
  const std::string path = directory + "/legs";
  if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return Failed(path);
  const int lock = open((directory + "/legs.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0 || flock(lock, LOCK_EX) != 0) {
    const Error why = Failed(path);
    if (lock >= 0) close(lock);
    return why;
  }
  const auto text = ReadFile(path);
  if (!text.ok()) {
    close(lock);
    return text.error();
  }
  const std::vector<LegEntry> before = ParseLegTable(*text);
  std::vector<LegEntry> after;
  std::copy_if(before.begin(), before.end(), std::back_inserter(after),
               [&](const LegEntry& e) { return e.uuid != uuid; });
  for (const LegEntry& e : before) {
    const bool still =
        std::any_of(legs.begin(), legs.end(), [&](const LegEntry& leg) { return leg.id == e.id; });
    if (!keep_old || e.uuid != uuid || still) continue;
    after.push_back(e);
    after.back().role = kOldCopy;
  }
  after.insert(after.end(), legs.begin(), legs.end());
  const auto less = [](const LegEntry& a, const LegEntry& b) {
    return std::tie(a.uuid, a.role, a.id) < std::tie(b.uuid, b.role, b.id);
  };
  std::sort(after.begin(), after.end(), less);
  Status done = Ok();
  if (after != before) done = Replace(path, FormatLegTable(after));
  close(lock);
  return done;
}

}  // namespace

std::vector<LegEntry> ParseLegTable(const std::string& text) {
  std::vector<LegEntry> legs;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto words = SplitWords(line);
    if (words.size() != 4 || words[0].front() == '#' || !IsLegId(words[0])) continue;
    legs.push_back({std::string(words[0]), std::string(words[1]), std::string(words[2]),
                    std::string(words[3])});
  }
  return legs;
}

std::string FormatLegTable(const std::vector<LegEntry>& legs) {
  std::string text = kHead;
  for (const LegEntry& e : legs) {
    text += e.id + " " + e.role + " " + e.uuid + " " + e.volume + "\n";
  }
  return text;
}

LegTables::LegTables(std::vector<std::string> directories) : directories_(std::move(directories)) {}

Result<std::vector<LegEntry>> LegTables::Read() const {
  std::vector<LegEntry> all;
  for (const std::string& directory : directories_) {
    const auto text = ReadFile(directory + "/legs");
    if (!text.ok()) return text.error();
    for (LegEntry& e : ParseLegTable(*text)) {
      if (std::find(all.begin(), all.end(), e) == all.end()) all.push_back(std::move(e));
    }
  }
  return all;
}

Status LegTables::Set(const std::string& uuid, const std::vector<LegEntry>& legs) const {
  return Write(uuid, legs, false);
}

Status LegTables::Update(const std::string& uuid, const std::vector<LegEntry>& legs) const {
  return Write(uuid, legs, true);
}

Status LegTables::Write(const std::string& uuid, const std::vector<LegEntry>& legs,
                        bool keep_old) const {
  for (std::size_t i = 0; i < directories_.size(); ++i) {
    // A name that may lead to another device after a reboot is not kept over one.
    std::vector<LegEntry> kept;
    std::copy_if(legs.begin(), legs.end(), std::back_inserter(kept),
                 [&](const LegEntry& e) { return i == 0 || Lasts(e.id); });
    const Status set = SetIn(directories_[i], uuid, kept, keep_old);
    if (set.ok()) continue;
    if (i == 0) return set;
    spdlog::warn("{}", set.error().ToString());
  }
  return Ok();
}

}  // namespace shadow
