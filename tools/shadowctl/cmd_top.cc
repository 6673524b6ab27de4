// SPDX-License-Identifier: Apache-2.0
// shadowctl top: what volumes do, again and again: a table that is redrawn on a terminal, lines
// elsewhere.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>

#include "daemon/rpc/validate.h"
#include "tools/shadowctl/commands.h"
#include "tools/shadowctl/format_tier.h"
#include "tools/shadowctl/humanize.h"

namespace shadow::ctl::top_cmd {
namespace {

using std::string;
using Stub = v1::PlacementService::Stub;

struct TopOptions {
  string volume;
  string interval = "2";
  bool once = false;
};

constexpr std::chrono::milliseconds kMinInterval{100};
constexpr std::chrono::milliseconds kMaxInterval{60'000};

Result<std::chrono::milliseconds> ParseInterval(const string& text) {
  double seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const double ms = seconds * 1000;
  if (error == std::errc() && end == text.data() + text.size() &&
      ms >= static_cast<double>(kMinInterval.count()) &&
      ms <= static_cast<double>(kMaxInterval.count())) {
    return std::chrono::milliseconds(std::lround(ms));
  }
  return MakeError(Code::kInvalidArgument, "The interval " + rpc::Quote(text) + " cannot be used.",
                   "Give seconds, 0.1 to 60.");
}

string ClockNow() {
  const std::time_t now = std::time(nullptr);
  std::tm tm{};
  ::localtime_r(&now, &tm);
  std::array<char, 16> buffer{};
  std::strftime(buffer.data(), buffer.size(), "%H:%M:%S", &tm);
  return buffer.data();
}

google::protobuf::Timestamp TimeNow() {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  google::protobuf::Timestamp out;
  out.set_seconds(ms / 1000);
  out.set_nanos(static_cast<std::int32_t>(ms % 1000) * 1'000'000);
  return out;
}

std::uint64_t Rate(const v1::VolumeTop& t) { return t.reads_per_second() + t.writes_per_second(); }

/// The whole screen, written at once so that it does not flicker; the busiest first, as many as
/// there is room for.
void Draw(Context& context, const v1::TopResponse& response, std::chrono::milliseconds interval) {
  std::vector<v1::VolumeTop> list(response.volumes().begin(), response.volumes().end());
  std::stable_sort(list.begin(), list.end(),
                   [](const auto& a, const auto& b) { return Rate(a) > Rate(b); });
  const bool op = context.terminal.Width() > kTopColumnsInAll;
  const string clear = "\x1b[K\n";
  string screen = "\x1b[H";
  screen += context.terminal.Paint(Colour::kBold, "shadowctl top") + "  " + ClockNow() +
            "  every " + FormatDuration(interval.count()) + ", Ctrl-C ends" + clear + clear +
            context.terminal.Paint(Colour::kBold, TopHeader(op)) + clear;
  const auto room = static_cast<std::size_t>(std::max(context.terminal.Height() - 5, 1));
  for (std::size_t i = 0; i < list.size() && i < room; ++i) {
    screen += TopRow(context.terminal, list[i], op) + clear;
  }
  if (list.size() > room) {
    screen += "and " + std::to_string(list.size() - room) + " more" + clear;
  }
  if (list.empty()) screen += "There are no volumes." + clear;
  const bool first =
      std::none_of(list.begin(), list.end(), [](const auto& t) { return ToMs(t.interval()) > 0; });
  if (first && !list.empty()) screen += clear + "Counting." + clear;
  context.out << screen << "\x1b[J" << std::flush;
}

void PrintLines(Context& context, const v1::TopResponse& response, bool* header) {
  const string now = ClockNow();
  if (!*header) context.out << "TIME     " << TopHeader(true) << '\n';
  *header = true;
  for (const v1::VolumeTop& t : response.volumes()) {
    context.out << now << ' ' << TopRow(context.terminal, t, true) << '\n';
  }
  context.out.flush();
}

void PrintJsonLines(Context& context, const v1::TopResponse& response) {
  const string now = FormatTimeUtc(TimeNow());
  for (const v1::VolumeTop& t : response.volumes()) {
    Json line = {{"time", now}};
    line.update(ToJson(t));
    context.out << line.dump() << '\n';
  }
  context.out.flush();
}

/// On the terminal's other screen, so that what was on it comes back.
class OtherScreen {
 public:
  OtherScreen(Context& context, bool wanted) : context_(context), on_(wanted) {
    if (on_) context_.out << "\x1b[?1049h\x1b[?25l\x1b[H\x1b[J" << std::flush;
  }
  ~OtherScreen() {
    if (on_) context_.out << "\x1b[?25h\x1b[?1049l" << std::flush;
  }
  OtherScreen(const OtherScreen&) = delete;
  OtherScreen& operator=(const OtherScreen&) = delete;

 private:
  Context& context_;
  const bool on_;
};

/// Looks until interrupted, or (`once`) twice: what is shown is what happened between two looks.
Result<bool> Watch(Context& context, Interrupts& interrupts, const TopOptions& o) {
  if (!o.volume.empty()) SHADOW_TRY(rpc::CheckVolumeName(o.volume));
  SHADOW_ASSIGN(const std::chrono::milliseconds interval, ParseInterval(o.interval));
  v1::TopRequest request;
  request.set_volume(o.volume);
  SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
  SHADOW_ASSIGN(v1::TopResponse response, Call(client.placement(), &Stub::Top, request));
  struct Guard {
    Interrupts& interrupts;
    ~Guard() { interrupts.OnInterrupt(nullptr); }
  } guard{interrupts};
  interrupts.OnInterrupt([] {});
  const bool screen = context.terminal.is_terminal && !context.json() && !o.once;
  const OtherScreen other(context, screen);
  bool header = false;
  if (screen) Draw(context, response, interval);
  for (;;) {
    if (interrupts.WaitFor(interval)) return false;
    SHADOW_ASSIGN(response, Call(client.placement(), &Stub::Top, request));
    if (context.json()) {
      PrintJsonLines(context, response);
    } else if (screen) {
      Draw(context, response, interval);
    } else if (o.once) {
      const bool op = !context.terminal.is_terminal || context.terminal.Width() > kTopColumnsInAll;
      context.out << context.terminal.Paint(Colour::kBold, TopHeader(op)) << '\n';
      for (const v1::VolumeTop& t : response.volumes()) {
        context.out << TopRow(context.terminal, t, op) << '\n';
      }
    } else {
      PrintLines(context, response, &header);
    }
    if (o.once || !context.out) return true;
  }
}

int Top(Context& context, Interrupts& interrupts, const TopOptions& o) {
  const Result<bool> done = Watch(context, interrupts, o);
  if (!done.ok()) return context.Fail(done.error());
  return *done ? static_cast<int>(kExitOk) : 130;
}

}  // namespace
}  // namespace shadow::ctl::top_cmd

namespace shadow::ctl {

void AddTopCommand(CLI::App& app, Context& context, Interrupts& interrupts) {
  using namespace top_cmd;
  auto o = std::make_shared<TopOptions>();
  CLI::App* top = app.add_subcommand("top", "Show what volumes do, until Ctrl-C");
  top->add_option("VOLUME", o->volume, "Only this volume")->type_name("");
  top->add_option("--interval", o->interval, "Seconds between two looks, 0.1..60; default 2")
      ->type_name("SECONDS");
  top->add_flag("--once", o->once, "Show one interval only");
  top->callback([&context, &interrupts, o] {
    context.command = [&context, &interrupts, o] { return Top(context, interrupts, *o); };
  });
}

}  // namespace shadow::ctl
