// SPDX-License-Identifier: Apache-2.0
// A volume's model as it is in service: the model, its files, and when it learns and is saved. The
// worker serves it, and `pam eval --live` judges it.
//
// One thread. LibTorch starts threads when it trains, and a copy of a process has only one: the
// process itself must not have trained before it learns here. Files in `state_dir`:
//   NAME.pam    the snapshot: model, state of every block, training record, clock
//   NAME.log    what came since: windows and lessons, appended one by one
//   NAME.model  what `pam train -o` wrote, for a volume that has neither of the two
// Opening reads the snapshot and takes the log over it, so a kill at any moment loses at most the
// window that was being written. A log entry carries its window, and entries older than the
// snapshot are passed over: it does not matter whether the log was removed after a snapshot. A
// damaged file costs what it held, not the volume.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "daemon/base/result.h"
#include "pam/model/access_model.h"
#include "pam/worker/aside.h"

namespace shadow::pam {

struct LiveOptions {
  ModelOptions model;
  std::string state_dir;  // "": keeps nothing
  std::string name;
  int update_minutes = 15;  // 0: learns only when asked
  /// Windows between two snapshots, and more if they are large: at most so many bytes of snapshots
  /// a minute are written. With the log a volume then stays below 5 GB a day.
  std::uint32_t save_windows = 5;
  std::uint64_t save_bytes_per_minute = 3'000'000;
  unsigned most_seconds = 3600;  // of a training
};

class LiveModel {
 public:
  explicit LiveModel(const LiveOptions& options);

  [[nodiscard]] const AccessModel& model() const { return model_; }
  /// True if a snapshot was read.
  [[nodiscard]] bool restored() const { return restored_; }
  /// Of an open volume: its size and clock.
  void Reopen(std::uint64_t blocks, std::int64_t start_us);
  /// A window of the volume; `start_us` is its wall time, 0 if that is not known. An error refuses
  /// the window and changes nothing.
  Result<RoundReport> Close(const Window& window, std::int64_t start_us);
  /// Writes the snapshot if it is due; `volumes` share the budget of bytes.
  Status SaveIfDue(std::size_t volumes = 1);
  Status Save();
  /// Removes the files of a volume, but not the one that `pam train` wrote.
  static void Forget(const std::string& state_dir, const std::string& name);

  /// Starts the training that is due, or `what`, beside the process. Null: nothing is due.
  Result<std::unique_ptr<Aside>> StartLearning(Update what = Update::kNone);
  /// What the training said.
  Status TakeLesson(const Result<std::string>& said);
  /// Learns what is due and waits for it: for who has no other work. True if it learned.
  Result<bool> LearnAndWait(Update what = Update::kNone);

 private:
  enum class Kind : std::uint32_t { kVolume = 1, kWindow = 2, kLesson = 3 };
  [[nodiscard]] std::string Path(const char* suffix) const;
  void Open();
  bool ReadLog();
  bool Replay(Kind kind, std::string_view body);
  void Append(Kind kind, const std::string& body);

  LiveOptions options_;
  AccessModel model_;
  bool restored_ = false;
  bool log_begun_ = false;
  std::uint32_t since_save_ = 0;      // windows
  std::uint64_t snapshot_bytes_ = 0;  // of the last one
};

}  // namespace shadow::pam
