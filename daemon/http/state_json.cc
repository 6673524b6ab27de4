// SPDX-License-Identifier: Apache-2.0
#include "daemon/http/state_json.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "daemon/dm/status.h"
#include "kernel/core/shadow_version.h"

namespace shadow::http {
namespace {

using Json = nlohmann::json;

// Names of devices may hold any byte.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const char* ImpactName(Impact impact) {
  switch (impact) {
    case Impact::kLow:
      return "low";
    case Impact::kBalanced:
      return "balanced";
    case Impact::kFull:
      break;
  }
  return "full";
}

Json TierJson(const TierInfo& t) {
  return {{"level", t.level == TierLevel::kTier1 ? "tier1" : "tier2"},
          {"state", t.state},
          {"health", t.health},
          {"class", t.storage_class},
          {"device", t.device},
          {"size", t.size_bytes},
          {"used", t.used_bytes},
          {"dirty", t.dirty_bytes},
          {"write_back", t.write_back},
          {"reads", t.reads},
          {"writes", t.writes}};
}

Json VolumeJson(const VolumeView& v, const VolumeHealth& health) {
  const VolumeInfo& i = v.info;
  Json tiers = Json::array();
  for (const TierInfo& t : v.tiers.tiers) tiers.push_back(TierJson(t));
  return {{"name", i.name},
          {"device", i.device},
          {"size", i.size_bytes},
          {"block", i.block_bytes},
          {"blocks", i.kernel.blocks},
          {"origin", i.origin},
          {"class", i.storage_class},
          {"target", i.target},
          {"modification", i.modification_id},
          {"mode", i.kernel.mode},
          {"hole_blocks", i.kernel.hole},
          {"copy_limit", i.kernel.copy_limit},
          {"health", {{"level", HealthName(health.level)}, {"sentence", health.sentence}}},
          {"io",
           {{"known", v.io.at_us != 0},
            {"reads", v.io.reads},
            {"writes", v.io.writes},
            {"bytes", v.io.bytes},
            {"p50", v.io.p50_us},
            {"p99", v.io.p99_us},
            {"usual_p99", v.io.usual_p99_us},
            {"total_reads", v.io.totals.reads}}},
          {"tiers", std::move(tiers)},
          {"notes", v.tiers.placement.notes},
          {"ruling", v.tiers.placement.ruling}};
}

Json ModificationJson(const ModificationInfo& m) {
  Json history = Json::array();
  for (const HistoryEntry& h : m.history) {
    history.push_back({{"at", h.at_ms}, {"phase", PhaseName(h.phase)}, {"note", h.note}});
  }
  return {{"id", m.id},
          {"volume", m.volume},
          {"phase", PhaseName(m.phase)},
          {"final", IsFinal(m.phase)},
          {"from", m.plan.from},
          {"to", m.plan.to},
          {"old_size", m.plan.old_size},
          {"new_size", m.plan.new_size},
          {"reversible", m.plan.reversible},
          {"holes", m.plan.holes_bytes},
          {"expected_pause", m.plan.expected_pause_us},
          {"warnings", m.plan.warnings},
          {"impact", ImpactName(m.request.impact)},
          {"fixed_rate", m.request.rate},
          {"error", m.error},
          {"left_out", m.left_out},
          {"limited_by_latency", m.limited_by_latency},
          {"total", m.bytes_total},
          {"done", m.bytes_done},
          {"copied", m.bytes_copied},
          {"rate", m.rate},
          {"eta", m.eta_ms},
          {"p50", m.app_p50_us},
          {"p99", m.app_p99_us},
          {"before_p50", m.app_baseline_p50_us},
          {"before_p99", m.app_baseline_p99_us},
          {"mirrored_writes", m.mirrored_writes},
          {"pause", m.cutover_pause_us},
          {"started", m.started_ms},
          {"finished", m.finished_ms},
          {"grace_ends", m.grace_ends_ms},
          {"history", std::move(history)}};
}

Json EventJson(const Event& e) {
  return {{"seq", e.seq},           {"at", e.at_ms},
          {"volume", e.volume},     {"modification", e.modification_id},
          {"severity", e.severity}, {"what", e.what},
          {"message", e.message}};
}

std::string HostName() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "this host";
}

}  // namespace

