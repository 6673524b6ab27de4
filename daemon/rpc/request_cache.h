// SPDX-License-Identifier: Apache-2.0
// Answers given to requests with an id, so that a repeated request is answered and not done again.
//
// For the calls whose ids the engine does not keep (all but create, import and start modification).
// Only successes are kept: a call that failed has changed nothing and may be tried again. In
// memory, bounded: the oldest answers are forgotten first. Thread safe; a second request with the
// id of one that is still being done waits for it.
#pragma once

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
  explicit RequestCache(std::size_t capacity = 1024) : capacity_(capacity) {}

  /// The serialized response to request `id` with content `request` (method name and message):
  /// remembered, or from `call`, which is then remembered. kAlreadyExists if the id was used with
  /// other content. An empty id always calls. `cancelled` is asked now and then while waiting for
  /// another caller with the same id; kAborted once it says so.
  [[nodiscard]] Result<std::string> Do(const std::string& id, const std::string& request,
                                       const std::function<Result<std::string>()>& call,
                                       const std::function<bool()>& cancelled);

 private:
  struct Entry {
    std::string request;
    std::string response;
    bool done = false;
  };

  void Forget(const std::string& id);
  void Keep(const std::string& id, const std::string& response);

  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<std::string, Entry> entries_;  // guarded by mutex_
  std::deque<std::string> oldest_first_;  // guarded by mutex_; ids of entries that are done
};

}  // namespace shadow::rpc
