// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/watch.h"

#include "tools/shadowctl/humanize.h"

namespace shadow::ctl {
namespace {

/// Follows one stream to its end. True when `options.until` was reached.
Result<bool> Follow(Client& client, const WatchOptions& options, Reporter& reporter,
                    Interrupts& interrupts, v1::Modification* last,
                    const std::function<void()>& on_first) {
  grpc::ClientContext context;
  interrupts.OnInterrupt([&context] { context.TryCancel(); });
  struct Guard {
    Interrupts& interrupts;
    ~Guard() { interrupts.OnInterrupt(nullptr); }
  } guard{interrupts};
  v1::WatchModificationRequest request;
  request.set_id(options.id);
  const auto ms = options.heartbeat.count();
  request.mutable_heartbeat()->set_seconds(ms / 1000);
  request.mutable_heartbeat()->set_nanos(static_cast<int>(ms % 1000) * 1'000'000);
  auto reader = client.modifications().WatchModification(&context, request);
  v1::WatchModificationResponse message;
  bool first = true;
  bool reached = false;
  while (!reached && reader->Read(&message)) {
    if (first) on_first();
    first = false;
    *last = message.modification();
    reporter.Update(*last);
    reached = Reached(*last, options.until);
  }
  if (reached) context.TryCancel();
  const grpc::Status status = reader->Finish();
  if (reached || status.ok()) return true;
  return rpc::FromGrpcStatus(status);
}

}  // namespace

bool Reached(const v1::Modification& m, Until until) {
  if (m.final()) return true;
  return until == Until::kCutOver &&
         (m.phase() == v1::PHASE_GRACE || m.phase() == v1::PHASE_DECOMMISSIONING);
}

Result<WatchOutcome> Watch(const std::function<Result<Client>()>& connect,
                           const WatchOptions& options, Reporter& reporter,
                           Interrupts& interrupts) {
  using Clock = std::chrono::steady_clock;
  WatchOutcome outcome;
  bool lost = false;
  bool ever = false;  // a daemon that was never there is not waited for
  Clock::time_point give_up;
  for (;;) {
    const auto on_first = [&] {
      if (lost) reporter.Back();
      lost = false;
      ever = true;
    };
    Result<Client> client = connect();
    Error error;
    if (client.ok()) {
      Result<bool> followed =
          Follow(*client, options, reporter, interrupts, &outcome.last, on_first);
      if (interrupts.interrupted()) {
        reporter.End();
        outcome.interrupted = true;
        return outcome;
      }
      if (followed.ok()) {
        reporter.End();
        return outcome;
      }
      error = followed.error();
    } else {
      error = client.error();
    }
    if (error.code != Code::kUnavailable || !ever) {
      reporter.End();
      return error;
    }
    if (!lost) {
      lost = true;
      give_up = Clock::now() + options.patience;
      reporter.Lost(error, options.patience);
    }
    if (Clock::now() >= give_up) {
      reporter.End();
      return MakeError(Code::kUnavailable,
                       "The daemon did not come back within " +
                           FormatDuration(options.patience.count() * 1000) + ".",
                       "Nothing is lost. Start it with `systemctl start shadowd`, then watch on "
                       "with `shadowctl op watch " +
                           options.id + "`.");
    }
    interrupts.OnInterrupt([] {});
    const bool stop = interrupts.WaitFor(options.retry);
    interrupts.OnInterrupt(nullptr);
    if (stop) {
      reporter.End();
      outcome.interrupted = true;
      return outcome;
    }
  }
}

}  // namespace shadow::ctl
