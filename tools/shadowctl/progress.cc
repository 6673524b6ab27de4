// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/progress.h"

#include <algorithm>
#include <array>
#include <vector>

#include "daemon/base/sizes.h"
#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"

namespace shadow::ctl {
namespace {

constexpr int kMinBar = 6;
constexpr int kMaxBar = 40;

struct Piece {
  std::string text;
  Colour colour = Colour::kNone;
};

bool Copies(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_COPYING:
    case v1::PHASE_PAUSED:
    case v1::PHASE_CATCHING_UP:
    case v1::PHASE_ABORTING:
    case v1::PHASE_ROLLING_BACK:
      return true;
    default:
      return false;
  }
}

std::string Bar(int percent, int width, bool utf8) {
  std::string out;
  if (!utf8) {
    const int full = percent * width / 100;
    out.append(static_cast<std::size_t>(full), '#');
    out.append(static_cast<std::size_t>(width - full), '.');
    return "[" + out + "]";
  }
  static constexpr std::array kEighths = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = percent * width * 8 / 100;
  int column = 0;
  for (; column < eighths / 8; ++column) out += "█";
  if (eighths % 8 != 0) {
    out += kEighths[static_cast<std::size_t>(eighths % 8)];
    ++column;
  }
  for (; column < width; ++column) out += "░";
  return "▕" + out + "▏";
}

Colour LatencyColour(std::uint64_t now, std::uint64_t before) {
  if (now == 0 || before == 0) return Colour::kNone;
  if (now > before * 2) return Colour::kRed;
  if (now > before + before / 4) return Colour::kYellow;
  return Colour::kGreen;
}

/// Adds the pieces up, two spaces between them; -1 columns for the one that is the bar.
int Total(const std::vector<Piece>& pieces) {
  int columns = 0;
  for (const Piece& p : pieces) {
    if (!p.text.empty()) columns += Columns(p.text) + (columns > 0 ? 2 : 0);
  }
  return columns;
}

std::string Join(const std::vector<Piece>& pieces, const Terminal& terminal) {
  std::string out;
  for (const Piece& p : pieces) {
    if (p.text.empty()) continue;
    if (!out.empty()) out += "  ";
    out += terminal.Paint(p.colour, p.text);
  }
  return out;
}

/// Cuts an ASCII line that still does not fit.
std::string Fit(const std::vector<Piece>& pieces, const Terminal& terminal, int room) {
  if (Total(pieces) <= room) return Join(pieces, terminal);
  Terminal plain = terminal;
  plain.colours = false;
  return ElideMiddle(Join(pieces, plain), room);
}

std::string CopyLine(const v1::Modification& m, const Terminal& terminal, int room) {
  const v1::AppLatency& l = m.app_latency();
  const int percent = Percent(m.done_bytes(), m.total_bytes());
  const Piece name{m.volume(), Colour::kBold};
  const Piece phase{PhaseWord(m.phase()), PhaseColour(m.phase())};
  const Piece number{(percent < 10    ? "  "
                      : percent < 100 ? " "
                                      : "") +
                     std::to_string(percent) + "%"};
  Piece bytes{FormatPart(m.done_bytes(), m.total_bytes())};
  Piece rate{m.rate_bytes_per_second() > 0 ? FormatRate(m.rate_bytes_per_second()) : ""};
  Piece eta{m.has_eta() ? "ETA " + FormatClock(ToMs(m.eta())) : ""};
  Piece latency;
  std::string short_latency;
  std::string shortest_latency;
  if (l.p99_us() > 0) {
    latency.colour = LatencyColour(l.p99_us(), l.baseline_p99_us());
    latency.text = "p50 " + FormatLatency(l.p50_us()) + " p99 " + FormatLatency(l.p99_us());
    if (l.baseline_p99_us() > 0) {
      latency.text += " (before " + FormatLatency(l.baseline_p50_us()) + ", " +
                      FormatLatency(l.baseline_p99_us()) + ")";
    }
    shortest_latency = "p99 " + FormatLatency(l.p99_us());
    short_latency = shortest_latency;
    if (l.baseline_p99_us() > 0) short_latency += " (" + FormatLatency(l.baseline_p99_us()) + ")";
  }
  bool bar = true;
  const auto rest = [&] { return Total({name, phase, number, bytes, rate, eta, latency}); };
  const int bar_room = kMinBar + 2 + 2;  // its ends, and the gap
  // What matters least goes first.
  if (rest() + bar_room > room) latency.text = short_latency;
  if (rest() + bar_room > room) latency.text = shortest_latency;
  if (rest() + bar_room > room) rate.text.clear();
  if (rest() + bar_room > room) latency.text.clear();
  if (rest() + bar_room > room) bytes.text.clear();
  if (rest() + bar_room > room) bar = false;
  if (rest() > room) eta.text.clear();
  std::vector<Piece> pieces = {name, phase};
  if (bar) {
    const int width = std::min(kMaxBar, room - rest() - 4);
    pieces.push_back({Bar(percent, width, terminal.utf8), Colour::kCyan});
  }
  for (const Piece& p : {number, bytes, rate, eta, latency}) pieces.push_back(p);
  return Fit(std::move(pieces), terminal, room);
}

}  // namespace

std::string PhaseName(v1::Phase phase) { return EnumTail(v1::Phase_Name(phase), "PHASE_"); }

std::string PhaseWord(v1::Phase phase) {
  std::string word = Lower(PhaseName(phase));
  std::replace(word.begin(), word.end(), '_', ' ');
  return word;
}

