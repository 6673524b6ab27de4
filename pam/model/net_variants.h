// SPDX-License-Identifier: Apache-2.0
// The two builds of the inference kernels, for net.cc and its test. Internal to pam/model.
#pragma once

#include "pam/model/net.h"

namespace shadow::pam::internal {

struct NetKernels {
  /// Up to eight blocks; see LstmStep and HeadForward.
  void (*step)(const NetWeights&, const float* events, LstmState* const*, int n);
  void (*head)(const NetWeights&, const LstmState* const*, const float* features, int n,
               float* out);
};

extern const NetKernels kNetBase;
extern const NetKernels kNetAvx2;  // call only where the processor has AVX2, FMA and F16C

}  // namespace shadow::pam::internal
