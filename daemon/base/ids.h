// SPDX-License-Identifier: Apache-2.0
// Random identifiers, injected so that tests get the same ones every time.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace shadow {

class IdSource {
 public:
  virtual ~IdSource() = default;
  /// A UUID in the usual form, lower case. Thread safe.
  [[nodiscard]] virtual std::string NewUuid() = 0;
};

/// Version 4 UUIDs from the kernel's random numbers.
class RandomIds final : public IdSource {
 public:
  [[nodiscard]] std::string NewUuid() override;
};

/// 00000001-0000-4000-8000-000000000000, then 00000002-... and so on.
class CountingIds final : public IdSource {
 public:
  [[nodiscard]] std::string NewUuid() override;

 private:
  std::atomic<std::uint64_t> next_{1};
};

}  // namespace shadow
