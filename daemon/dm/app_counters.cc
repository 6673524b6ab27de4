// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/app_counters.h"

#include "daemon/dm/table.h"

namespace shadow {
namespace {

constexpr const char* kOwner = "shadowd-metrics";

AppTotals Sum(AppTotals a, const AppTotals& b) {
  a.reads += b.reads;
  a.writes += b.writes;
  a.read_bytes += b.read_bytes;
  a.written_bytes += b.written_bytes;
  a.read_ns += b.read_ns;
  a.write_ns += b.write_ns;
  if (a.counts.size() < b.counts.size()) a.counts.resize(b.counts.size());
  for (std::size_t i = 0; i < b.counts.size(); ++i) a.counts[i] += b.counts[i];
  return a;
}

}  // namespace

void AppCounters::Forget() {
  before_ = Sum(std::move(before_), last_);
  last_ = {};
  region_.reset();
}

Result<std::uint64_t> AppCounters::FindOrMake(std::uint64_t sectors) {
  SHADOW_ASSIGN(const std::string list, dm_.Message(volume_, std::string("@stats_list ") + kOwner));
  const std::string create = StatsCreateMessage(kOwner);
  const std::size_t from = create.find(" precise_timestamps");
  const std::string form = create.substr(from, create.rfind(' ') - from);
  const std::string length = " 0+" + std::to_string(sectors) + " ";
  std::optional<std::uint64_t> found;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t end = std::min(list.find('\n', at), list.size());
    const std::string_view line = std::string_view(list).substr(at, end - at);
    at = end + 1;
    const auto id = ParseNumber(line.substr(0, line.find(':')));
    if (!id) continue;
    const bool ours = line.find(length) != std::string_view::npos &&
                      line.find(form) != std::string_view::npos && !found;
    if (ours) {
      found = id;
    } else {
      (void)dm_.Message(volume_, "@stats_delete " + std::to_string(*id));
    }
  }
  if (found) return *found;
  SHADOW_ASSIGN(const std::string made, dm_.Message(volume_, create));
  return ParseRegionId(made);
}

Result<AppTotals> AppCounters::Read(std::uint64_t sectors) {
  if (region_ && sectors != sectors_) Forget();
  if (!region_) {
    SHADOW_ASSIGN(region_, FindOrMake(sectors));
    sectors_ = sectors;
  }
  const auto text = dm_.Message(volume_, "@stats_print " + std::to_string(*region_));
  if (!text.ok()) {
    // Somebody deleted the region, or the device is another one of that name.
    Forget();
    return text.error();
  }
  SHADOW_ASSIGN(last_, ParseTotals(*text));
  return Sum(before_, last_);
}

}  // namespace shadow
