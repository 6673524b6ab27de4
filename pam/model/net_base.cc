// SPDX-License-Identifier: Apache-2.0
// The inference kernels of net_kernel.h, compiled for the base instruction set. See net.h.
#define SHADOW_NET_NAMESPACE net_base
#include "pam/model/net_kernel.h"
#include "pam/model/net_variants.h"

namespace shadow::pam::internal {

const NetKernels kNetBase = {&net_base::Step8, &net_base::Head8};

}  // namespace shadow::pam::internal
