// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

namespace shadow::replay {
namespace {

constexpr std::uint64_t kRegion = 1u << 20;  // the devices of a trace begin at multiples of this

std::vector<std::uint64_t> FirstBytes(const pam::Trace& trace) {
  std::vector<std::uint64_t> reach(std::max<std::size_t>(trace.devices.size(), 1));
  for (const pam::Request& r : trace.requests) {
    if (r.device >= reach.size()) reach.resize(r.device + std::size_t{1});
    reach[r.device] = std::max(reach[r.device], r.offset + r.length);
  }
  std::uint64_t at = 0;
  for (std::uint64_t& bytes : reach) {
    const std::uint64_t size = (bytes + kRegion - 1) / kRegion * kRegion;
    bytes = at;
    at += size;
  }
  return reach;
}

Status CheckOptions(const PlanOptions& o) {
  if (!(o.speed > 0) || o.speed > 1e9) {
    return MakeError(Code::kInvalidArgument, "The speed has to be above 0.");
  }
  if (!(o.start_s >= 0) || !(o.duration_s >= 0) || o.start_s > 1e10 || o.duration_s > 1e10) {
    return MakeError(Code::kInvalidArgument, "Start and duration are seconds, 0 or more.");
  }
  if (!std::has_single_bit(o.align) || o.align > kLargestIo) {
    return MakeError(Code::kInvalidArgument,
                     "The device's blocks of " + std::to_string(o.align) + " bytes are odd.");
  }
  if (o.device_bytes < kLargestIo) {
    return MakeError(Code::kInvalidArgument, "The device is smaller than 4 MiB.");
  }
  return Ok();
}

class Planner {
 public:
  explicit Planner(const PlanOptions& options)
      : o_(options), size_(options.device_bytes / options.align * options.align) {}

  Status Add(std::int64_t due_ns, std::uint64_t first, std::uint64_t length, bool write) {
    ++plan.requests;
    std::uint64_t at = first / o_.align * o_.align;
    std::uint64_t left = (first + length + o_.align - 1) / o_.align * o_.align - at;
    if (at + left > size_) {
      if (!o_.fold) {
        return MakeError(Code::kInvalidArgument,
                         "The trace reaches byte " + std::to_string(first + length) +
                             ", beyond the device's end at " + std::to_string(o_.device_bytes) +
                             ".",
                         "fold it with --offset-fold");
      }
      ++plan.folded;
    }
    while (left > 0) {
      // A request that runs over the end goes on at the beginning, as a piece of its own.
      const std::uint64_t here = at % size_;
      const std::uint64_t piece = std::min({left, std::uint64_t{kLargestIo}, size_ - here});
      plan.ios.push_back({due_ns, here, static_cast<std::uint32_t>(piece), write});
      at += piece;
      left -= piece;
    }
    return Ok();
  }

  Plan plan;

 private:
  const PlanOptions& o_;
  const std::uint64_t size_;
};

}  // namespace

Result<Plan> MakePlan(const pam::Trace& trace, const PlanOptions& options) {
  SHADOW_TRY(CheckOptions(options));
  const std::vector<std::uint64_t> base = FirstBytes(trace);
  Planner planner(options);
  if (!trace.requests.empty()) {
    const auto start_us = static_cast<std::int64_t>(options.start_s * 1e6);
    const std::int64_t from = trace.requests.front().time_us + start_us;
    const auto most = static_cast<std::int64_t>(options.duration_s * 1e6);
    for (const pam::Request& r : trace.requests) {
      const std::int64_t at = r.time_us - from;
      if (at < 0) continue;
      if (options.duration_s > 0 && at >= most) break;
      if (r.write && options.skip_writes) {
        ++planner.plan.skipped;
        continue;
      }
      const double due = std::floor(static_cast<double>(at) * 1000 / options.speed);
      if (due > 9e18) return MakeError(Code::kInvalidArgument, "The replay would take centuries.");
      SHADOW_TRY(planner.Add(static_cast<std::int64_t>(due), base[r.device] + r.offset, r.length,
                             r.write));
    }
  }
  Plan& plan = planner.plan;
  if (plan.ios.empty()) {
    return MakeError(Code::kInvalidArgument, "There is nothing to replay.",
                     "look at --start, --duration and --skip-writes");
  }
  plan.span_ns = plan.ios.back().due_ns;
  return std::move(plan);
}

}  // namespace shadow::replay
