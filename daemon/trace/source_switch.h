// SPDX-License-Identifier: Apache-2.0
// The access source that a volume uses: the one that was asked for, and the other one while that
// drops events or fails.
//
// One thread owns it (the volume's placement thread). It fails only when both sources do, and then
// tries again at the next Poll(). Every change of source is told through `on_event`, one sentence.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "daemon/dm/device_mapper.h"
#include "daemon/trace/access_source.h"

namespace shadow {

class RequestSink;  // daemon/trace/recorder.h

/// What to listen to, and with what.
struct SourceOptions {
  std::string volume;             // the dm name: /dev/mapper/<volume>
  std::uint64_t block_bytes = 0;  // of the volume, a power of two
  std::int64_t window_us = 60'000'000;
  /// "auto" (the harvest: see docs/trace.md for what each costs), "access" or "blktrace".
  std::string source = "auto";
  std::function<void(const std::string& sentence)> on_event;  // may be empty
  /// Where a note is kept of a trace that runs, so that the next start ends one that a crash left
  /// running. "": none.
  std::string state_dir;
  std::string dev_dir = "/dev/mapper";
  std::string debugfs = "/sys/kernel/debug";
  std::string sysfs = "/sys";
};

/// Who gives the windows now, and why it is not who was asked.
struct SourceState {
  std::string asked;           // "access" or "blktrace"
  std::string ruling;          // the same, or "" while neither works
  std::string reason;          // a sentence when `ruling` is not `asked`; else ""
  std::uint64_t windows = 0;   // closed
  std::uint64_t lost = 0;      // events, in all of them
  std::uint64_t switches = 0;  // changes of source
};

class SourceSwitch final : public AccessSource {
 public:
  /// `first` is preferred. After a failure or a window with losses `second` takes over for
  /// `penalty_windows` windows, twice as many each time up to 64, then `first` is tried again.
  SourceSwitch(std::unique_ptr<AccessSource> first, std::unique_ptr<AccessSource> second,
               std::function<void(const std::string&)> on_event, int penalty_windows = 4);
  ~SourceSwitch() override;

  /// The name of the source that rules now.
  [[nodiscard]] std::string Name() const override;
  /// kUnavailable only if neither source is to be had.
  Status Start(std::int64_t now_us) override;
  Status Poll(std::int64_t now_us) override;
  [[nodiscard]] std::int64_t PollUs() const override;
  Result<AccessWindow> CloseWindow(std::int64_t now_us) override;
  void Stop() override;

  [[nodiscard]] SourceState State() const { return state_; }

 private:
  Status Begin(int wanted, std::int64_t now_us);
  Status Change(int to, std::int64_t now_us);
  Status GiveUp(const Error& why, std::int64_t now_us);
  void Penalise(const std::string& why);
  void Say(const std::string& sentence) const;

  std::array<std::unique_ptr<AccessSource>, 2> sources_;
  std::function<void(const std::string&)> on_event_;
  const int least_penalty_;
  int penalty_;           // windows without `first` after its next failure
  int penalty_left_ = 0;  // of the present one
  int good_ = 0;          // windows of `first` in a row without a loss
  bool cut_ = false;      // the source changed in the middle of this window
  int ruling_ = -1;       // index into sources_; -1: neither
  SourceState state_;
};

/// The sources of a volume in the order that `options.source` says. `dm` must outlive it; `sink`,
/// if given, gets every request while blktrace rules. kInvalidArgument: an unknown source, a block
/// size that is no power of two from 64 KiB to 16 MiB.
Result<std::unique_ptr<SourceSwitch>> MakeAccessSource(DeviceMapper* dm,
                                                       const SourceOptions& options,
                                                       RequestSink* sink = nullptr);

}  // namespace shadow
