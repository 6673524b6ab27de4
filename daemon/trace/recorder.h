// SPDX-License-Identifier: Apache-2.0
// Records the requests of a volume to a file: CSV (timestamp_us,offset_bytes,length_bytes,op),
// compressed with zstd when the name ends in .zst. Every reader of pam/trace reads it back.
//
// Used by the thread that owns the source. A full disk ends the recording and is told by Close();
// it never stops the source. A recording that was cut off is readable up to the last flush.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "pam/trace/request.h"

namespace shadow {

/// Where single requests go while blktrace runs.
class RequestSink {
 public:
  virtual ~RequestSink() = default;
  /// `request.time_us` is since the epoch, ascending but for the CPUs' order within a poll.
  virtual void Take(const pam::Request& request) = 0;
};

class Recorder final : public RequestSink {
 public:
  /// Creates `path` (which must not exist), readable by the owner only. Recording ends by itself
  /// at `most_bytes` of file. Errors: kAlreadyExists, kIoError.
  static Result<std::unique_ptr<Recorder>> Create(const std::string& path,
                                                  std::uint64_t most_bytes = 1ull << 40);
  ~Recorder() override;

  void Take(const pam::Request& request) override;
  /// Ends the file. The first error since Create(): kIoError, kOutOfSpace (limit reached).
  Status Close();

  [[nodiscard]] std::uint64_t requests() const { return requests_; }
  [[nodiscard]] std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  struct Impl;
  explicit Recorder(std::unique_ptr<Impl> impl);
  Status Drain(bool end);

  std::unique_ptr<Impl> impl_;
  std::uint64_t requests_ = 0;
  std::uint64_t file_bytes_ = 0;
};

}  // namespace shadow
