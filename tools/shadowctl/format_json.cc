// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/format_json.h"

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

Json StringOrNull(const std::string& s) {
  if (s.empty()) return nullptr;
  return s;
}

}  // namespace

Json ToJson(const v1::Volume& v) {
  const v1::KernelState& k = v.kernel();
  const v1::BlockCounts& c = k.counts();
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
        {"needs_check", k.needs_check()}}},
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
