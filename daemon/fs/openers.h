// SPDX-License-Identifier: Apache-2.0
// Who has a block device open, as far as /proc and /sys tell.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace shadow {

struct Openers {
  std::uint32_t holders = 0;    // devices that lie on it: device mapper, partitions, md, ...
  std::uint32_t processes = 0;  // descriptors of processes, our own included
  std::uint32_t ours = 0;       // our own descriptors
  std::string holder;           // one of the holders, "dm-3"
  std::string other;            // another process that has it open, "qemu (process 77)"; ""
  std::string writer;           // one that may write to it
};

/// `proc` and `sys` are where procfs and sysfs are. Root sees every process, others see their own.
[[nodiscard]] Openers FindOpeners(dev_t device, const std::string& proc = "/proc",
                                  const std::string& sys = "/sys");

}  // namespace shadow
