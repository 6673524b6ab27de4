// SPDX-License-Identifier: Apache-2.0
// Work that anybody on this machine may start through the read-only socket: cached and limited.
//
// Plans, classes, checks and latencies run LVM's commands, read devices and write to the store, as
// root. From a caller who may only read, such a call is done one at a time; its answer serves
// everybody who asks the same within kFresh; and no more than kBurst at once, then one a second,
// are done at all. Others are told to come again. Thread safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"

namespace shadow::rpc {

class OpenWork {
 public:
  static constexpr std::int64_t kFreshUs = 5'000'000;
  static constexpr std::int64_t kBurst = 10;
  static constexpr std::int64_t kRefillUs = 1'000'000;

  explicit OpenWork(const Clock& clock) : clock_(clock) {}

  /// The serialized answer to `request` (its type and content), new or at most kFreshUs old.
  /// kUnavailable when there is too much of this.
  [[nodiscard]] Result<std::string> Do(const std::string& request,
                                       const std::function<Result<std::string>()>& call);

 private:
  struct Answer {
    std::int64_t at_us = 0;
    std::string bytes;
  };

  const Clock& clock_;
  std::timed_mutex work_;  // held over a call; guards what follows
  std::map<std::string, Answer> answers_;
  std::int64_t spent_ = 0;  // of the burst
  std::int64_t refilled_us_ = 0;
};

}  // namespace shadow::rpc
