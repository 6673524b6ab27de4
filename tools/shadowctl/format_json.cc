// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/format_json.h"

#include <cmath>

#include "daemon/base/error_table.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"

namespace shadow::ctl {
namespace {

Json Time(bool has, const google::protobuf::Timestamp& t) {
  if (!has) return nullptr;
  return FormatTimeUtc(t);
}

Json Seconds(bool has, const google::protobuf::Duration& d) {
  if (!has) return nullptr;
  return static_cast<double>(ToMs(d)) / 1000;
}

/// To a millionth, without the noise of binary fractions.
double Round(double n) { return std::round(n * 1e6) / 1e6; }

Json StringOrNull(const std::string& s) {
  if (s.empty()) return nullptr;
  return s;
}

}  // namespace

Json ToJson(const v1::Volume& v) {
  const v1::KernelState& k = v.kernel();
  const v1::BlockCounts& c = k.counts();
  Json tiers = Json::array();
  for (const v1::KernelTier& t : k.tiers()) {
    tiers.push_back({{"tier", LevelName(t.level())},
                     {"health", StringOrNull(HealthName(t.health()))},
                     {"mode", WriteModeName(t.write_mode())},
                     {"slots", t.slots()},
                     {"used_blocks", t.used_blocks()},
                     {"dirty_blocks", t.dirty_blocks()}});
  }
  return {
      {"name", v.name()},
      {"uuid", v.uuid()},
      {"device", v.device()},
      {"size_bytes", v.size_bytes()},
      {"block_bytes", v.block_bytes()},
      {"origin", v.origin()},
      {"class", StringOrNull(v.storage_class())},
      {"target", StringOrNull(v.target())},
      {"metadata", v.metadata()},
      {"modification_id", StringOrNull(v.modification_id())},
      {"create_time", Time(v.has_create_time(), v.create_time())},
      {"kernel",
       {{"mode", ModeName(k.mode())},
        {"phase", KernelPhaseName(k.phase())},
        {"blocks", k.blocks()},
        {"counts",
         {{"origin", c.origin()},
          {"copying", c.copying()},
          {"mirrored", c.mirrored()},
          {"retiring", c.retiring()},
          {"target", c.target()},
          {"remirroring", c.remirroring()},
          {"hole", c.hole()},
          {"filling", c.filling()},
          {"tail", c.tail()}}},
        {"copied_blocks", k.copied_blocks()},
        {"recopied_blocks", k.recopied_blocks()},
        {"mirrored_writes", k.mirrored_writes()},
        {"failovers", k.failovers()},
        {"stale_copies", k.stale_copies()},
        {"copy_errors", k.copy_errors()},
        {"last_error", StringOrNull(k.last_error())},
        {"needs_check", k.needs_check()},
        {"tiers", tiers}}},
  };
}

Json ToJson(const v1::StorageClass& c) {
  Json devices = Json::array();
  for (const std::string& device : c.devices()) devices.push_back(device);
  return {
      {"name", c.name()},
      {"volume_group", StringOrNull(c.volume_group())},
      {"devices", devices},
      {"size_bytes", c.size_bytes()},
      {"free_bytes", c.free_bytes()},
      {"read_bytes_per_second", c.read_bytes_per_second()},
      {"write_bytes_per_second", c.write_bytes_per_second()},
      {"read_latency_us", c.read_latency_us()},
  };
}

Json ToJson(const v1::Plan& p) {
  Json steps = Json::array();
  for (const std::string& step : p.steps()) steps.push_back(step);
  Json warnings = Json::array();
  for (const std::string& warning : p.warnings()) warnings.push_back(warning);
  return {
      {"volume", p.volume()},
      {"old_size_bytes", p.old_size_bytes()},
      {"new_size_bytes", p.new_size_bytes()},
      {"from", p.from()},
      {"to", p.to()},
      {"target_device", StringOrNull(p.target_device())},
      {"copy_bytes", p.copy_bytes()},
      {"hole_bytes", p.hole_bytes()},
      {"expected_seconds", Seconds(p.has_expected_duration(), p.expected_duration())},
      {"expected_pause_us", p.expected_pause_us()},
      {"reversible", p.reversible()},
      {"steps", steps},
      {"warnings", warnings},
  };
}

Json ToJson(const v1::Modification& m) {
  const v1::ModificationSpec& s = m.spec();
  const v1::AppLatency& l = m.app_latency();
  Json history = Json::array();
  for (const v1::HistoryEntry& entry : m.history()) {
    history.push_back({{"time", Time(true, entry.time())},
                       {"phase", EnumTail(v1::Phase_Name(entry.phase()), "PHASE_")},
                       {"note", entry.note()}});
  }
  Json size = nullptr;
  if (s.has_size_spec()) size = s.size_spec();
  if (s.has_size_bytes()) size = std::to_string(s.size_bytes());
  return {
      {"id", m.id()},
      {"volume", m.volume()},
      {"request_id", StringOrNull(m.request_id())},
      {"phase", EnumTail(v1::Phase_Name(m.phase()), "PHASE_")},
      {"final", m.final()},
      {"error", StringOrNull(m.error())},
      {"left_out", m.left_out()},
      {"limited_by_latency", m.limited_by_latency()},
      {"total_bytes", m.total_bytes()},
      {"done_bytes", m.done_bytes()},
      {"copied_bytes", m.copied_bytes()},
      {"rate_bytes_per_second", m.rate_bytes_per_second()},
      {"eta_seconds", Seconds(m.has_eta(), m.eta())},
      {"app_latency",
       {{"p50_us", l.p50_us()},
        {"p99_us", l.p99_us()},
        {"baseline_p50_us", l.baseline_p50_us()},
        {"baseline_p99_us", l.baseline_p99_us()}}},
      {"mirrored_writes", m.mirrored_writes()},
      {"cutover_pause_us", m.cutover_pause_us()},
      {"start_time", Time(m.has_start_time(), m.start_time())},
      {"update_time", Time(m.has_update_time(), m.update_time())},
      {"finish_time", Time(m.has_finish_time(), m.finish_time())},
      {"grace_end_time", Time(m.has_grace_end_time(), m.grace_end_time())},
      {"spec",
       {{"size", size},
        {"to", StringOrNull(s.to())},
        {"impact", Lower(EnumTail(v1::Impact_Name(s.impact()), "IMPACT_"))},
        {"rate_bytes_per_second", s.rate_bytes_per_second()},
        {"retire", Lower(EnumTail(v1::RetirePolicy_Name(s.retire()), "RETIRE_POLICY_"))},
        {"grace_seconds", Seconds(s.has_grace(), s.grace())},
        {"grow_filesystem", s.grow_filesystem()},
        {"grow_filesystem_now", s.grow_filesystem_now()},
        {"skip_trim", s.skip_trim()},
        {"discard_origin", s.discard_origin()},
        {"force_shrink", s.force_shrink()}}},
      {"plan", ToJson(m.plan())},
      {"history", history},
  };
}

Json ToJson(const v1::Event& e) {
  return {
      {"sequence", e.sequence()},
      {"time", Time(e.has_time(), e.time())},
      {"volume", StringOrNull(e.volume())},
      {"modification_id", StringOrNull(e.modification_id())},
      {"severity", SeverityName(e.severity())},
      {"what", e.what()},
      {"message", e.message()},
  };
}

Json ToJson(const v1::Check& c) {
  return {
      {"name", c.name()},
      {"result", ResultName(c.result())},
      {"detail", c.detail()},
      {"hint", StringOrNull(c.hint())},
  };
}

Json ToJson(const v1::Tier& t) {
  return {
      {"tier", LevelName(t.level())},
      {"state", TierStateName(t.state())},
      {"health", StringOrNull(HealthName(t.health()))},
      {"mode", WriteModeName(t.write_mode())},
      {"class", StringOrNull(t.storage_class())},
      {"device", StringOrNull(t.device())},
      {"size_bytes", t.size_bytes()},
      {"used_bytes", t.used_bytes()},
      {"dirty_bytes", t.dirty_bytes()},
      {"reads", t.reads()},
      {"writes", t.writes()},
  };
}

Json ToJson(const v1::TierPolicy& p) {
  return {
      {"policy", StringOrNull(PolicyName(p.policy()))},
      {"tier1_heat", p.tier1_heat()},
      {"tier2_heat", p.tier2_heat()},
      {"budget_bytes_per_minute", p.budget_bytes_per_minute()},
      {"window_seconds", Seconds(p.has_window(), p.window())},
      {"impact", ImpactName(p.impact())},
  };
}

Json ToJson(const v1::Placement& p) {
  Json notes = Json::array();
  for (const std::string& note : p.notes()) notes.push_back(note);
  return {
      {"policy", ToJson(p.policy())},
      {"ruling", StringOrNull(PolicyName(p.ruling()))},
      {"source", StringOrNull(SourceName(p.source()))},
      {"notes", notes},
      {"windows", p.windows()},
      {"lost_events", p.lost_events()},
      {"known_blocks", p.known_blocks()},
      {"state_bytes", p.state_bytes()},
      {"budget_left_bytes", p.budget_left_bytes()},
      {"moved_bytes", p.moved_bytes()},
      {"served_bytes", p.served_bytes()},
      {"queued_blocks", p.queued_blocks()},
      {"round_us", p.round_us()},
      {"promoted_blocks", p.promoted_blocks()},
      {"demoted_blocks", p.demoted_blocks()},
      {"written_back_blocks", p.written_back_blocks()},
      {"failures", p.failures()},
  };
}

Json ToJson(const v1::VolumeTiers& v) {
  Json tiers = Json::array();
  for (const v1::Tier& tier : v.tiers()) tiers.push_back(ToJson(tier));
  return {{"volume", v.volume()}, {"tiers", tiers}, {"placement", ToJson(v.placement())}};
}

Json ToJson(const v1::HeatRun& r) {
  return {{"first_block", r.first_block()},
          {"blocks", r.blocks()},
          {"warmest", r.warmest()},
          {"mean", r.mean()}};
}

Json ToJson(const v1::TierRun& r) {
  return {{"first_block", r.first_block()},
          {"blocks", r.blocks()},
          {"tier", LevelName(r.level())},
          {"shadow", ShadowName(r.state())}};
}

Json ToJson(const v1::BlockExplanation& e) {
  return {
      {"block", e.block()},
      {"offset_bytes", e.offset_bytes()},
      {"place", PlaceName(e.place())},
      {"belongs", PlaceName(e.belongs())},
      {"best", PlaceName(e.best())},
      {"dirty", e.dirty()},
      {"busy", e.busy()},
      {"heat", Round(e.heat())},
      {"accesses", Round(e.accesses())},
      {"writes", Round(e.writes())},
      {"benefit_ms", Round(e.benefit_ms())},
      {"cost_ms", Round(e.cost_ms())},
      {"transfer_ms", Round(e.transfer_ms())},
      {"interference_ms", Round(e.interference_ms())},
      {"tier1_saves_ms", Round(e.tier1_saves_ms())},
      {"tier2_saves_ms", Round(e.tier2_saves_ms())},
      {"victim_saves_ms", Round(e.victim_saves_ms())},
      {"wear_ms", Round(e.wear_ms())},
      {"writeback_ms", Round(e.writeback_ms())},
      {"margin", Round(e.margin())},
      {"decision", DecisionName(e.decision())},
      {"why", e.why()},
  };
}

Json ToJson(const v1::VolumeTop& t) {
  const bool known = ToMs(t.interval()) > 0;
  const auto when_known = [&](auto value) { return known ? Json(value) : Json(nullptr); };
  return {
      {"volume", t.volume()},
      {"interval_seconds", when_known(static_cast<double>(ToMs(t.interval())) / 1000)},
      {"reads_per_second", when_known(t.reads_per_second())},
      {"writes_per_second", when_known(t.writes_per_second())},
      {"bytes_per_second", when_known(t.bytes_per_second())},
      {"p50_us", when_known(t.p50_us())},
      {"p99_us", when_known(t.p99_us())},
      {"tier1_hit_ratio", when_known(Round(t.tier1_hit_ratio()))},
      {"tier2_hit_ratio", when_known(Round(t.tier2_hit_ratio()))},
      {"moved_bytes_per_second", when_known(t.moved_bytes_per_second())},
      {"modification_id", StringOrNull(t.modification_id())},
  };
}

Json ToJson(const Error& e) {
  const ErrorRow& row = RowOf(e.code);
  Json out;
  out["error"] = {{"code", std::string(row.name)},
                  {"exit_status", row.exit_code},
                  {"message", e.message},
                  {"hint", StringOrNull(e.hint)}};
  return out;
}

}  // namespace shadow::ctl
