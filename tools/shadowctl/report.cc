// SPDX-License-Identifier: Apache-2.0
// The three reporters of watch.h, and the command around them.
#include <chrono>

#include "tools/shadowctl/humanize.h"
#include "tools/shadowctl/names.h"
#include "tools/shadowctl/progress.h"
#include "tools/shadowctl/watch.h"

namespace shadow::ctl {
namespace {

constexpr std::int64_t kPlainEveryMs = 5000;
constexpr char kNoDaemon[] =
    "the daemon does not answer: no new blocks are copied until it is back";

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

/// On a terminal: one line that is redrawn, and a short one that stays for every phase.
class TerminalReporter final : public Reporter {
 public:
  explicit TerminalReporter(Context& context) : out_(context.out), terminal_(context.terminal) {}

  void Update(const v1::Modification& m) override {
    if (m.phase() != phase_) {
      phase_ = m.phase();
      Line("  " + FormatClock(ToMs(m.update_time()) - ToMs(m.start_time())) + "  " +
           terminal_.Paint(PhaseColour(phase_), PhaseWord(phase_)) +
           (phase_ == v1::PHASE_GRACE && m.cutover_pause_us() > 0
                ? ", I/O paused for " + FormatLatency(m.cutover_pause_us()) + " at cut-over"
                : ""));
    }
    if (m.final()) return;
    out_ << '\r' << ProgressLine(m, terminal_, terminal_.Width(), NowMs()) << "\x1b[K"
         << std::flush;
    drawn_ = true;
  }
  void Lost(const Error&, std::chrono::seconds patience) override {
    Line("  " + terminal_.Paint(Colour::kYellow, kNoDaemon) + "; waiting up to " +
         FormatDuration(patience.count() * 1000));
  }
  void Back() override { Line("  the daemon is back"); }
  void End() override {
    if (drawn_) out_ << "\r\x1b[K" << std::flush;
    drawn_ = false;
  }

 private:
  void Line(const std::string& text) {
    End();
    out_ << text << '\n' << std::flush;
  }

  std::ostream& out_;
  const Terminal terminal_;
  v1::Phase phase_ = v1::PHASE_UNSPECIFIED;
  bool drawn_ = false;
};

/// In a pipe: a line for every phase, and one every few seconds (of the daemon's clock).
class PlainReporter final : public Reporter {
 public:
  explicit PlainReporter(Context& context) : out_(context.out) {}

  void Update(const v1::Modification& m) override {
    const std::int64_t now = ToMs(m.update_time());
    if (m.phase() == phase_ && now - shown_ms_ < kPlainEveryMs) return;
    phase_ = m.phase();
    shown_ms_ = now;
    out_ << PlainLine(m) << std::endl;
  }
  void Lost(const Error&, std::chrono::seconds patience) override {
    out_ << kNoDaemon << "; waiting up to " << FormatDuration(patience.count() * 1000) << std::endl;
  }
  void Back() override { out_ << "the daemon is back" << std::endl; }
  void End() override {}

 private:
  std::ostream& out_;
  v1::Phase phase_ = v1::PHASE_UNSPECIFIED;
  std::int64_t shown_ms_ = 0;
};

/// One JSON object a line, for every change.
class JsonReporter final : public Reporter {
 public:
  explicit JsonReporter(Context& context) : out_(context.out) {}

  void Update(const v1::Modification& m) override {
    const std::string text = ToJson(m).dump();
    if (text == last_) return;
    last_ = text;
    out_ << text << std::endl;
  }
  void Lost(const Error&, std::chrono::seconds) override {}
  void Back() override {}
  void End() override {}

 private:
  std::ostream& out_;
  std::string last_;
};

}  // namespace

std::unique_ptr<Reporter> MakeReporter(Context& context) {
  if (context.json()) return std::make_unique<JsonReporter>(context);
  if (context.terminal.is_terminal) return std::make_unique<TerminalReporter>(context);
  return std::make_unique<PlainReporter>(context);
}

int WatchCommand(Context& context, Interrupts& interrupts, const std::string& id, Until until,
                 v1::Phase wanted) {
  const std::unique_ptr<Reporter> reporter = MakeReporter(context);
  WatchOptions options;
  options.id = id;
  options.until = until;
  const Result<WatchOutcome> outcome =
      Watch([&] { return context.Connect(Access::kRead); }, options, *reporter, interrupts);
  if (!outcome.ok()) return context.Fail(outcome.error());
  if (outcome->interrupted) {
    const std::string name = ShortId(id);
    context.err << "The modification " << name << " goes on. Watch it with `shadowctl op watch "
                << name << "`.\n";
    return 130;
  }
  const v1::Modification& m = outcome->last;
  if (!m.final()) {
    if (!context.json()) {
      context.out << m.volume() << " has cut over. `shadowctl op commit " << m.volume()
                  << "` ends the grace period, `shadowctl op rollback " << m.volume()
                  << "` goes back.\n";
    }
    return kExitOk;
  }
  const std::string hint = "`shadowctl op show " + ShortId(id) + "` says more.";
  if (m.phase() == v1::PHASE_FAILED) {
    return context.Fail(MakeError(Code::kInternal, OutcomeSentence(m), hint));
  }
  if (m.phase() != wanted) {
    return context.Fail(
        MakeError(Code::kAborted,
                  "The modification is " + PhaseName(m.phase()) + ": " + OutcomeSentence(m), hint));
  }
  if (!context.json()) {
    context.out << OutcomeSentence(m) << '\n';
    if (m.phase() == v1::PHASE_COMPLETED) context.out << OutcomeFigures(m);
    for (const std::string& sentence : m.left_out()) {
      context.out << context.terminal.Paint(Colour::kYellow, "Not done: ") << sentence << '\n';
    }
  }
  return m.left_out().empty() ? kExitOk : kExitIncomplete;
}

}  // namespace shadow::ctl
