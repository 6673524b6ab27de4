// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/open_work.h"

#include <algorithm>

namespace shadow::rpc {
namespace {

// How long one caller waits for the work of another.
constexpr std::chrono::seconds kPatience{5};

Error TooMuch() {
  return MakeError(Code::kUnavailable, "Too much is asked of the read-only socket.",
                   "Try again in a moment, or use the admin socket.");
}

}  // namespace

Result<std::string> OpenWork::Do(const std::string& request,
                                 const std::function<Result<std::string>()>& call) {
  const std::unique_lock<std::timed_mutex> lock(work_, kPatience);
  if (!lock.owns_lock()) return TooMuch();
  const std::int64_t now = clock_.MonotonicUs();
  std::erase_if(answers_, [&](const auto& a) { return now - a.second.at_us >= kFreshUs; });
  if (const auto it = answers_.find(request); it != answers_.end()) return it->second.bytes;
  const std::int64_t refill = (now - refilled_us_) / kRefillUs;
  if (refill > 0) {
    spent_ = std::max<std::int64_t>(0, spent_ - refill);
    refilled_us_ = now;
  }
  if (spent_ >= kBurst) return TooMuch();
  ++spent_;
  Result<std::string> bytes = call();
  // Refusals are not kept: what they say may be mended by then.
  if (bytes.ok()) answers_[request] = {now, *bytes};
  return bytes;
}

}  // namespace shadow::rpc
