// SPDX-License-Identifier: Apache-2.0
// What LibTorch reads from the machine (which processor is this, a first random seed) is read
// before the worker shuts itself in. Later it would find neither and refuse to train.
#pragma once

namespace shadow::pam {

/// Call once, on the main thread, before EnterSandbox. Makes no thread. Throws what LibTorch
/// throws.
void WarmUpLibTorch();

}  // namespace shadow::pam
