// SPDX-License-Identifier: Apache-2.0
// The inference kernels of net_kernel.h, compiled for AVX2 with FMA and F16C. See net.h.
#define SHADOW_NET_NAMESPACE net_avx2
#include "pam/model/net_kernel.h"
#include "pam/model/net_variants.h"

namespace shadow::pam::internal {

const NetKernels kNetAvx2 = {&net_avx2::Step8, &net_avx2::Head8};

}  // namespace shadow::pam::internal
