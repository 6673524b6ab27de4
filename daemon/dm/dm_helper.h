// SPDX-License-Identifier: Apache-2.0
// Processes that do device mapper's work for the daemon, so that a call that hangs in the kernel
// hangs a process that nobody needs.
//
// An ioctl that waits for a dead device may be neither interruptible nor killable, and a process
// with such a thread cannot end. libdevmapper is not thread safe either. So each change of a device
// is made by a helper: a process with its own libdevmapper, one request at a time over a socket.
// Helpers are forked from a nursery, which is forked from the daemon before it has threads; they
// ignore SIGTERM and end when their socket is closed. The nursery reaps them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "daemon/base/result.h"
#include "daemon/dm/block_devices.h"
#include "daemon/dm/device_guard.h"
#include "daemon/dm/device_mapper.h"

namespace shadow {

/// A change of one device, or a look at its content, as it is sent to a helper.
struct DmRequest {
  std::string op;    // "create", "load", "clear", "suspend", "resume", "remove", "message"; a look:
                     // "signatures", "blank", "probe", ... (isolated_io.h)
  std::string name;  // device mapper's, or the path to look at
  std::string uuid;
  std::uint64_t sectors = 0;  // of the table; bytes of a look
  std::string text;           // the table's parameters, or the message
};

/// What a helper works with.
struct HelperTools {
  std::unique_ptr<DeviceMapper> dm;
  std::unique_ptr<DeviceGuard> guard;    // may be null
  std::unique_ptr<BlockDevices> blocks;  // may be null
};

/// The helper's end: answers requests until the socket is closed.
void ServeRequests(int socket, const HelperTools& tools);

/// The daemon's end of one helper. Not thread safe.
class DmHelper {
 public:
  DmHelper(int socket, pid_t pid) : socket_(socket), pid_(pid) {}
  ~DmHelper();
  DmHelper(const DmHelper&) = delete;
  DmHelper& operator=(const DmHelper&) = delete;

  /// kUnavailable when the helper is gone.
  Status Send(const DmRequest& request);
  /// Is there an answer, or an end? Waits at most `timeout_ms`.
  [[nodiscard]] bool Ready(int timeout_ms) const;
  /// The answer to a message, or "". Call it when Ready().
  Result<std::string> Receive();
  /// Ends it as soon as the kernel lets it go.
  void Kill() const;

 private:
  int socket_;
  pid_t pid_;
};

class DmNursery {
 public:
  using MakeFn = std::function<HelperTools()>;
  /// Forks the nursery: call it before the first thread. `make` runs in each helper.
  [[nodiscard]] static Result<std::unique_ptr<DmNursery>> Start(const MakeFn& make);
  ~DmNursery();
  DmNursery(const DmNursery&) = delete;
  DmNursery& operator=(const DmNursery&) = delete;

  /// A new helper. Thread safe.
  Result<std::unique_ptr<DmHelper>> Spawn();

 private:
  DmNursery(int socket, pid_t pid) : socket_(socket), pid_(pid) {}
  std::mutex mutex_;
  int socket_;
  pid_t pid_;
};

}  // namespace shadow
