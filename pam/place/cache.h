// SPDX-License-Identifier: Apache-2.0
// Replacement policies that decide at each access: LRU, LFU, 2Q, ARC, S3-FIFO, SMQ, and two with
// knowledge of the future, static oracle and Belady's MIN. For the placement simulators.
//
// Each object is used by one thread. Sources: 2Q (Johnson and Shasha 1994), ARC (Megiddo and Modha
// 2003), S3-FIFO (Yang et al. 2023), SMQ after the description in the kernel's
// Documentation/admin-guide/device-mapper/cache-policies.rst, MIN (Belady 1966).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pam/window/windowing.h"

namespace shadow::pam {

class CachePolicy {
 public:
  virtual ~CachePolicy() = default;
  struct Outcome {
    bool held = false;      // the tier held the block before this access
    bool admitted = false;  // it was taken in by it
  };
  /// The `number`-th access (from 0) goes to `block`.
  virtual Outcome Access(std::uint32_t block, std::size_t number) = 0;
};

/// lru, lfu, 2q, arc, s3fifo, smq; static, belady (these two read `future`, all accesses).
/// capacity: blocks, at least 1. Null for an unknown name.
std::unique_ptr<CachePolicy> MakeCachePolicy(const std::string& name, std::size_t capacity,
                                             std::span<const BlockRequest> future);

inline constexpr const char* kCachePolicies[] = {"lru",    "lfu", "2q",     "arc",
                                                 "s3fifo", "smq", "static", "belady"};

}  // namespace shadow::pam
