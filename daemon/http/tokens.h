// SPDX-License-Identifier: Apache-2.0
// Who may change something over HTTP: a file of tokens, one a line, "NAME TOKEN".
//
// Empty lines and lines that begin with # do not count. The file must be the daemon's own and
// closed to everybody else, a token at least 20 characters long; `openssl rand -hex 16` makes one.
// It is read at each use, so taking a line out takes the right away at once.
#pragma once

#include <optional>
#include <string>

#include "daemon/base/result.h"

namespace shadow::http {

class Tokens {
 public:
  /// "": nobody may.
  explicit Tokens(std::string file) : file_(std::move(file)) {}
  /// Whether the file can be used as it is now. kInvalidArgument, kNotFound, kPermissionDenied.
  [[nodiscard]] Status Check() const;
  /// The name of who sent "Authorization: Bearer TOKEN". kPermissionDenied if that is nobody.
  [[nodiscard]] Result<std::string> NameOf(const std::string& authorization) const;
  [[nodiscard]] bool any() const { return !file_.empty(); }

 private:
  [[nodiscard]] Result<std::string> Read() const;
  const std::string file_;
};

}  // namespace shadow::http
