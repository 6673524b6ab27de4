// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/scratch_copy.h"

#include <stdlib.h>

#include <filesystem>

#include "daemon/store/schema.h"

namespace shadow {
namespace {

namespace fs = std::filesystem;

// "" if none can be made.
std::string PrivateDirectory() {
  for (const char* base : {"/run", "/dev/shm", "/tmp"}) {
    std::string pattern = std::string(base) + "/shadowd-state-XXXXXX";
    if (mkdtemp(pattern.data()) != nullptr) return pattern;
  }
  return "";
}

Error Unreadable(const std::string& path, const std::string& why) {
  return MakeError(Code::kIoError, path + " can be neither written nor copied: " + why + ".",
                   "look at the disk under the state directory");
}

}  // namespace

Result<std::unique_ptr<ScratchCopy>> ScratchCopy::Of(const std::string& path) {
  std::error_code error;
  // An empty file is one that was made and then could not be written.
  if (!fs::exists(path, error) || fs::file_size(path, error) == 0) {
    return MakeError(Code::kNotFound, "There is no state file " + path + ".");
  }
  const std::string directory = PrivateDirectory();
  if (directory.empty()) return Unreadable(path, "there is no room in /run");
  std::unique_ptr<ScratchCopy> copy(new ScratchCopy(directory));
  const std::string file = directory + "/state.db";
  fs::copy_file(path, file, error);
  if (!error && fs::exists(path + "-wal")) fs::copy_file(path + "-wal", file + "-wal", error);
  if (error) return Unreadable(path, error.message());
  fs::permissions(file, fs::perms::owner_read | fs::perms::owner_write, error);
  SHADOW_ASSIGN(copy->db_, sqlite::Open(file));
  SHADOW_TRY(UpgradeSchema(copy->db_.get()));
  sqlite::Statement last(copy->db_.get(), "SELECT coalesce(max(seq), 0) FROM events");
  SHADOW_ASSIGN([[maybe_unused]] const bool row, last.Step());
  copy->last_event_ = last.Number(0);
  return copy;
}

ScratchCopy::~ScratchCopy() {
  db_.reset();
  std::error_code ignored;
  fs::remove_all(directory_, ignored);
}

}  // namespace shadow
