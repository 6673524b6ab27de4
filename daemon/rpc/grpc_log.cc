// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/grpc_log.h"

#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <mutex>

namespace shadow {
namespace {

constexpr int kLinesAMinute = 20;

void Log(gpr_log_func_args* args) {
  using Clock = std::chrono::steady_clock;
  static std::mutex mutex;
  static Clock::time_point minute = Clock::now();
  static int lines = 0;
  {
    const std::lock_guard lock(mutex);
    if (Clock::now() - minute > std::chrono::minutes(1)) {
      if (lines > kLinesAMinute) spdlog::warn("gRPC: {} lines left out", lines - kLinesAMinute);
      minute = Clock::now();
      lines = 0;
    }
    if (++lines > kLinesAMinute) return;
  }
  spdlog::info("gRPC: {}", args->message);
}

}  // namespace

void TakeGrpcLog() { gpr_set_log_function(Log); }

}  // namespace shadow
