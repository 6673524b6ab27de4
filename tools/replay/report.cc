// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/report.h"

#include <spdlog/fmt/fmt.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "tools/replay/latency.h"

namespace shadow::replay {
namespace {

double Seconds(std::int64_t ns) { return static_cast<double>(ns) / 1e9; }
double Micros(double ns) { return ns / 1e3; }
double Mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }
double Share(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

std::string Row(const char* name, const Summary& s, std::uint64_t bytes) {
  const auto us = [](auto ns) { return fmt::format("{:>11.1f}", Micros(static_cast<double>(ns))); };
  return fmt::format("{:<16}{:>10}{:>11.1f}{}{}{}{}{}\n", name, s.count, Mib(bytes), us(s.mean_ns),
                     us(s.p50_ns), us(s.p95_ns), us(s.p99_ns), us(s.max_ns));
}

nlohmann::json Json(const Summary& s) {
  const auto us = [](std::uint64_t ns) { return Micros(static_cast<double>(ns)); };
  return {{"count", s.count},       {"mean_us", Micros(s.mean_ns)}, {"p50_us", us(s.p50_ns)},
          {"p95_us", us(s.p95_ns)}, {"p99_us", us(s.p99_ns)},       {"max_us", us(s.max_ns)}};
}

nlohmann::json Json(Played* p) {
  nlohmann::json j = Json(Summarise(&p->latency_ns));
  j["response"] = Json(Summarise(&p->response_ns));
  j["bytes"] = p->bytes;
  j["errors"] = p->errors;
  if (p->errors > 0) j["first_error"] = std::strerror(p->first_error);
  return j;
}

// Bytes that the tiers' own copying moved; without write-back where that is not told.
std::optional<std::uint64_t> Moved(const Difference& d) {
  if (!d.promoted) return std::nullopt;
  return (*d.promoted + d.written_back.value_or(0)) * d.block_bytes;
}

}  // namespace

std::string TableReport(const ReportInput& input, Outcome* o) {
  const std::uint64_t served = o->reads.bytes + o->writes.bytes;
  const double seconds = Seconds(o->elapsed_ns);
  std::string out =
      fmt::format("{} on {}: {} requests ({} I/Os, {} folded), {:.2f} s at speed {:g}{}\n\n",
                  input.trace, input.device, input.plan->requests, input.plan->ios.size(),
                  input.plan->folded, seconds, input.speed, o->interrupted ? ", interrupted" : "");
  out += fmt::format("{:<16}{:>10}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}\n", "latency (us)", "I/Os",
                     "MiB", "mean", "p50", "p95", "p99", "max");
  out += Row("read", Summarise(&o->reads.latency_ns), o->reads.bytes);
  out += Row("write", Summarise(&o->writes.latency_ns), o->writes.bytes);
  out += Row("read, from due", Summarise(&o->reads.response_ns), o->reads.bytes);
  out += Row("write, from due", Summarise(&o->writes.response_ns), o->writes.bytes);
  const Summary late = Summarise(&o->late_ns);
  out += fmt::format(
      "\nlate by         {:.1f} us mean, {:.1f} us p99, {:.1f} us max; {} in flight at most "
      "(depth {})\n",
      Micros(late.mean_ns), Micros(static_cast<double>(late.p99_ns)),
      Micros(static_cast<double>(late.max_ns)), o->most_in_flight, input.depth);
  out += fmt::format("throughput      {:.1f} MiB/s, {:.0f} I/O/s\n",
                     seconds > 0 ? Mib(served) / seconds : 0,
                     seconds > 0 ? static_cast<double>(late.count) / seconds : 0);
  if (o->reads.errors + o->writes.errors > 0) {
    out += fmt::format(
        "errors          {} of reads, {} of writes: {}\n", o->reads.errors, o->writes.errors,
        std::strerror(o->reads.errors > 0 ? o->reads.first_error : o->writes.first_error));
  }
  const Difference& d = *input.counters;
  for (const TierHits& t : d.tiers) {
    out += fmt::format("{:<16}{:.1f} % of reads ({}), {:.1f} % of writes ({})\n", t.tier + " hits",
                       100 * Share(t.reads, d.pieces_read), t.reads,
                       100 * Share(t.writes, d.pieces_written), t.writes);
  }
  if (const auto moved = Moved(d)) {
    out += fmt::format("blocks          {} promoted, {} demoted, {} of {} KiB\n", *d.promoted,
                       *d.demoted,
                       d.written_back ? fmt::format("{} written back,", *d.written_back)
                                      : std::string("written back not told,"),
                       d.block_bytes >> 10);
    out += fmt::format("moved           {:.1f} MiB, {:.3f} bytes a byte served\n", Mib(*moved),
                       Share(*moved, served));
  }
  if (d.legs_read + d.legs_written > 0) {
    out += fmt::format("devices below   {:.1f} MiB read, {:.1f} MiB written\n", Mib(d.legs_read),
                       Mib(d.legs_written));
  }
  return out;
}

std::string JsonReport(const ReportInput& input, Outcome* o) {
  const std::uint64_t served = o->reads.bytes + o->writes.bytes;
  const double seconds = Seconds(o->elapsed_ns);
  const Difference& d = *input.counters;
  nlohmann::json j = {{"trace", input.trace},
                      {"device", input.device},
                      {"speed", input.speed},
                      {"depth", input.depth},
                      {"requests", input.plan->requests},
                      {"ios", input.plan->ios.size()},
                      {"folded", input.plan->folded},
                      {"skipped_writes", input.plan->skipped},
                      {"interrupted", o->interrupted},
                      {"elapsed_s", seconds},
                      {"planned_s", Seconds(input.plan->span_ns)},
                      {"read", Json(&o->reads)},
                      {"write", Json(&o->writes)},
                      {"late", Json(Summarise(&o->late_ns))},
                      {"most_in_flight", o->most_in_flight},
                      {"bytes_per_s", seconds > 0 ? static_cast<double>(served) / seconds : 0},
                      {"legs", {{"read_bytes", d.legs_read}, {"written_bytes", d.legs_written}}}};
  j["target"] = d.type.empty() ? nlohmann::json(nullptr) : nlohmann::json(d.type);
  j["tiers"] = nlohmann::json::object();
  for (const TierHits& t : d.tiers) {
    j["tiers"][t.tier] = {{"reads", t.reads},
                          {"writes", t.writes},
                          {"read_hit_ratio", Share(t.reads, d.pieces_read)},
                          {"write_hit_ratio", Share(t.writes, d.pieces_written)}};
  }
  if (const auto moved = Moved(d)) {
    const auto told = [](const std::optional<std::uint64_t>& n) {
      return n ? nlohmann::json(*n) : nlohmann::json(nullptr);
    };
    j["moved"] = {{"block_bytes", d.block_bytes},
                  {"promoted", told(d.promoted)},
                  {"demoted", told(d.demoted)},
                  {"written_back", told(d.written_back)},
                  {"bytes", *moved},
                  {"per_byte_served", Share(*moved, served)}};
  }
  return j.dump(1) + "\n";
}

}  // namespace shadow::replay
