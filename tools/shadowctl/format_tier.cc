// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/format_tier.h"

#include <algorithm>

#include "daemon/base/sizes.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"
#include "tools/shadowctl/table.h"

namespace shadow::ctl {
namespace {

std::string SizeOrDash(std::uint64_t bytes) { return bytes == 0 ? "-" : FormatSize(bytes); }

std::string PercentOf(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? "" : " (" + std::to_string(Percent(part, whole)) + "%)";
}

/// "tier 1".
std::string Spoken(const std::string& name) {
  if (name == "tier1") return "tier 1";
  if (name == "tier2") return "tier 2";
  return name;
}

std::string Heat(double heat) {
  std::string text = FormatNumber(heat);
  while (text.find('.') != std::string::npos && (text.ends_with('0') || text.ends_with('.'))) {
    const bool point = text.ends_with('.');
    text.pop_back();
    if (point) break;
  }
  return text;
}

/// "1 GiB a minute".
std::string Budget(std::uint64_t bytes) { return FormatSize(bytes) + " a minute"; }

std::string WindowText(const google::protobuf::Duration& window) {
  const std::int64_t ms = ToMs(window);
  if (ms % 1000 == 0 && ms < 120'000) return std::to_string(ms / 1000) + " s";
  return FormatDuration(ms);
}

std::string SourceText(const v1::Placement& p) {
  std::string out;
  switch (p.source()) {
    case v1::ACCESS_SOURCE_BLKTRACE:
      out = "from blktrace";
      break;
    case v1::ACCESS_SOURCE_ACCESS_BITS:
      out = "from the kernel's access bits";
      break;
    default:
      out = "not seen";
  }
  if (p.lost_events() > 0) out += ", " + FormatCount(p.lost_events()) + " trace events lost";
  return out;
}

void AddPolicy(Sheet& sheet, const v1::Placement& p) {
  const v1::TierPolicy& policy = p.policy();
  const std::string asked = PolicyName(policy.policy());
  const std::string ruling = PolicyName(p.ruling());
  const bool as_asked = asked == ruling;
  std::string text = asked.empty() ? "-" : asked;
  if (!ruling.empty() && !as_asked) text += " (" + ruling + " rules now)";
  if (ruling.empty() && asked != "off") text += " (before its first window)";
  sheet.Add("Policy", text, as_asked || ruling.empty() ? Colour::kNone : Colour::kYellow);
  sheet.Add("Heat", "tier 1 from " + Heat(policy.tier1_heat()) + " on, tier 2 from " +
                        Heat(policy.tier2_heat()) + " on");
}

void PrintNotes(std::ostream& out, const Terminal& terminal, const v1::Placement& p) {
  for (const std::string& note : p.notes()) {
    const int room = terminal.is_terminal ? terminal.Width() - 6 : 0;
    const char* before = "";
    out << terminal.Paint(Colour::kYellow, "Note: ");
    for (const std::string& line : WrapWords(note, room)) {
      out << before << line << '\n';
      before = "      ";
    }
  }
}

/// Text in `columns` columns, left or right.
std::string Pad(const std::string& text, int columns, bool right) {
  const std::string pad(static_cast<std::size_t>(std::max(0, columns - Columns(text))), ' ');
  return right ? pad + text : text + pad;
}

struct TopColumn {
  const char* name;
  int columns;
  bool right;
};
constexpr TopColumn kTopColumns[] = {
    {"VOLUME", 10, false}, {"READS/s", 7, true}, {"WRITES/s", 8, true}, {"DATA", 10, true},
    {"P50", 7, true},      {"P99", 7, true},     {"TIER1", 6, true},    {"TIER2", 6, true},
    {"MOVED", 10, true},   {"OP", 8, false},
};

/// "8,260", "1.23M".
std::string ShortCount(std::uint64_t n) {
  if (n < 1'000'000) return FormatCount(n);
  return FormatNumber(static_cast<double>(n) / 1e6) + "M";
}

std::string TopLine(const std::vector<std::string>& cells) {
  std::string out;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const TopColumn& column = kTopColumns[i];
    if (i > 0) out += ' ';
    const bool last = i + 1 == cells.size();
    out += last && !column.right ? cells[i] : Pad(cells[i], column.columns, column.right);
  }
  return out;
}

}  // namespace

std::string ModeWord(v1::TierWriteMode mode) {
  switch (mode) {
    case v1::TIER_WRITE_MODE_WRITE_THROUGH:
      return "write-through";
    case v1::TIER_WRITE_MODE_WRITE_BACK:
      return "write-back";
    default:
      return "unknown";
  }
}

Cell TierStateCell(v1::TierState state, v1::TierHealth health) {
  const std::string word = TierStateName(state);
  const std::string trouble = HealthName(health);
  if (health == v1::TIER_HEALTH_MISSING || health == v1::TIER_HEALTH_FAILED) {
    return {state == v1::TIER_STATE_ACTIVE ? trouble : trouble + ", " + word, Colour::kRed};
  }
  if (state == v1::TIER_STATE_ACTIVE) {
    if (health == v1::TIER_HEALTH_OK) return {word, Colour::kGreen};
    return {"inactive", Colour::kYellow};
  }
  return {word, Colour::kYellow};
}

Cell KernelTierCell(const v1::KernelTier& t, std::uint64_t block_bytes) {
  std::string text = FormatSize(t.used_blocks() * block_bytes) + " of " +
                     FormatSize(t.slots() * block_bytes) + " used, " + ModeWord(t.write_mode());
  if (t.dirty_blocks() > 0) text += ", " + FormatSize(t.dirty_blocks() * block_bytes) + " dirty";
  if (t.health() == v1::TIER_HEALTH_MISSING || t.health() == v1::TIER_HEALTH_FAILED) {
    return {HealthName(t.health()) + ", " + text, Colour::kRed};
  }
  return {text};
}

void PrintTiers(std::ostream& out, const Terminal& terminal,
                const std::vector<v1::VolumeTiers>& volumes) {
  Table table({"VOLUME", "TIER", "STATE", "MODE", ">SIZE", ">USED", ">DIRTY", "PLACE"});
  bool any = false;
  for (const v1::VolumeTiers& v : volumes) {
    for (const v1::Tier& t : v.tiers()) {
      any = true;
      table.Add({v.volume(), LevelName(t.level()), TierStateCell(t.state(), t.health()),
                 ModeWord(t.write_mode()), FormatSize(t.size_bytes()), SizeOrDash(t.used_bytes()),
                 Cell(SizeOrDash(t.dirty_bytes()),
                      t.dirty_bytes() > 0 && t.health() != v1::TIER_HEALTH_OK ? Colour::kRed
                                                                              : Colour::kNone),
                 t.storage_class().empty() ? t.device() : t.storage_class()});
    }
  }
  if (any) {
    table.Print(out, terminal);
  } else if (volumes.size() == 1) {
    out << volumes[0].volume() << " has no tiers. `shadowctl tier add` gives it one.\n";
  } else {
    out << "There are no tiers. `shadowctl tier add` gives a volume one.\n";
  }
}

void PrintVolumeTiers(std::ostream& out, const Terminal& terminal, const v1::VolumeTiers& v) {
  if (v.tiers().empty()) {
    PrintTiers(out, terminal, {v});
    return;
  }
  const v1::Placement& p = v.placement();
  Table table({"TIER", "STATE", "MODE", ">SIZE", ">USED", ">DIRTY", ">READS", ">WRITES"});
  for (const v1::Tier& t : v.tiers()) {
    table.Add({LevelName(t.level()), TierStateCell(t.state(), t.health()), ModeWord(t.write_mode()),
               FormatSize(t.size_bytes()),
               SizeOrDash(t.used_bytes()) + PercentOf(t.used_bytes(), t.size_bytes()),
               Cell(SizeOrDash(t.dirty_bytes()),
                    t.dirty_bytes() > 0 && t.health() != v1::TIER_HEALTH_OK ? Colour::kRed
                                                                            : Colour::kNone),
               ShortCount(t.reads()), ShortCount(t.writes())});
  }
  table.Print(out, terminal);
  out << '\n';
  Sheet sheet;
  sheet.Add("Volume", v.volume());
  for (const v1::Tier& t : v.tiers()) {
    sheet.Add(t.level() == v1::TIER_LEVEL_TIER1 ? "Tier 1" : "Tier 2",
              t.device() + (t.storage_class().empty() ? "" : " (class " + t.storage_class() + ")"));
  }
  AddPolicy(sheet, p);
  sheet.Add("Window", WindowText(p.policy().window()) + ", " + FormatCount(p.windows()) + " seen");
  sheet.Add("Budget", Budget(p.policy().budget_bytes_per_minute()) + ", " +
                          FormatSize(p.budget_left_bytes()) + " left");
  sheet.Add("Impact", ImpactName(p.policy().impact()));
  sheet.Add("Accesses", SourceText(p));
  sheet.Add("Known", FormatCount(p.known_blocks()) + " blocks, in " + FormatSize(p.state_bytes()) +
                         " of memory");
  if (p.round_us() > 0) sheet.Add("Last round", "took " + FormatLatency(p.round_us()));
  std::string moved = FormatSize(p.moved_bytes());
  if (p.served_bytes() > 0) {
    moved +=
        " for " + FormatSize(p.served_bytes()) + " served (" +
        FormatNumber(static_cast<double>(p.moved_bytes()) / static_cast<double>(p.served_bytes())) +
        " bytes each)";
  }
  sheet.Add("Moved", moved);
  sheet.Add("Blocks", FormatCount(p.promoted_blocks()) + " promoted, " +
                          FormatCount(p.demoted_blocks()) + " demoted, " +
                          FormatCount(p.written_back_blocks()) + " written back");
  if (p.queued_blocks() > 0) sheet.Add("Queued", FormatCount(p.queued_blocks()) + " blocks");
  if (p.failures() > 0) {
    sheet.Add("Failures", FormatCount(p.failures()) + " I/Os of tiers", Colour::kRed);
  }
  sheet.Print(out, terminal);
  PrintNotes(out, terminal, p);
}

void PrintPolicy(std::ostream& out, const Terminal& terminal, const v1::Placement& p) {
  Sheet sheet;
  AddPolicy(sheet, p);
  sheet.Add("Window", WindowText(p.policy().window()));
  sheet.Add("Budget", Budget(p.policy().budget_bytes_per_minute()));
  sheet.Add("Impact", ImpactName(p.policy().impact()));
  sheet.Print(out, terminal);
  PrintNotes(out, terminal, p);
}

void PrintExplanation(std::ostream& out, const Terminal& terminal, const std::string& volume,
                      const v1::BlockExplanation& e) {
  const std::string place = PlaceName(e.place());
  const std::string best = PlaceName(e.best());
  Sheet sheet;
  sheet.Add("Block", FormatCount(e.block()) + " of " + volume + ", from byte " +
                         FormatCount(e.offset_bytes()) + " (" + FormatSize(e.offset_bytes()) +
                         ") on");
  std::string now = "on " + Spoken(place);
  if (e.dirty()) now += ", dirty";
  if (e.busy()) now += ", being moved";
  sheet.Add("Now", now);
  sheet.Add("Belongs", "on " + Spoken(PlaceName(e.belongs())));
  sheet.Add("Heat", FormatNumber(e.heat()) + " (chance of an access within 60 windows)");
  sheet.Add("Expected", FormatNumber(e.accesses()) + " accesses, " + FormatNumber(e.writes()) +
                            " of them writes");
  if (best != place && e.cost_ms() > 0) {
    sheet.Add("Best move", place == "home"  ? "to " + Spoken(best)
                           : best == "home" ? "home"
                                            : "to " + Spoken(best) + " by way of home");
    sheet.Add("Saves", FormatNumber(e.benefit_ms()) + " ms");
    sheet.Add("Costs", FormatNumber(e.cost_ms()) + " ms: copy " + FormatNumber(e.transfer_ms()) +
                           ", interference " + FormatNumber(e.interference_ms()) + ", wear " +
                           FormatNumber(e.wear_ms()));
    sheet.Add("Needed", "more than " + FormatNumber(e.margin()) + " x its cost, " +
                            FormatNumber(e.margin() * e.cost_ms()) + " ms");
  }
  const std::string decision = DecisionName(e.decision());
  sheet.Add("Decision", decision, decision == "stay" ? Colour::kNone : Colour::kCyan);
  sheet.AddIf("Why", e.why());
  sheet.Print(out, terminal);
}

void PrintTierMap(std::ostream& out, const Terminal& terminal, const std::vector<v1::TierRun>& runs,
                  std::uint64_t block_bytes) {
  Table table({">FIRST BLOCK", ">BLOCKS", ">OFFSET", ">SIZE", "TIER", "SHADOW"});
  for (const v1::TierRun& run : runs) {
    Colour colour = Colour::kCyan;
    if (run.state() == v1::SHADOW_STATE_CLEAN) colour = Colour::kNone;
    if (run.state() == v1::SHADOW_STATE_DIRTY) colour = Colour::kYellow;
    table.Add({std::to_string(run.first_block()), std::to_string(run.blocks()),
               FormatSize(run.first_block() * block_bytes), FormatSize(run.blocks() * block_bytes),
               LevelName(run.level()), Cell(ShadowName(run.state()), colour)});
  }
  table.Print(out, terminal);
}

std::string RemovalLine(const std::string& volume, const v1::Tier& t, std::uint64_t first_bytes) {
  const std::uint64_t done = first_bytes - std::min(first_bytes, t.used_bytes());
  std::string out = volume + "  " + LevelName(t.level()) + "  going home  " +
                    std::to_string(Percent(done, first_bytes)) + "%  " +
                    FormatPart(done, first_bytes);
  if (t.dirty_bytes() > 0) out += ", " + FormatSize(t.dirty_bytes()) + " dirty";
  if (t.health() == v1::TIER_HEALTH_MISSING || t.health() == v1::TIER_HEALTH_FAILED) {
    out += ", the device is " + HealthName(t.health());
  }
  return out;
}

std::string TopHeader(bool with_modification) {
  std::vector<std::string> names;
  for (const TopColumn& column : kTopColumns) names.emplace_back(column.name);
  if (!with_modification) names.pop_back();
  return TopLine(names);
}

std::string TopRow(const Terminal& terminal, const v1::VolumeTop& t, bool with_modification) {
  const bool known = ToMs(t.interval()) > 0;
  const auto count = [&](std::uint64_t n) { return known ? ShortCount(n) : "-"; };
  const auto latency = [&](std::uint64_t us) { return known ? FormatLatency(us) : "-"; };
  const auto rate = [&](std::uint64_t n) { return known && n > 0 ? FormatRate(n) : "-"; };
  const auto ratio = [&](double r) {
    return known && t.reads_per_second() > 0 ? FormatRatio(r) : "-";
  };
  std::vector<std::string> cells = {ElideMiddle(t.volume(), kTopColumns[0].columns),
                                    count(t.reads_per_second()),
                                    count(t.writes_per_second()),
                                    rate(t.bytes_per_second()),
                                    latency(t.p50_us()),
                                    latency(t.p99_us()),
                                    ratio(t.tier1_hit_ratio()),
                                    ratio(t.tier2_hit_ratio()),
                                    rate(t.moved_bytes_per_second())};
  if (with_modification) {
    cells.push_back(t.modification_id().empty() ? "-" : ShortId(t.modification_id()));
  }
  const bool idle = !known || (t.reads_per_second() == 0 && t.writes_per_second() == 0);
  return terminal.Paint(idle ? Colour::kDim : Colour::kNone, TopLine(cells));
}

}  // namespace shadow::ctl
