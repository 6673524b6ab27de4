// SPDX-License-Identifier: Apache-2.0
#include "daemon/modify/copier.h"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "daemon/base/sizes.h"
#include "daemon/modify/tables.h"

namespace shadow {
namespace {

constexpr std::size_t kBatchRanges = 512;
constexpr std::int64_t kRetireEveryUs = 1'000'000;
constexpr std::uint64_t kKib = 1024;

std::shared_ptr<const HeatSource> HeatOf(const Deps& deps, const std::string& volume) {
  return deps.heat ? deps.heat(volume) : nullptr;
}

}  // namespace

void LatencyMeter::Stop() {
  region_.reset();
  const auto list = dm_.Message(volume_, "@stats_list " + owner_);
  if (!list.ok()) return;
  for (std::size_t at = 0; at < list->size();) {
    const std::size_t end = std::min(list->find('\n', at), list->size());
    const std::string_view line = std::string_view(*list).substr(at, end - at);
    const auto id = ParseNumber(line.substr(0, line.find(':')));
    if (id) (void)dm_.Message(volume_, "@stats_delete " + std::to_string(*id));
    at = end + 1;
  }
}

void LatencyMeter::Start() {
  Stop();
  const auto made = dm_.Message(volume_, StatsCreateMessage(owner_));
  const auto id = made.ok() ? ParseRegionId(*made) : Result<std::uint64_t>(made.error());
  if (id.ok()) {
    region_ = *id;
  } else {
    spdlog::warn("{}: no statistics: {}", volume_, id.error().ToString());
  }
}

LatencyWindow LatencyMeter::Take() {
  if (!region_) return {};
  const auto text = dm_.Message(volume_, "@stats_print_clear " + std::to_string(*region_));
  const auto window = text.ok() ? ParseStats(*text) : Result<LatencyWindow>(text.error());
  return window.ok() ? *window : LatencyWindow{};
}

Copier::Copier(const Deps& deps, std::string volume, const CopyPath& path, Direction direction,
               Retire retire, LatencyMeter* meter)
    : deps_(deps),
      meter_(*meter),
      volume_(std::move(volume)),
      direction_(direction),
      order_(MakeCopyOrder(deps.copy_order, HeatOf(deps, volume_))),
      controller_(path),
      retire_(direction == Direction::kToTarget ? retire : Retire::kNever) {
  if (!order_) order_ = std::make_unique<HeatOrder>(HeatOf(deps, volume_));
}

Result<CopyProgress> Copier::Look() {
  CopyProgress p;
  SHADOW_ASSIGN(p.status, ReadStatus(*deps_.dm, volume_));
  if (p.status.kernel.mode != "rw") {
    return MakeError(Code::kIoError,
                     "The volume " + volume_ + " is in mode " + p.status.kernel.mode +
                         " after a failure of its metadata.",
                     "look at the kernel's log, then run shadow_check on its metadata device");
  }
  p.app = meter_.Take();
  const std::int64_t now = deps_.clock->MonotonicUs();
  if (last_ && now > last_us_) {
    const std::uint64_t before = last_->kernel.copied;
    const std::uint64_t blocks =
        p.status.kernel.copied >= before ? p.status.kernel.copied - before : 0;
    const double bytes = static_cast<double>(blocks * p.status.kernel.block_bytes);
    rate_ = static_cast<std::uint64_t>(bytes * 1e6 / static_cast<double>(now - last_us_));
  }
  p.rate = rate_;
  return p;
}

Result<CopyProgress> Copier::Tick(Impact impact, std::uint64_t fixed_rate,
                                  std::uint64_t baseline_p99_us) {
  if (!started_) {
    // What an earlier run of the daemon queued is planned again.
    SHADOW_ASSIGN([[maybe_unused]] const std::string cleared, deps_.dm->Message(volume_, "clear"));
    SHADOW_ASSIGN([[maybe_unused]] const std::string resumed, deps_.dm->Message(volume_, "resume"));
    started_ = true;
  }
  SHADOW_ASSIGN(CopyProgress p, Look());
  const std::int64_t now = deps_.clock->MonotonicUs();
  RateInput input;
  input.tick_us = last_ ? now - last_us_ : 0;
  input.app = p.app;
  input.baseline_p99_us = baseline_p99_us;
  input.copy_rate = p.rate;
  input.impact = impact;
  input.fixed_rate = fixed_rate;
  SHADOW_TRY(SendLimits(controller_.Decide(input)));
  p.limited_by_latency = fixed_rate == 0 && controller_.LimitedByLatency();
  last_ = p.status;
  last_us_ = now;

  if (todo_.empty() && p.status.MoverIdle()) SHADOW_TRY(Refill(p.status, &p.done, &p.failure));
  SHADOW_TRY(QueueBatch(p.status));
  if (retire_ != Retire::kNever) SHADOW_TRY(RetireSome());
  return p;
}

Status Copier::Refill(const TargetStatus& status, bool* done, std::optional<Error>* failure) {
  SHADOW_ASSIGN(const std::vector<StateRun> map, ReadMap(*deps_.dm, volume_));
  const BlockState wanted =
      direction_ == Direction::kToTarget ? BlockState::kOrigin : BlockState::kTarget;
  // Blocks beyond the old end cannot go back: the origin ends before them.
  const std::uint64_t end = direction_ == Direction::kToOrigin && status.old_sectors != 0
                                ? status.old_sectors * kSectorBytes / status.kernel.block_bytes
                                : status.kernel.blocks;
  std::vector<BlockRange> left;
  for (const StateRun& run : map) {
    if (run.state != wanted || run.range.first >= end) continue;
    left.push_back({run.range.first, std::min(run.range.count, end - run.range.first)});
  }
  const std::uint64_t blocks = CountBlocks(left);
  *done = blocks == 0;
  if (*done) return Ok();
  const bool stuck = left_at_refill_ != 0 && blocks >= left_at_refill_ &&
                     status.kernel.copy_errors > errors_at_refill_;
  left_at_refill_ = blocks;
  errors_at_refill_ = status.kernel.copy_errors;
  if (stuck) {
    left_at_refill_ = 0;
    *failure =
        MakeError(Code::kIoError,
                  std::to_string(blocks) + " blocks of " + volume_ +
                      " cannot be copied; the last error was " +
                      (status.kernel.last_error.empty() ? "none" : status.kernel.last_error) + ".",
                  "look at the device named there");
  }
  for (const BlockRange& range : order_->Order(std::move(left))) todo_.push_back(range);
  return Ok();
}

Status Copier::QueueBatch(const TargetStatus& status) {
  const std::uint64_t most = order_->BatchBlocks();
  if (todo_.empty() || status.queue >= most / 2) return Ok();
  if (order_->Changed()) {
    std::vector<BlockRange> left(todo_.begin(), todo_.end());
    std::sort(left.begin(), left.end(),
              [](const BlockRange& a, const BlockRange& b) { return a.first < b.first; });
    left = order_->Order(std::move(left));
    todo_.assign(left.begin(), left.end());
  }
  std::vector<BlockRange> batch;
  std::deque<BlockRange> rest = todo_;
  for (std::uint64_t blocks = 0; !rest.empty() && blocks < most && batch.size() < kBatchRanges;) {
    BlockRange& next = rest.front();
    const std::uint64_t take = std::min(next.count, most - blocks);
    batch.push_back({next.first, take});
    blocks += take;
    next.first += take;
    next.count -= take;
    if (next.count == 0) rest.pop_front();
  }
  const char* verb = direction_ == Direction::kToTarget ? "copy" : "remirror";
  for (const std::string& message : RangeMessages(verb, batch)) {
    const auto sent = deps_.dm->Message(volume_, message);
    // A full queue is no failure: what was not taken is found in the map again.
    if (!sent.ok() && sent.error().code != Code::kOutOfSpace) return sent.error();
  }
  todo_ = std::move(rest);
  return Ok();
}

Status Copier::SendLimits(const RateLimits& limits) {
  // A change of less than 3 % is not worth an ioctl.
  const auto close = [](std::uint64_t a, std::uint64_t b) {
    return (a == 0) == (b == 0) && (a > b ? a - b : b - a) <= std::max(a, b) / 33;
  };
  if (!sent_ || !close(sent_->rate, limits.rate)) {
    spdlog::debug("{}: copy at {}/s, {} in flight", volume_, FormatSize(limits.rate),
                  FormatSize(limits.inflight));
    const std::uint64_t kib = limits.rate == 0 ? 0 : std::max<std::uint64_t>(1, limits.rate / kKib);
    SHADOW_ASSIGN([[maybe_unused]] const std::string rate,
                  deps_.dm->Message(volume_, "limit rate " + std::to_string(kib)));
    if (sent_) sent_->rate = limits.rate;
  }
  if (!sent_ || sent_->inflight != limits.inflight) {
    SHADOW_ASSIGN(
        [[maybe_unused]] const std::string inflight,
        deps_.dm->Message(volume_, "limit inflight " + std::to_string(std::max<std::uint64_t>(
                                                           1, limits.inflight / kKib))));
    if (sent_) sent_->inflight = limits.inflight;
  }
  if (!sent_) sent_ = limits;
  return Ok();
}

Status Copier::RetireSome() {
  const std::int64_t now = deps_.clock->MonotonicUs();
  if (!policy_) {
    policy_ = std::make_unique<RetirePolicy>(retire_, last_->kernel.blocks, HeatOf(deps_, volume_));
    window_us_ = retired_us_ = now;
  }
  if (now - retired_us_ < kRetireEveryUs) return Ok();
  retired_us_ = now;
  if (retire_ == Retire::kCold) {
    if (now - window_us_ < RetirePolicy::kWindowMs * 1000) return Ok();
    window_us_ = now;
    for (std::optional<std::uint64_t> at = 0;
         policy_->WantsAccess() && at && *at < last_->kernel.blocks;) {
      SHADOW_ASSIGN(const std::string answer,
                    deps_.dm->Message(volume_, "access " + std::to_string(*at) + "+" +
                                                   std::to_string(last_->kernel.blocks - *at)));
      SHADOW_ASSIGN(const AccessAnswer access, ParseAccess(answer));
      policy_->OnAccess(access.runs);
      at = access.next;
    }
    policy_->OnWindowEnd();
  }
  SHADOW_ASSIGN(const std::vector<StateRun> map, ReadMap(*deps_.dm, volume_));
  for (const std::string& message : RangeMessages("retire", policy_->Choose(map))) {
    SHADOW_ASSIGN([[maybe_unused]] const std::string sent, deps_.dm->Message(volume_, message));
  }
  return Ok();
}

}  // namespace shadow