Colour PhaseColour(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_COMPLETED:
      return Colour::kGreen;
    case v1::PHASE_FAILED:
      return Colour::kRed;
    case v1::PHASE_PAUSED:
    case v1::PHASE_ABORTING:
    case v1::PHASE_ROLLING_BACK:
    case v1::PHASE_ABORTED:
      return Colour::kYellow;
    default:
      return Colour::kCyan;
  }
}

std::string ProgressLine(const v1::Modification& m, const Terminal& terminal, int width,
                         std::int64_t now_ms) {
  const int room = std::max(width - 1, 1);
  if (Copies(m.phase())) return CopyLine(m, terminal, room);
  std::vector<Piece> pieces = {{m.volume(), Colour::kBold},
                               {PhaseWord(m.phase()), PhaseColour(m.phase())}};
  if (m.phase() == v1::PHASE_GRACE) {
    if (m.has_grace_end_time()) {
      pieces.push_back({FormatClock(ToMs(m.grace_end_time()) - now_ms) + " left"});
    }
    std::vector<Piece> longer = pieces;
    longer.push_back({"both legs are current; `op commit` ends it, `op rollback` goes back"});
    if (Total(longer) <= room) pieces = longer;
    if (m.app_latency().p99_us() > 0) {
      longer = pieces;
      longer.push_back(
          {"p99 " + FormatLatency(m.app_latency().p99_us()),
           LatencyColour(m.app_latency().p99_us(), m.app_latency().baseline_p99_us())});
      if (Total(longer) <= room) pieces = longer;
    }
  }
  return Fit(std::move(pieces), terminal, room);
}

std::string PlainLine(const v1::Modification& m) {
  const std::int64_t elapsed = ToMs(m.update_time()) - ToMs(m.start_time());
  std::string out = FormatClock(elapsed) + " " + m.volume() + " " + PhaseName(m.phase());
  if (Copies(m.phase())) {
    out += " " + std::to_string(Percent(m.done_bytes(), m.total_bytes())) + "% " +
           FormatPart(m.done_bytes(), m.total_bytes());
    if (m.rate_bytes_per_second() > 0) out += ", " + FormatRate(m.rate_bytes_per_second());
    if (m.has_eta()) out += ", ETA " + FormatClock(ToMs(m.eta()));
    const v1::AppLatency& l = m.app_latency();
    if (l.p99_us() > 0) {
      out += ", app p50 " + FormatLatency(l.p50_us()) + " p99 " + FormatLatency(l.p99_us());
      if (l.baseline_p99_us() > 0) {
        out += " (before " + FormatLatency(l.baseline_p50_us()) + ", " +
               FormatLatency(l.baseline_p99_us()) + ")";
      }
    }
  } else if (m.phase() == v1::PHASE_GRACE) {
    if (m.has_grace_end_time()) out += " until " + FormatTime(m.grace_end_time());
    if (m.cutover_pause_us() > 0)
      out += ", pause at cut-over " + FormatLatency(m.cutover_pause_us());
  }
  return out;
}

std::string PlanSentence(const v1::Plan& plan) {
  const bool moves = plan.from() != plan.to();
  const bool grows = plan.new_size_bytes() > plan.old_size_bytes();
  const bool shrinks = plan.new_size_bytes() < plan.old_size_bytes();
  std::string out = plan.volume();
  if (moves) out += " moves from " + plan.from() + " to " + plan.to();
  if (grows || shrinks) {
    out += std::string(moves ? " and" : "") + (grows ? " grows" : " shrinks") + " from " +
           FormatSize(plan.old_size_bytes()) + " to " + FormatSize(plan.new_size_bytes());
  }
  if (!moves && !grows && !shrinks) out += " stays as it is";
  return out;
}

std::string OutcomeSentence(const v1::Modification& m) {
  const v1::Plan& plan = m.plan();
  const bool moved = plan.from() != plan.to();
  switch (m.phase()) {
    case v1::PHASE_COMPLETED:
      if (!moved) return m.volume() + " has " + FormatSize(plan.new_size_bytes()) + " now.";
      return m.volume() + " is on " + plan.to() + " now, with " +
             FormatSize(plan.new_size_bytes()) + ".";
    case v1::PHASE_ABORTED:
      return m.volume() + " is on " + plan.from() + ", as it was before.";
    case v1::PHASE_FAILED:
      return "The modification of " + m.volume() +
             " failed: " + (m.error().empty() ? "no reason was given." : m.error());
    default:
      return m.volume() + " is in phase " + PhaseName(m.phase()) + ".";
  }
}

std::string OutcomeFigures(const v1::Modification& m) {
  std::string out;
  if (m.copied_bytes() > 0) {
    out += "  copied " + FormatSize(m.copied_bytes()) + ", " +
           FormatDuration(ToMs(m.finish_time()) - ToMs(m.start_time())) + " from start to end\n";
  }
  if (m.mirrored_writes() > 0) {
    out += "  " + FormatCount(m.mirrored_writes()) + " writes went to both legs\n";
  }
  if (m.cutover_pause_us() > 0) {
    out += "  longest pause of I/O " + FormatLatency(m.cutover_pause_us()) + "\n";
  }
  const v1::AppLatency& l = m.app_latency();
  if (l.p99_us() > 0 && l.baseline_p99_us() > 0) {
    out += "  app p50 " + FormatLatency(l.p50_us()) + ", p99 " + FormatLatency(l.p99_us()) +
           " (before " + FormatLatency(l.baseline_p50_us()) + ", " +
           FormatLatency(l.baseline_p99_us()) + ")\n";
  }
  return out;
}

}  // namespace shadow::ctl
