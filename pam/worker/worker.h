// SPDX-License-Identifier: Apache-2.0
// The worker process behind the daemon: answers frames (proto/pam/v1/worker.proto) on a socket.
//
// One thread. Trusts nothing of its peer: a frame that cannot be read is answered with an error, a
// length out of range ends the process (there is no way to find the next frame). Bounded memory:
// frames of 16 MiB, WorkerOptions::max_volumes volumes, `max_known` blocks each; bounded rounds
// through ModelOptions::max_scores. State: one snapshot a volume in `state_dir`, written through a
// rename, every `save_windows` windows; after a kill the last one is restored. A volume without a
// snapshot starts with the model in NAME.model (`pam train -o`), if there is one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "daemon/base/result.h"
#include "pam/model/access_model.h"

namespace shadow::pam {

struct WorkerOptions {
  std::string state_dir;  // "" keeps nothing
  std::size_t max_volumes = 64;
  std::uint64_t max_known =
      16'000'000;                     // ever-touched blocks of a volume; then windows are refused
  std::size_t max_samples = 200'000;  // kept for training, per volume
  std::uint32_t save_windows = 5;
  std::uint32_t update_minutes = 15;  // between on-line updates; 0: only when asked
};

inline constexpr std::uint32_t kMaxFrame = 1u << 24;

class Worker {
 public:
  explicit Worker(const WorkerOptions& options);
  ~Worker();
  /// Answers one request, given and returned without the length prefix. Never fails: an error is in
  /// the reply.
  std::string Handle(const std::string& frame);
  /// On-line learning that is due, after a reply went out. Returns true if it did something.
  bool Idle();

 private:
  struct Volume;
  Result<Volume*> Find(const std::string& name);
  Status Open(const std::string& name, const ModelOptions& options);
  Status Save(const std::string& name);
  std::string PathOf(const std::string& name) const;
  std::string ModelPathOf(const std::string& name) const;
  /// Nothing if there is no such file, or no state directory.
  std::optional<std::string> ReadFile(const std::string& path) const;

  WorkerOptions options_;
  std::map<std::string, std::unique_ptr<Volume>> volumes_;
};

/// Serves `fd` until the peer closes it (exit code 0) or breaks the framing (1).
int ServeWorker(int fd, const WorkerOptions& options);

}  // namespace shadow::pam
