// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/ids.h"

#include <sys/random.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace shadow {

std::string RandomIds::NewUuid() {
  std::array<unsigned char, 16> b{};
  std::size_t have = 0;
  while (have < b.size()) {
    const ssize_t got = getrandom(b.data() + have, b.size() - have, 0);
    // Without random numbers two volumes could get the same identity: there is no safe way on.
    if (got <= 0) std::abort();
    have += static_cast<std::size_t>(got);
  }
  b[6] = static_cast<unsigned char>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<unsigned char>((b[8] & 0x3f) | 0x80);
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(),
                "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
                b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
                b[15]);
  return text.data();
}

std::string CountingIds::NewUuid() {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%08llx-0000-4000-8000-000000000000",
                static_cast<unsigned long long>(next_.fetch_add(1)));
  return text.data();
}

}  // namespace shadow
