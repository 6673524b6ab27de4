// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/request_cache.h"

#include <algorithm>
#include <chrono>

#include "daemon/rpc/errors.h"

namespace shadow::rpc {

Result<std::string> RequestCache::Do(const std::string& id, const std::string& request,
                                     const std::function<Result<std::string>()>& call,
                                     const std::function<bool()>& cancelled, enum Keep keep) {
  if (id.empty()) return call();
  const auto late = std::chrono::steady_clock::now() + patience_;
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      auto it = entries_.find(id);
      if (it == entries_.end()) break;
      if (it->second.request != request) {
        return MakeError(Code::kAlreadyExists,
                         "The request id " + Quote(id) + " was already used for another request.",
                         "Use a new id for a new request.");
      }
      if (it->second.done) return it->second.response;
      if (cancelled()) return MakeError(Code::kAborted, "The call was cancelled.");
      if (std::chrono::steady_clock::now() >= late) {
        return MakeError(Code::kUnavailable,
                         "The daemon is still at work on the request " + Quote(id) + ".",
                         "Ask again with the same request id: it is done at most once.");
      }
      changed_.wait_for(lock, std::min(patience_, std::chrono::milliseconds(100)));
    }
    Entry entry;
    entry.request = request;
    entries_.emplace(id, std::move(entry));
  }
  // Not done, whatever way this function is left, until Remember says so.
  struct Guard {
    RequestCache* cache;
    const std::string& id;
    ~Guard() {
      if (cache != nullptr) cache->Forget(id);
    }
  } guard{this, id};
  Result<std::string> response = call();
  if (response.ok() && keep == Keep::kHere) {
    guard.cache = nullptr;
    Remember(id, *response);
  }
  return response;
}

void RequestCache::Forget(const std::string& id) {
  const std::lock_guard lock(mutex_);
  entries_.erase(id);
  changed_.notify_all();
}

void RequestCache::Remember(const std::string& id, const std::string& response) {
  const std::lock_guard lock(mutex_);
  Entry& entry = entries_.at(id);
  entry.response = response;
  entry.done = true;
  oldest_first_.push_back(id);
  if (oldest_first_.size() > capacity_) {
    entries_.erase(oldest_first_.front());
    oldest_first_.pop_front();
  }
  changed_.notify_all();
}

}  // namespace shadow::rpc
