// SPDX-License-Identifier: Apache-2.0
#include "daemon/health/health.h"

#include <algorithm>

#include "daemon/base/sizes.h"

namespace shadow {
namespace {

constexpr std::uint64_t kFullPercent = 95;

std::string Count(std::size_t n, const std::string& one, const std::string& many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

std::string WhereOf(const VolumeInfo& v) {
  return v.storage_class.empty() ? v.origin : v.storage_class;
}

class Assessor {
 public:
  explicit Assessor(const HealthInput& input) : in_(input) {}

  Health Run() {
    for (const VolumeInfo& v : in_.volumes) out_.volumes.push_back(Volume(v));
    for (const Check& check : in_.checks) Host(check);
    for (const ClassInfo& c : in_.classes) Class(c);
    std::stable_sort(out_.todos.begin(), out_.todos.end(),
                     [](const Todo& a, const Todo& b) { return a.level > b.level; });
    Sum();
    return std::move(out_);
  }

 private:
  void Do(HealthLevel level, const std::string& volume, std::string sentence, std::string command,
          std::string hint = "") {
    out_.todos.push_back({level, volume, std::move(sentence), std::move(command), std::move(hint)});
  }

  [[nodiscard]] const ModificationInfo* NewestOf(const std::string& volume) const {
    const ModificationInfo* newest = nullptr;
    for (const ModificationInfo& m : in_.modifications) {
      if (m.volume != volume) continue;
      if (newest == nullptr || !IsFinal(m.phase) || m.started_ms > newest->started_ms) newest = &m;
      if (!IsFinal(m.phase)) break;
    }
    return newest;
  }

  VolumeHealth Volume(const VolumeInfo& v) {
    VolumeHealth out{v.name, HealthLevel::kOk, ""};
    const auto say = [&](HealthLevel level, const std::string& sentence) {
      if (level > out.level || out.sentence.empty()) {
        out.sentence = sentence;
        out.level = std::max(out.level, level);
      }
    };
    const KernelStatus& k = v.kernel;
    if (k.mode.empty()) {
      say(HealthLevel::kError, "Not up: its device is not there.");
      Do(HealthLevel::kError, v.name, v.name + " is not up: nobody can read or write it.",
         "shadowctl volume activate " + v.name, "It says what the volume waits for.");
    } else if (k.mode == "fail") {
      say(HealthLevel::kError, "All I/O fails.");
      Do(HealthLevel::kError, v.name, v.name + " fails all I/O.", "shadowctl doctor");
    } else if (k.mode == "ro") {
      say(HealthLevel::kError, "Only what needs no change of its metadata works.");
      Do(HealthLevel::kError, v.name, v.name + " is read-only: its metadata cannot be written.",
         "shadowctl doctor", "Mend the device " + v.metadata + ".");
    }
    if (k.needs_check) {
      say(HealthLevel::kError, "Its metadata needs a check.");
      Do(HealthLevel::kError, v.name, "The metadata of " + v.name + " needs a check.",
         "shadow_check " + v.metadata, "Take the volume down first.");
    }
    for (const TierLevel level : kTierLevels) {
      const auto& tier = k.tiers.at(IndexOf(level));
      if (!tier || tier->health == "ok") continue;
      const std::string name = TierLevelText(level);
      const bool lost = tier->dirty > 0;
      say(lost ? HealthLevel::kError : HealthLevel::kWarning,
          lost ? "The newest data of " + Count(tier->dirty, "block", "blocks") + " are on " + name +
                     ", which is " + tier->health + "."
               : "Its " + name + " is " + tier->health + "; nothing is lost.");
      Do(lost ? HealthLevel::kError : HealthLevel::kWarning, v.name,
         "The " + name + " of " + v.name + " is " + tier->health +
             (lost ? ", with the only copy of " + Count(tier->dirty, "block", "blocks") + "."
                   : "; nothing is lost."),
         lost ? "" : "shadowctl tier remove " + v.name + " " + name + " --forget",
         lost ? "Bring the device back." : "Then give it another one: tier add.");
    }
    Modification(v, say);
    if (out.sentence.empty()) out.sentence = "Well, on " + WhereOf(v) + ".";
    return out;
  }

  template <typename Say>
  void Modification(const VolumeInfo& v, const Say& say) {
    const ModificationInfo* m = NewestOf(v.name);
    if (m == nullptr) return;
    switch (m->phase) {
      case Phase::kCompleted:
      case Phase::kAborted:
        return;
      case Phase::kFailed:
        say(HealthLevel::kWarning, "Its last modification failed; the volume is intact.");
        Do(HealthLevel::kWarning, v.name, "The modification of " + v.name + " failed: " + m->error,
           "shadowctl op show " + m->id);
        return;
      case Phase::kPaused:
        say(m->error.empty() ? HealthLevel::kBusy : HealthLevel::kWarning,
            m->error.empty() ? "Its modification is paused." : m->error);
        Do(HealthLevel::kWarning, v.name,
           m->error.empty() ? "The modification of " + v.name + " is paused."
                            : "The modification of " + v.name + " waits: " + m->error,
           "shadowctl op resume " + v.name);
        return;
      case Phase::kGrace:
        say(HealthLevel::kBusy, "Moved; kept on both devices until the grace period ends.");
        Do(HealthLevel::kBusy, v.name,
           v.name + " has moved, and can still go back until its grace period ends.",
           "shadowctl op commit " + v.name, "Or go back: shadowctl op rollback " + v.name + ".");
        return;
      default:
        break;
    }
    if (!m->error.empty()) {
      say(HealthLevel::kWarning, m->error);
      Do(HealthLevel::kWarning, v.name, "The modification of " + v.name + ": " + m->error,
         "shadowctl op show " + v.name);
    }
    const std::uint64_t percent = m->bytes_total == 0 ? 0 : m->bytes_done * 100 / m->bytes_total;
    const bool back = m->phase == Phase::kAborting || m->phase == Phase::kRollingBack;
    say(HealthLevel::kBusy, back ? "Going back to where it was."
                                 : "Being modified, " + std::to_string(percent) + " % copied.");
  }

  // Findings about volumes are told above, from newer numbers.
  void Host(const Check& check) {
    if (check.result == "ok") return;
    const bool told = std::any_of(in_.volumes.begin(), in_.volumes.end(), [&](const VolumeInfo& v) {
      return check.name == "volume " + v.name && Told(v.name);
    });
    if (told) return;
    Do(check.result == "error" ? HealthLevel::kError : HealthLevel::kWarning, "",
       check.name + ": " + check.detail, "shadowctl doctor", check.hint);
  }
  [[nodiscard]] bool Told(const std::string& volume) const {
    return std::any_of(out_.todos.begin(), out_.todos.end(),
                       [&](const Todo& t) { return t.volume == volume; });
  }

  void Class(const ClassInfo& c) {
    if (c.size_bytes == 0 || c.volume_group.empty()) return;
    if (c.free_bytes > c.size_bytes / 100 * (100 - kFullPercent)) return;
    Do(HealthLevel::kWarning, "",
       "The class " + c.name + " is nearly full: " + FormatSize(c.free_bytes) + " of " +
           FormatSize(c.size_bytes) + " are free.",
       "vgextend " + c.volume_group + " DEVICE");
  }

  static std::string TierLevelText(TierLevel level) {
    return level == TierLevel::kTier1 ? "tier1" : "tier2";
  }

  void Sum() {
    std::size_t errors = 0;
    std::size_t warnings = 0;
    std::size_t busy = 0;
    for (const VolumeHealth& v : out_.volumes) {
      errors += v.level == HealthLevel::kError ? 1 : 0;
      warnings += v.level == HealthLevel::kWarning ? 1 : 0;
      busy += v.level == HealthLevel::kBusy ? 1 : 0;
      out_.level = std::max(out_.level, v.level);
    }
    for (const Todo& t : out_.todos) out_.level = std::max(out_.level, t.level);
    const std::size_t n = out_.volumes.size();
    if (errors > 0) {
      out_.sentence = Count(errors, "volume needs", "volumes need") + " help now.";
    } else if (out_.level == HealthLevel::kError) {
      out_.sentence = "Volumes work, but shadowd does not in every respect.";
    } else if (warnings > 0) {
      out_.sentence = Count(warnings, "volume wants", "volumes want") +
                      " a look; no data is lost, all I/O is served.";
    } else if (out_.level == HealthLevel::kWarning) {
      out_.sentence = "All volumes work; there is something to look at.";
    } else if (n == 0) {
      out_.sentence = "There are no volumes yet.";
    } else if (busy > 0) {
      out_.sentence = "All is well. " + Count(busy, "volume is", "volumes are") +
                      " being modified, in use as ever.";
    } else {
      out_.sentence = "All is well: " + Count(n, "volume", "volumes") + " in service.";
    }
  }

  const HealthInput& in_;
  Health out_;
};

}  // namespace

const char* HealthName(HealthLevel level) {
  switch (level) {
    case HealthLevel::kOk:
      return "ok";
    case HealthLevel::kBusy:
      return "busy";
    case HealthLevel::kWarning:
      return "warning";
    case HealthLevel::kError:
      break;
  }
  return "error";
}

Health Assess(const HealthInput& input) { return Assessor(input).Run(); }

}  // namespace shadow
