// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/tier_removal.h"

#include <algorithm>
#include <optional>

#include "daemon/base/sizes.h"
#include "tools/shadowctl/format_tier.h"
#include "tools/shadowctl/names.h"

namespace shadow::ctl {
namespace {

using std::string;

// The first looks come soon, for little is often gone at once.
constexpr std::chrono::milliseconds kFirstLook{50};
constexpr std::chrono::milliseconds kLooks{1000};
constexpr std::chrono::seconds kPatience{120};

/// The tier as it is now; nothing when it is gone.
Result<std::optional<v1::Tier>> Look(Context& context, const string& volume, v1::TierLevel level) {
  v1::ListTiersRequest request;
  request.set_volume(volume);
  SHADOW_ASSIGN(Client client, context.Connect(Access::kRead));
  SHADOW_ASSIGN(const v1::ListTiersResponse response,
                Call(client.placement(), &v1::PlacementService::Stub::ListTiers, request));
  for (const v1::VolumeTiers& v : response.volumes()) {
    for (const v1::Tier& tier : v.tiers()) {
      if (tier.level() == level) return std::optional<v1::Tier>(tier);
    }
  }
  return std::optional<v1::Tier>();
}

/// Shows the progress where it is to be seen.
class Line {
 public:
  explicit Line(Context& context) : context_(context) {}
  void Show(const string& volume, const v1::Tier& tier, std::uint64_t first_bytes) {
    if (context_.json()) {
      Json json = {{"volume", volume}};
      json.update(ToJson(tier));
      Say(json.dump());
      return;
    }
    const string line = RemovalLine(volume, tier, first_bytes);
    if (!context_.terminal.is_terminal) {
      Say(line);
      return;
    }
    context_.out << "\r\x1b[K" << ElideMiddle(line, context_.terminal.Width() - 1) << std::flush;
    open_ = true;
  }
  void End() {
    if (open_) context_.out << "\r\x1b[K" << std::flush;
    open_ = false;
  }

 private:
  void Say(const string& line) {
    if (line != said_) context_.out << line << std::endl;
    said_ = line;
  }

  Context& context_;
  string said_;
  bool open_ = false;
};

}  // namespace

string RemovalSentence(const v1::Tier& t) {
  if (t.used_bytes() == 0) return "there is nothing on it.";
  string out = FormatSize(t.used_bytes()) + " on it go home";
  if (t.dirty_bytes() == 0) return out + ", none of that has to be written.";
  return out + ", " + FormatSize(t.dirty_bytes()) + " of that have to be written.";
}

int WaitForRemoval(Context& context, Interrupts& interrupts, const string& volume,
                   const v1::Tier& tier) {
  using Clock = std::chrono::steady_clock;
  struct Guard {
    Interrupts& interrupts;
    ~Guard() { interrupts.OnInterrupt(nullptr); }
  } guard{interrupts};
  interrupts.OnInterrupt([] {});
  const string name = LevelName(tier.level());
  const std::uint64_t first_bytes = tier.used_bytes();
  Line line(context);
  std::chrono::milliseconds wait = kFirstLook;
  Clock::time_point give_up = Clock::now() + kPatience;
  for (;;) {
    const auto now = Look(context, volume, tier.level());
    // A volume that went away took its tiers with it.
    if ((now.ok() && !*now) || (!now.ok() && now.error().code == Code::kNotFound)) {
      line.End();
      if (context.json()) {
        const Json gone = {{"volume", volume}, {"tier", name}, {"state", "removed"}};
        context.out << gone.dump() << '\n';
      } else {
        context.out << "Removed " << name << " of " << volume << ".\n";
      }
      return kExitOk;
    }
    if (now.ok()) {
      give_up = Clock::now() + kPatience;
      if ((*now)->state() != v1::TIER_STATE_REMOVING) {
        line.End();
        return context.Fail(
            MakeError(Code::kAborted, name + " of " + volume + " is not being removed any more.",
                      "`shadowctl events --volume " + volume + "` says what happened."));
      }
      line.Show(volume, **now, first_bytes);
    } else if (now.error().code != Code::kUnavailable || Clock::now() >= give_up) {
      line.End();
      return context.Fail(now.error());
    }
    const bool stop = interrupts.WaitFor(wait);
    wait = std::min(wait * 2, kLooks);
    if (!stop) continue;
    line.End();
    if (!context.json()) {
      context.err << "The removal goes on. `shadowctl tier list " << volume << "` shows it.\n";
    }
    return 130;
  }
}

}  // namespace shadow::ctl
