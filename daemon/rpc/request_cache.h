// SPDX-License-Identifier: Apache-2.0
// Answers given to requests with an id, so that a repeated request is answered and not done again.
//
// Every request with an id is here while it is being done: a second one with its id waits for a
// while, then it is told that the first is still at work. Answers are kept for the calls whose ids
// the engine does not keep (all but create, import, tiers and start modification). Only successes
// are kept: a call that failed has changed nothing and may be tried again. In memory, bounded: the
// oldest answers are forgotten first. Thread safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>

#include "daemon/base/result.h"

namespace shadow::rpc {

class RequestCache {
 public:
  /// Whose answer remembers the id?
  enum class Keep { kHere, kEngine };

  explicit RequestCache(std::size_t capacity = 1024,
                        std::chrono::milliseconds patience = std::chrono::seconds(10))
      : capacity_(capacity), patience_(patience) {}

  /// The serialized response to request `id` with content `request` (method name and message):
  /// remembered, or from `call`, which is then remembered. kAlreadyExists if the id was used with
  /// other content. An empty id always calls. `cancelled` is asked now and then while waiting for
  /// another caller with the same id; kAborted once it says so, kUnavailable when that one takes
  /// long.
  [[nodiscard]] Result<std::string> Do(const std::string& id, const std::string& request,
                                       const std::function<Result<std::string>()>& call,
                                       const std::function<bool()>& cancelled,
                                       Keep keep = Keep::kHere);

 private:
  struct Entry {
    std::string request;
    std::string response;
    bool done = false;
  };

  void Forget(const std::string& id);
  void Remember(const std::string& id, const std::string& response);

  const std::size_t capacity_;
  const std::chrono::milliseconds patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<std::string, Entry> entries_;  // guarded by mutex_
  std::deque<std::string> oldest_first_;  // guarded by mutex_; ids of entries that are done
};

}  // namespace shadow::rpc
