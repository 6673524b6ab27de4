// SPDX-License-Identifier: Apache-2.0
// Work that takes long, in a copy of the process: what it works on stays as it was when it began,
// the process goes on meanwhile, and to kill it loses nothing but the work.
//
// One thread owns it; the process must have no other one. The copy runs with the lowest priority,
// ends with its parent, and after `seconds` at the latest.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "daemon/base/result.h"

namespace shadow::pam {

class Aside {
 public:
  /// kIoError if there can be no other process.
  static Result<std::unique_ptr<Aside>> Start(const std::function<std::string()>& work,
                                              unsigned seconds);
  ~Aside();  // ends the work where it may, else it goes on and nobody hears of it
  Aside(const Aside&) = delete;
  Aside& operator=(const Aside&) = delete;

  /// Readable when Take() has something to do.
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// What the work said, once it is done; nothing while it goes on. An error if it was killed.
  /// `wait`: until it is done.
  std::optional<Result<std::string>> Take(bool wait);

 private:
  Aside(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  pid_t pid_;
  int fd_;
  std::string said_;
};

}  // namespace shadow::pam
