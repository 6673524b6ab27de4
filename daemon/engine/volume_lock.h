// SPDX-License-Identifier: Apache-2.0
// One operation at a time on a volume: the others are refused, they do not wait.
#pragma once

#include <mutex>
#include <set>
#include <string>

#include "daemon/engine/engine_impl.h"

namespace shadow {

class EngineImpl::VolumeLock {
 public:
  VolumeLock(EngineImpl* engine, std::string name) : engine_(*engine), name_(std::move(name)) {
    const std::lock_guard<std::mutex> lock(engine_.state_);
    held_ = engine_.busy_.insert(name_).second;
  }
  ~VolumeLock() {
    const std::lock_guard<std::mutex> lock(engine_.state_);
    if (held_) engine_.busy_.erase(name_);
  }
  VolumeLock(const VolumeLock&) = delete;
  VolumeLock& operator=(const VolumeLock&) = delete;

  [[nodiscard]] Status Check() const {
    if (held_) return Ok();
    return MakeError(Code::kAborted, "Another request is at work on the volume " + name_ + ".",
                     "try again in a moment");
  }

 private:
  EngineImpl& engine_;
  std::string name_;
  bool held_ = false;
};

}  // namespace shadow
