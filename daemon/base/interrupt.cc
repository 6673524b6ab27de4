// SPDX-License-Identifier: Apache-2.0
#include "daemon/base/interrupt.h"

namespace shadow {
namespace {

thread_local const Interrupt* current = nullptr;
std::atomic<bool> all{false};

}  // namespace

InterruptScope::InterruptScope(const Interrupt* interrupt) { current = interrupt; }
InterruptScope::~InterruptScope() { current = nullptr; }

bool Interrupted() { return all || (current != nullptr && current->IsSet()); }

void InterruptAll() { all = true; }

}  // namespace shadow
