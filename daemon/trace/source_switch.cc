// SPDX-License-Identifier: Apache-2.0
#include "daemon/trace/source_switch.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "daemon/trace/access_bits_source.h"
#include "daemon/trace/blktrace_source.h"

namespace shadow {
namespace {

constexpr int kLongestPenalty = 64;
constexpr int kForgiven = 16;  // good windows in a row after which old failures are forgotten

}  // namespace

SourceSwitch::SourceSwitch(std::unique_ptr<AccessSource> first,
                           std::unique_ptr<AccessSource> second,
                           std::function<void(const std::string&)> on_event, int penalty_windows)
    : sources_{std::move(first), std::move(second)},
      on_event_(std::move(on_event)),
      least_penalty_(penalty_windows),
      penalty_(penalty_windows) {
  state_.asked = sources_[0]->Name();
}

SourceSwitch::~SourceSwitch() { SourceSwitch::Stop(); }

std::string SourceSwitch::Name() const { return state_.ruling; }

void SourceSwitch::Say(const std::string& sentence) const {
  if (on_event_) on_event_(sentence);
}

std::int64_t SourceSwitch::PollUs() const {
  return sources_.at(static_cast<std::size_t>(std::max(ruling_, 0)))->PollUs();
}

Status SourceSwitch::Start(std::int64_t now_us) {
  Stop();
  good_ = 0;
  penalty_ = least_penalty_;
  return Begin(0, now_us);
}

void SourceSwitch::Stop() {
  for (auto& source : sources_) source->Stop();
  ruling_ = -1;
  state_.ruling.clear();
}

// Lets `wanted` rule, or the other one if it does not start.
Status SourceSwitch::Begin(int wanted, std::int64_t now_us) {
  Error why;
  for (const int i : {wanted, 1 - wanted}) {
    AccessSource& source = *sources_.at(static_cast<std::size_t>(i));
    if (auto started = source.Start(now_us); !started.ok()) {
      source.Stop();
      why = started.error();
      if (i == 0) Penalise(why.ToString());
      continue;
    }
    ruling_ = i;
    state_.ruling = source.Name();
    if (i == 0) state_.reason.clear();
    return Ok();
  }
  ruling_ = -1;
  state_.ruling.clear();
  state_.reason = "Neither source of accesses works: " + why.ToString();
  return why;
}

// The first source is not used for a while, and each time for longer.
void SourceSwitch::Penalise(const std::string& why) {
  state_.reason = why;
  penalty_left_ = penalty_;
  penalty_ = std::min(penalty_ * 2, kLongestPenalty);
  good_ = 0;
}

Status SourceSwitch::Change(int to, std::int64_t now_us) {
  const std::string before = state_.ruling;
  if (ruling_ >= 0) sources_.at(static_cast<std::size_t>(ruling_))->Stop();
  auto status = Begin(to, now_us);
  if (!status.ok()) {
    if (!before.empty()) Say(state_.reason);
    return status;
  }
  if (state_.ruling != before) {
    ++state_.switches;
    Say("Accesses come from " + state_.ruling + " now" +
        (state_.reason.empty() ? "." : ": " + state_.reason));
  }
  return status;
}

Status SourceSwitch::Poll(std::int64_t now_us) {
  if (ruling_ < 0) return Change(0, now_us);
  auto polled = sources_.at(static_cast<std::size_t>(ruling_))->Poll(now_us);
  if (polled.ok()) return polled;
  cut_ = true;
  return GiveUp(polled.error(), now_us);
}

// The source that rules has failed: the other one takes over, from now on.
Status SourceSwitch::GiveUp(const Error& why, std::int64_t now_us) {
  if (ruling_ == 0) {
    Penalise(why.ToString());
    return Change(1, now_us);
  }
  penalty_left_ = 0;
  return Change(0, now_us);
}

Result<AccessWindow> SourceSwitch::CloseWindow(std::int64_t now_us) {
  if (ruling_ < 0) {
    const Error why = MakeError(Code::kUnavailable, state_.reason);
    SHADOW_TRY(Change(0, now_us));
    return why;  // the next window may be had, this one is lost
  }
  auto window = sources_.at(static_cast<std::size_t>(ruling_))->CloseWindow(now_us);
  if (!window.ok()) {
    const Error why = window.error();
    SHADOW_TRY(GiveUp(why, now_us));
    return why;
  }
  const std::uint64_t lost = window->lost;
  // Nobody knows how much came before a change in the middle of the window.
  if (std::exchange(cut_, false)) window->lost = std::max<std::uint64_t>(lost, 1);
  ++state_.windows;
  state_.lost += window->lost;
  // The window is good whatever comes of a change: who fails now says so at the next call.
  if (ruling_ != 0) {
    if (--penalty_left_ <= 0) static_cast<void>(Change(0, now_us));
  } else if (lost != 0) {
    Penalise(state_.ruling + " lost " + std::to_string(lost) + " events in a window.");
    static_cast<void>(Change(1, now_us));
  } else if (++good_ == kForgiven) {
    penalty_ = least_penalty_;
  }
  return window;
}

Result<std::unique_ptr<SourceSwitch>> MakeAccessSource(DeviceMapper* dm,
                                                       const SourceOptions& options,
                                                       RequestSink* sink) {
  if (!std::has_single_bit(options.block_bytes) || options.block_bytes < (64u << 10) ||
      options.block_bytes > (16u << 20)) {
    return MakeError(
        Code::kInvalidArgument,
        "A block size of " + std::to_string(options.block_bytes) + " bytes is not possible.",
        "it is a power of two from 64 KiB to 16 MiB");
  }
  if (options.source != "auto" && options.source != "access" && options.source != "blktrace") {
    return MakeError(Code::kInvalidArgument,
                     "There is no source of accesses '" + options.source + "'.",
                     "auto, access or blktrace");
  }
  auto access = MakeAccessBitsSource(
      dm, {options.volume, options.block_bytes, options.window_us, options.sysfs});
  auto blktrace =
      MakeBlktraceSource(MakeBlktraceChannel({.device = options.dev_dir + "/" + options.volume,
                                              .debugfs = options.debugfs,
                                              .state_dir = options.state_dir}),
                         options.block_bytes, sink);
  if (options.source == "blktrace") std::swap(access, blktrace);
  return std::make_unique<SourceSwitch>(std::move(access), std::move(blktrace), options.on_event);
}

}  // namespace shadow
