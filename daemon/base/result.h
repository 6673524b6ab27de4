// SPDX-License-Identifier: Apache-2.0
// The one Result<T> of the project: a value, or an Error that says what happened and what to do.
//
// No exceptions cross a module's border: a function that can fail returns Result<T> (or Status for
// "nothing to return"), and the compiler refuses to let it be dropped. The table that maps an
// error code to a gRPC status and to an exit code is daemon/base/error_table.h.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace shadow {

/// What kind of failure it is. One meaning each; exit codes and gRPC statuses follow it.
enum class Code : std::uint8_t {
  kInvalidArgument,     // the request itself is wrong; sending it again will not help
  kNotFound,            // the named thing does not exist
  kAlreadyExists,       // the name, or the request id with another request, is taken
  kFailedPrecondition,  // right request, wrong moment: the hint says what has to happen first
  kOutOfSpace,          // a leg, a class or the store has no room
  kPermissionDenied,    // the caller, or the daemon itself, may not
  kUnavailable,         // daemon, module or device not there; may come back
  kAborted,             // lost a race or was cancelled
  kIoError,             // a device or file failed
  kDataLoss,            // something on disk is damaged; nothing was guessed
  kUnimplemented,       // known but not built in this version
  kInternal,            // a bug: invariant broken
};

/// An error: its kind, one sentence of what happened, and one of what to do ("" if none).
struct [[nodiscard]] Error {
  Code code = Code::kInternal;
  std::string message;
  std::string hint;

  /// "message (hint)" for logs and terminals.
  [[nodiscard]] std::string ToString() const {
    return hint.empty() ? message : message + " (" + hint + ")";
  }
};

inline Error MakeError(Code code, std::string message, std::string hint = {}) {
  return Error{code, std::move(message), std::move(hint)};
}

struct Unit {};

/// A T or an Error. Test with ok() before value(); both accessors terminate when misused.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : v_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : v_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  [[nodiscard]] bool ok() const { return v_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() & { return std::get<0>(v_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(v_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(v_)); }
  [[nodiscard]] const Error& error() const { return std::get<1>(v_); }

  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> v_;
};

/// Success, or an Error.
using Status = Result<Unit>;
inline Status Ok() { return Unit{}; }

}  // namespace shadow

#define SHADOW_CONCAT_INNER(a, b) a##b
#define SHADOW_CONCAT(a, b) SHADOW_CONCAT_INNER(a, b)

/// Returns the error of `expr` (a Result) from the enclosing function, if it has one.
#define SHADOW_TRY(expr)                               \
  do {                                                 \
    auto shadow_try_ = (expr);                         \
    if (!shadow_try_.ok()) return shadow_try_.error(); \
  } while (0)

/// `lhs = value of expr`, or returns its error from the enclosing function.
#define SHADOW_ASSIGN(lhs, expr)                         \
  auto SHADOW_CONCAT(shadow_res_, __LINE__) = (expr);    \
  if (!SHADOW_CONCAT(shadow_res_, __LINE__).ok())        \
    return SHADOW_CONCAT(shadow_res_, __LINE__).error(); \
  lhs = std::move(SHADOW_CONCAT(shadow_res_, __LINE__)).value()  // NOLINT: may be a declaration
