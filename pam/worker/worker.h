// SPDX-License-Identifier: Apache-2.0
// The worker process behind the daemon: answers frames (proto/pam/v1/worker.proto) on a socket.
//
// One thread. Trusts nothing of its peer: a frame that cannot be read is answered with an error, a
// length out of range ends the process (there is no way to find the next frame). Bounded memory:
// frames of 16 MiB, WorkerOptions::max_volumes volumes, `max_known` blocks each; bounded rounds
// through ModelOptions::max_scores. Files: see live.h. Learns in a copy of the process, one volume
// at a time, so that it answers meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "pam/worker/aside.h"
#include "pam/worker/live.h"

namespace pam::v1 {
class CloseWindow;
class GetHeat;
class OpenVolume;
class Reply;
class Request;
}  // namespace pam::v1

namespace shadow::pam {

struct WorkerOptions {
  std::string state_dir;  // "" keeps nothing
  std::size_t max_volumes = 64;
  std::uint64_t max_known =
      16'000'000;  // ever-touched blocks of a volume; then windows are refused
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
  /// Starts the learning that is due, unless some is under way.
  void StartLearning();
  /// Readable when TakeLesson() has something to do; negative while nobody learns.
  [[nodiscard]] int LearningFd() const { return aside_ == nullptr ? -1 : aside_->fd(); }
  /// Uses what was learned, if it is done; `wait`: until it is.
  Status TakeLesson(bool wait);

 private:
  Result<LiveModel*> Find(const std::string& name);
  Status Open(const ::pam::v1::OpenVolume& open);
  Status CloseWindow(const ::pam::v1::CloseWindow& in, ::pam::v1::Reply* reply);
  Status Heat(const ::pam::v1::GetHeat& ask, ::pam::v1::Reply* reply);
  Status Train(const std::string& name);
  Status Describe(const std::string& name, ::pam::v1::Reply* reply);
  Status Drop(const std::string& name);
  Status Serve(const ::pam::v1::Request& request, ::pam::v1::Reply* reply);

  WorkerOptions options_;
  std::map<std::string, std::unique_ptr<LiveModel>> volumes_;
  std::unique_ptr<Aside> aside_;
  std::string learner_;       // the volume that learns in `aside_`; "" if it was closed meanwhile
  std::string last_learner_;  // volumes take turns
};

/// Serves `fd` until the peer closes it (exit code 0) or breaks the framing (1).
int ServeWorker(int fd, const WorkerOptions& options);

}  // namespace shadow::pam
