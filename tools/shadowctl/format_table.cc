// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/format_table.h"

#include "daemon/base/sizes.h"
#include "tools/shadowctl/format_tier.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"
#include "tools/shadowctl/progress.h"
#include "tools/shadowctl/table.h"

namespace shadow::ctl {
namespace {

Cell StateOf(const v1::Volume& v) {
  const v1::KernelState& k = v.kernel();
  if (k.mode() == v1::VOLUME_MODE_FAIL) return {"failed", Colour::kRed};
  if (k.mode() == v1::VOLUME_MODE_READ_ONLY) return {"read-only", Colour::kRed};
  if (k.mode() != v1::VOLUME_MODE_READ_WRITE) return {"inactive", Colour::kYellow};
  if (k.needs_check()) return {"needs check", Colour::kYellow};
  if (k.phase() == v1::KERNEL_PHASE_STEADY) return {"steady", Colour::kGreen};
  return {KernelPhaseName(k.phase()), Colour::kCyan};
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

std::string SizeChange(const v1::Plan& p) {
  if (p.old_size_bytes() == p.new_size_bytes()) return FormatSize(p.new_size_bytes());
  return FormatSize(p.old_size_bytes()) + " -> " + FormatSize(p.new_size_bytes());
}

std::string BlockCountsOf(const v1::BlockCounts& c) {
  std::string out;
  const auto add = [&](const char* name, std::uint64_t n) {
    if (n == 0) return;
    if (!out.empty()) out += ", ";
    out += FormatCount(n) + " " + name;
  };
  add("origin", c.origin());
  add("copying", c.copying());
  add("mirrored", c.mirrored());
  add("retiring", c.retiring());
  add("target", c.target());
  add("remirroring", c.remirroring());
  add("hole", c.hole());
  add("filling", c.filling());
  return out;
}

Colour SeverityColour(v1::EventSeverity severity) {
  switch (severity) {
    case v1::EVENT_SEVERITY_WARNING:
      return Colour::kYellow;
    case v1::EVENT_SEVERITY_ERROR:
      return Colour::kRed;
    default:
      return Colour::kNone;
  }
}

}  // namespace

void PrintVolumes(std::ostream& out, const Terminal& terminal,
                  const google::protobuf::RepeatedPtrField<v1::Volume>& volumes) {
  if (volumes.empty()) {
    out << "There are no volumes. `shadowctl volume import` or `volume create` makes one.\n";
    return;
  }
  Table table({"NAME", ">SIZE", "CLASS", "ORIGIN", "STATE", "MODIFICATION"});
  for (const v1::Volume& v : volumes) {
    table.Add({v.name(), FormatSize(v.size_bytes()), v.storage_class(), v.origin(), StateOf(v),
               ShortId(v.modification_id())});
  }
  table.Print(out, terminal);
}

void PrintVolume(std::ostream& out, const Terminal& terminal, const v1::Volume& v) {
  const v1::KernelState& k = v.kernel();
  const Cell state = StateOf(v);
  Sheet sheet;
  sheet.Add("Volume", v.name());
  sheet.Add("Device", v.device());
  sheet.Add("Size", FormatSize(v.size_bytes()) + " (" + FormatCount(v.size_bytes()) +
                        " bytes, blocks of " + FormatSize(v.block_bytes()) + ")");
  sheet.Add("State", state.text, state.colour);
  sheet.Add("Class", OrDash(v.storage_class()));
  sheet.Add("Origin", v.origin());
  sheet.AddIf("Target", v.target());
  for (const v1::KernelTier& tier : k.tiers()) {
    const Cell cell = KernelTierCell(tier, v.block_bytes());
    sheet.Add(tier.level() == v1::TIER_LEVEL_TIER1 ? "Tier 1" : "Tier 2", cell.text, cell.colour);
  }
  sheet.Add("Metadata", v.metadata());
  sheet.Add("UUID", v.uuid());
  sheet.Add("Created", FormatTime(v.create_time()));
  sheet.AddIf("Modification", v.modification_id());
  sheet.AddIf("Blocks", BlockCountsOf(k.counts()));
  if (k.counts().tail() > 0) {
    sheet.Add("Beyond the old end", FormatCount(k.counts().tail()) + " blocks with data");
  }
  if (k.mirrored_writes() > 0) sheet.Add("Mirrored writes", FormatCount(k.mirrored_writes()));
  if (k.failovers() > 0) {
    sheet.Add("Reads failed over", FormatCount(k.failovers()), Colour::kYellow);
  }
  if (k.stale_copies() > 0) {
    sheet.Add("Copies dropped", FormatCount(k.stale_copies()), Colour::kYellow);
  }
  if (k.copy_errors() > 0) sheet.Add("Copy errors", FormatCount(k.copy_errors()), Colour::kRed);
  sheet.AddIf("Last error", k.last_error(), Colour::kRed);
  if (k.needs_check()) {
    sheet.Add("Metadata", "run shadow_check on " + v.metadata(), Colour::kYellow);
  }
  sheet.Print(out, terminal);
}

void PrintClasses(std::ostream& out, const Terminal& terminal,
                  const google::protobuf::RepeatedPtrField<v1::StorageClass>& classes) {
  if (classes.empty()) {
    out << "There are no storage classes. Define one in /etc/dm-shadow/shadowd.toml, see "
           "shadowd.toml(5).\n";
    return;
  }
  Table table({"NAME", "PLACE", ">SIZE", ">FREE", ">READ", ">WRITE", ">LATENCY"});
  for (const v1::StorageClass& c : classes) {
    std::string place = c.volume_group().empty() ? "" : "vg " + c.volume_group();
    for (const std::string& device : c.devices()) place += (place.empty() ? "" : " ") + device;
    const auto rate = [](std::uint64_t r) { return r == 0 ? std::string("-") : FormatRate(r); };
    table.Add({c.name(), place, FormatSize(c.size_bytes()), FormatSize(c.free_bytes()),
               rate(c.read_bytes_per_second()), rate(c.write_bytes_per_second()),
               FormatLatency(c.read_latency_us())});
  }
  table.Print(out, terminal);
}

void PrintPlan(std::ostream& out, const Terminal& terminal, const v1::Plan& p) {
  out << PlanSentence(p) << ".\n";
  Sheet sheet;
  sheet.Add("Size", SizeChange(p));
  sheet.Add("From", p.from());
  sheet.Add("To", p.from() == p.to() ? "the same place" : p.to());
  if (p.from() != p.to()) sheet.AddIf("Target", p.target_device());
  std::string copy = FormatSize(p.copy_bytes());
  if (p.hole_bytes() > 0) copy += ", " + FormatSize(p.hole_bytes()) + " are holes";
  sheet.Add("To be copied", copy);
  sheet.Add("Time", p.has_expected_duration() ? FormatDuration(ToMs(p.expected_duration()))
                                              : "not known yet");
  sheet.Add("Pause of I/O",
            p.expected_pause_us() > 0 ? FormatLatency(p.expected_pause_us()) : "not known yet");
  sheet.Add("Way back", p.reversible() ? "until the end of the grace period" : "none");
  sheet.Print(out, terminal);
  int number = 0;
  for (const std::string& step : p.steps()) out << "  " << ++number << ". " << step << '\n';
  for (const std::string& warning : p.warnings()) {
    out << terminal.Paint(Colour::kYellow, "Warning: ") << warning << '\n';
  }
}

void PrintModifications(std::ostream& out, const Terminal& terminal,
                        const google::protobuf::RepeatedPtrField<v1::Modification>& list) {
  if (list.empty()) {
    out << "There are no modifications. `shadowctl volume modify` starts one.\n";
    return;
  }
  Table table({"ID", "VOLUME", "PHASE", ">DONE", "FROM", "TO", "SIZE", "STARTED"});
  for (const v1::Modification& m : list) {
    table.Add({ShortId(m.id()), m.volume(), Cell(PhaseName(m.phase()), PhaseColour(m.phase())),
               std::to_string(Percent(m.done_bytes(), m.total_bytes())) + "%", m.plan().from(),
               m.plan().to(), SizeChange(m.plan()), FormatTime(m.start_time())});
  }
  table.Print(out, terminal);
}

void PrintModification(std::ostream& out, const Terminal& terminal, const v1::Modification& m) {
  const v1::AppLatency& l = m.app_latency();
  Sheet sheet;
  sheet.Add("Modification", m.id());
  sheet.Add("Volume", m.volume());
  sheet.Add("Phase", PhaseName(m.phase()), PhaseColour(m.phase()));
  sheet.AddIf("Error", m.error(), Colour::kRed);
  for (const std::string& sentence : m.left_out()) sheet.Add("Not done", sentence, Colour::kYellow);
  sheet.Add("Plan", PlanSentence(m.plan()));
  if (m.total_bytes() > 0) {
    sheet.Add("Done", FormatPart(m.done_bytes(), m.total_bytes()) + ", " +
                          std::to_string(Percent(m.done_bytes(), m.total_bytes())) + "%");
    sheet.Add("Copied", FormatSize(m.copied_bytes()) + " with repeats");
  }
  if (m.rate_bytes_per_second() > 0) {
    sheet.Add("Rate", FormatRate(m.rate_bytes_per_second()) +
                          (m.limited_by_latency() ? ", limited by the application's latency" : ""));
  }
  sheet.Add("Impact", m.spec().rate_bytes_per_second() > 0
                          ? "fixed rate, " + FormatRate(m.spec().rate_bytes_per_second())
                          : Lower(EnumTail(v1::Impact_Name(m.spec().impact()), "IMPACT_")));
  if (m.has_eta()) sheet.Add("ETA", FormatDuration(ToMs(m.eta())));
  if (l.p99_us() > 0) {
    sheet.Add("App latency", "p50 " + FormatLatency(l.p50_us()) + ", p99 " +
                                 FormatLatency(l.p99_us()) + " (before " +
                                 FormatLatency(l.baseline_p50_us()) + ", " +
                                 FormatLatency(l.baseline_p99_us()) + ")");
  }
  if (m.mirrored_writes() > 0) sheet.Add("Mirrored writes", FormatCount(m.mirrored_writes()));
  if (m.cutover_pause_us() > 0) sheet.Add("Pause of I/O", FormatLatency(m.cutover_pause_us()));
  if (m.has_grace_end_time()) sheet.Add("Grace until", FormatTime(m.grace_end_time()));
  sheet.AddIf("Request id", m.request_id());
  sheet.Print(out, terminal);
  if (m.history().empty()) return;
  out << terminal.Paint(Colour::kBold, "History:") << '\n';
  for (const v1::HistoryEntry& entry : m.history()) {
    out << "  " << FormatTime(entry.time()) << "  " << PhaseName(entry.phase());
    // "Copying." after COPYING says nothing.
    if (!entry.note().empty() && Lower(entry.note()) != PhaseWord(entry.phase()) + ".") {
      out << "  " << entry.note();
    }
    out << '\n';
  }
}

void PrintEvent(std::ostream& out, const Terminal& terminal, const v1::Event& e) {
  out << FormatTime(e.time()) << "  "
      << terminal.Paint(SeverityColour(e.severity()), SeverityName(e.severity()))
      << std::string(9 - SeverityName(e.severity()).size(), ' ') << OrDash(e.volume()) << "  "
      << e.message() << '\n';
}

void PrintChecks(std::ostream& out, const Terminal& terminal,
                 const std::vector<v1::Check>& checks) {
  std::size_t width = 0;
  for (const v1::Check& c : checks) width = std::max(width, c.name().size());
  for (const v1::Check& c : checks) {
    Colour colour = Colour::kGreen;
    if (c.result() == v1::CHECK_RESULT_WARNING) colour = Colour::kYellow;
    if (c.result() == v1::CHECK_RESULT_ERROR) colour = Colour::kRed;
    const std::string result = ResultName(c.result());
    out << terminal.Paint(colour, result)
        << std::string(9 - std::min<std::size_t>(8, result.size()), ' ') << c.name()
        << std::string(width - c.name().size() + 2, ' ') << c.detail() << '\n';
    if (!c.hint().empty()) out << std::string(9 + width + 2, ' ') << c.hint() << '\n';
  }
}

}  // namespace shadow::ctl
