// SPDX-License-Identifier: Apache-2.0
// See warm_up.h. Alone in its file, because LibTorch's headers take their time to compile.
#include "pam/worker/warm_up.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>

namespace shadow::pam {

void WarmUpLibTorch() {
  at::set_num_threads(1);                      // /proc/cpuinfo, /sys/devices/system/cpu
  (void)at::detail::getDefaultCPUGenerator();  // its first seed, from /dev/urandom
}

}  // namespace shadow::pam
