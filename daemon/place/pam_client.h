// SPDX-License-Identifier: Apache-2.0
// The daemon's end of the worker process of the predictive access model (pam_worker).
//
// Owned by the placement thread, shared by the policies of all volumes; not thread safe. Every call
// returns within the time it is given. A worker that died, answers nonsense, or has not answered
// for `late_ms` is ended and started again after a pause that grows from `first_pause_ms` to
// `longest_pause_ms`; whoever had asked it learns that from generation().
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"

namespace pam::v1 {
class Reply;
class Request;
}  // namespace pam::v1

namespace shadow {

struct PamClientOptions {
  std::string program;             // path of pam_worker
  std::string state_dir;           // snapshots; made if it is not there. "": keeps none
  std::int64_t late_ms = 120'000;  // training on line takes tens of seconds
  std::int64_t first_pause_ms = 1'000;
  std::int64_t longest_pause_ms = 300'000;
};

class PamClient {
 public:
  PamClient(PamClientOptions options, const Clock& clock);
  ~PamClient();  // closes the socket; a worker that is still busy is killed
  PamClient(const PamClient&) = delete;
  PamClient& operator=(const PamClient&) = delete;

  /// Queues a request and gives its id. Starts the worker if that is due. kUnavailable with the
  /// reason when there is none.
  Result<std::uint64_t> Send(::pam::v1::Request request);
  /// Queues a request whose answer nobody waits for.
  void Tell(::pam::v1::Request request);
  /// The volume is gone: so is what was kept of it.
  void Forget(const std::string& volume);
  /// Moves bytes both ways for at most `wait_ms` (0: only what is ready), or until the answer to
  /// `until` is there.
  void Pump(std::int64_t wait_ms, std::uint64_t until = 0);
  /// Takes the answer to a request. False: not there (yet).
  bool Take(std::uint64_t id, ::pam::v1::Reply* reply);

  /// Grows with every start. What was sent to an earlier one is lost; volumes have to be opened
  /// again.
  [[nodiscard]] std::uint64_t generation() const { return generation_; }
  [[nodiscard]] bool running() const { return fd_ >= 0; }
  /// Why there is no worker; "" while there is one.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  [[nodiscard]] std::uint64_t restarts() const { return generation_ > 0 ? generation_ - 1 : 0; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  struct Answer {
    std::uint64_t id = 0;
    std::string frame;
  };
  bool Start();
  void End(std::string why);
  void WriteSome();
  void ReadSome();
  void CheckLate();

  PamClientOptions options_;
  const Clock& clock_;
  int fd_ = -1;
  pid_t pid_ = -1;
  std::uint64_t generation_ = 0, next_id_ = 1;
  std::int64_t pause_ms_ = 0, start_at_us_ = 0, asked_us_ = 0;
  std::string trouble_, out_, in_;
  std::deque<std::uint64_t> waiting_;  // ids sent and not answered, in order
  std::vector<Answer> answers_;
  std::set<std::uint64_t> told_;  // nobody takes their answers
};

}  // namespace shadow
