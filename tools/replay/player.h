// SPDX-License-Identifier: Apache-2.0
// Plays a plan against a device: O_DIRECT, io_uring, an open loop.
//
// Every I/O is sent when it is due, whether the ones before it have ended or not, up to `depth` in
// flight; what it was late by is kept and never hidden. One thread. The data written are random
// bytes; those read are thrown away. A failed I/O is counted, and the replay goes on.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "tools/replay/plan.h"

namespace shadow::replay {

/// An open block device (or a file) and what it says of itself.
class Target {
 public:
  /// For writing it is opened exclusively, so that a device that is mounted or part of another is
  /// refused. Errors: kNotFound, kPermissionDenied, kFailedPrecondition (in use), kIoError.
  static Result<std::unique_ptr<Target>> Open(const std::string& path, bool write);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::uint32_t logical_block() const { return logical_block_; }

 private:
  Target() = default;
  int fd_ = -1;
  std::uint64_t bytes_ = 0;
  std::uint32_t logical_block_ = 512;
};

/// Of one direction.
struct Played {
  std::vector<std::uint64_t> latency_ns;   // submission to completion
  std::vector<std::uint64_t> response_ns;  // due to completion: what an application would see
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;
  int first_error = 0;  // errno
};

struct Outcome {
  Played reads, writes;
  std::vector<std::uint64_t> late_ns;  // of every I/O
  std::int64_t elapsed_ns = 0;
  std::uint32_t most_in_flight = 0;
  bool interrupted = false;
};

/// Plays it. `stop`, once true, ends it after what is in flight. Errors: kUnavailable (no
/// io_uring), kIoError (the ring itself).
Result<Outcome> Play(const Plan& plan, const Target& target, std::uint32_t depth,
                     const std::atomic<bool>& stop);

}  // namespace shadow::replay