std::string StateJson(const Picture& p) {
  Json volumes = Json::array();
  for (std::size_t i = 0; i < p.volumes.size(); ++i) {
    volumes.push_back(VolumeJson(
        p.volumes[i], i < p.health.volumes.size() ? p.health.volumes[i] : VolumeHealth{}));
  }
  Json modifications = Json::array();
  for (const ModificationInfo& m : p.modifications) modifications.push_back(ModificationJson(m));
  Json events = Json::array();
  for (const Event& e : p.events) events.push_back(EventJson(e));
  Json classes = Json::array();
  for (const ClassInfo& c : p.classes) {
    classes.push_back({{"name", c.name}, {"size", c.size_bytes}, {"free", c.free_bytes}});
  }
  Json todos = Json::array();
  for (const Todo& t : p.health.todos) {
    todos.push_back({{"level", HealthName(t.level)},
                     {"volume", t.volume},
                     {"sentence", t.sentence},
                     {"command", t.command},
                     {"hint", t.hint}});
  }
  const Json state = {
      {"number", p.number},
      {"host", HostName()},
      {"version", SHADOW_VERSION},
      {"at", p.at_ms},
      {"error", p.error},
      {"health", {{"level", HealthName(p.health.level)}, {"sentence", p.health.sentence}}},
      {"todos", std::move(todos)},
      {"volumes", std::move(volumes)},
      {"modifications", std::move(modifications)},
      {"classes", std::move(classes)},
      {"events", std::move(events)}};
  return Dump(state);
}

std::string CourseJson(const Course& course) {
  Json at = Json::array();
  Json rate = Json::array();
  Json limit = Json::array();
  Json p50 = Json::array();
  Json p99 = Json::array();
  for (const Moment& m : course.moments) {
    at.push_back(m.at_ms);
    rate.push_back(m.rate);
    limit.push_back(m.limit);
    p50.push_back(m.p50_us);
    p99.push_back(m.p99_us);
  }
  return Dump({{"step", course.step_ms},
               {"at", std::move(at)},
               {"rate", std::move(rate)},
               {"limit", std::move(limit)},
               {"p50", std::move(p50)},
               {"p99", std::move(p99)}});
}

std::string MapJson(const std::vector<MapCell>& cells, std::uint64_t blocks,
                    std::uint64_t block_bytes) {
  Json states = Json::array();
  for (int i = 0; i < kBlockStates; ++i) {
    states.push_back(BlockStateName(static_cast<BlockState>(i)));
  }
  Json rows = Json::array();
  for (const MapCell& c : cells) {
    // Most cells are in one state: its number alone. Others: the number of blocks in each.
    Json row = Json::array();
    int whole = -1;
    for (std::size_t i = 0; i < c.blocks.size(); ++i) {
      if (c.blocks.at(i) == c.range.count) whole = static_cast<int>(i);
      row.push_back(c.blocks.at(i));
    }
    rows.push_back(whole >= 0 ? Json(whole) : std::move(row));
  }
  const std::uint64_t first = cells.empty() ? 0 : cells.front().range.first;
  const std::uint64_t end = cells.empty() ? 0 : cells.back().range.first + cells.back().range.count;
  return Dump({{"states", std::move(states)},
               {"blocks", blocks},
               {"block", block_bytes},
               {"first", first},
               {"count", end - first},
               {"cells", std::move(rows)}});
}

std::string ErrorJson(const Error& error) {
  return Dump({{"error", error.message}, {"hint", error.hint}});
}

}  // namespace shadow::http
