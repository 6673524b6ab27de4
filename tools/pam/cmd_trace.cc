// SPDX-License-Identifier: Apache-2.0
// `pam trace info` and `pam trace convert`.
#include <cinttypes>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "tools/pam/common.h"

namespace shadow::pam::tool {
namespace {

int Info(const Input& in, bool json) {
  auto trace = Read(in);
  if (!trace.ok()) return Fail(trace.error());
  std::uint64_t reads = 0, bytes = 0, reach = 0;
  std::unordered_set<std::uint64_t> blocks;
  for (const Request& r : trace->requests) {
    reads += r.write ? 0 : 1;
    bytes += r.length;
    reach = std::max(reach, r.offset + r.length);
    for (std::uint64_t b = r.offset >> 20; b <= (r.offset + r.length - 1) >> 20; ++b) {
      blocks.insert(b | std::uint64_t{r.device} << 44);
    }
  }
  const double span =
      static_cast<double>(trace->requests.back().time_us - trace->requests.front().time_us) / 1e6;
  const double share =
      100.0 * static_cast<double>(reads) / static_cast<double>(trace->requests.size());
  if (json) {
    nlohmann::json j = {{"format", trace->format},
                        {"requests", trace->requests.size()},
                        {"span_seconds", span},
                        {"read_percent", share},
                        {"bytes", bytes},
                        {"reach_bytes", reach},
                        {"regions_1mib", blocks.size()},
                        {"devices", trace->devices},
                        {"wall_clock", trace->wall_clock},
                        {"skipped", trace->skipped},
                        {"reordered", trace->reordered}};
    std::printf("%s\n", j.dump(2).c_str());
    return 0;
  }
  std::printf("format        %s\nrequests      %zu\nspan          %.1f s\nreads         %.1f %%\n",
              trace->format.c_str(), trace->requests.size(), span, share);
  std::printf("moved         %.1f MiB\nreach         %.1f MiB\n1 MiB regions %zu\n",
              static_cast<double>(bytes) / (1 << 20), static_cast<double>(reach) / (1 << 20),
              blocks.size());
  std::printf("clock         %s\ndevices       %zu\nskipped       %" PRIu64
              "\nreordered     %" PRIu64 "\n",
              trace->wall_clock ? "wall clock" : "relative", trace->devices.size(), trace->skipped,
              trace->reordered);
  return 0;
}

int Convert(const Input& in, const std::string& out) {
  auto trace = Read(in);
  if (!trace.ok()) return Fail(trace.error());
  const Status status = WriteCsv(*trace, out);
  if (!status.ok()) return Fail(status.error());
  std::printf("%zu requests written to %s\n", trace->requests.size(), out.c_str());
  return 0;
}

}  // namespace

void AddTrace(CLI::App& app, Run* run) {
  CLI::App* trace = app.add_subcommand("trace", "look at or convert a block I/O trace");
  trace->require_subcommand(1);
  auto in = std::make_shared<Input>();
  auto json = std::make_shared<bool>(false);
  auto out = std::make_shared<std::string>();
  CLI::App* info = trace->add_subcommand("info", "what a trace holds");
  in->Add(info, false);
  info->add_flag("--json", *json, "as JSON");
  info->callback([=] { *run = [=] { return Info(*in, *json); }; });
  CLI::App* convert = trace->add_subcommand("convert", "write a trace as csv");
  auto from = std::make_shared<Input>();
  from->Add(convert, false);
  convert->add_option("-o,--output", *out, "file to write")->required();
  convert->callback([=] { *run = [=] { return Convert(*from, *out); }; });
}

}  // namespace shadow::pam::tool
