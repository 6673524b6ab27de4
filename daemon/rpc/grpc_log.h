// SPDX-License-Identifier: Apache-2.0
// gRPC's own log lines go to the daemon's log, a few a minute: strangers on a port must not be able
// to fill the journal.
#pragma once

namespace shadow {

/// Call once, before the first server. From then on any thread may log; never fails.
void TakeGrpcLog();

}  // namespace shadow
