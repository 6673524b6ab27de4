// SPDX-License-Identifier: Apache-2.0
#include "daemon/trace/access_bits_source.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>

#include "daemon/dm/status.h"
#include "daemon/trace/access_counter.h"

namespace shadow {
namespace {

// Requests and bytes of the volume since it was made: the block layer counts them anyway.
struct Totals {
  std::uint64_t ops = 0, bytes = 0;
};

class AccessBitsSource final : public AccessSource {
 public:
  AccessBitsSource(DeviceMapper* dm, const AccessBitsOptions& options)
      : dm_(*dm), options_(options), counter_(options.block_bytes) {}

  std::string Name() const override { return "access"; }
  std::int64_t PollUs() const override {
    return std::max<std::int64_t>(options_.window_us / kHarvests, 1);
  }

  Status Start(std::int64_t now_us) override {
    SHADOW_ASSIGN(const DmInfo info, dm_.Info(options_.volume));
    stat_path_ = options_.sysfs + "/dev/block/" + std::to_string(info.major) + ":" +
                 std::to_string(info.minor) + "/stat";
    SHADOW_TRY(Harvest(now_us));  // old bits, and: does it work at all?
    counter_.Clear();
    harvested_ = false;
    start_us_ = now_us;
    before_ = ReadTotals();
    return Ok();
  }

  Status Poll(std::int64_t now_us) override {
    // Polled more often than PollUs() the counts would mean something else.
    if (now_us - last_us_ < PollUs() * 9 / 10) return Ok();
    return Harvest(now_us);
  }

  Result<AccessWindow> CloseWindow(std::int64_t now_us) override {
    SHADOW_TRY(Harvest(now_us));
    if (!harvested_) {
      return MakeError(
          Code::kUnavailable,
          "The volume " + options_.volume + " told no accesses for a whole window: " + refusal_,
          "resume it if it is suspended (dmsetup info " + options_.volume + ")");
    }
    AccessWindow window;
    window.start_us = start_us_;
    window.length_us = now_us - start_us_;
    window.blocks = counter_.Take();
    const auto totals = ReadTotals();
    if (totals && before_ && totals->ops >= before_->ops && totals->bytes >= before_->bytes) {
      window.ops = totals->ops - before_->ops;
      window.bytes = totals->bytes - before_->bytes;
    } else {
      for (const BlockAccess& a : window.blocks) window.ops += a.count;  // at least so many
    }
    before_ = totals;
    start_us_ = now_us;
    harvested_ = false;
    return window;
  }

  void Stop() override { counter_.Clear(); }

 private:
  // One harvest, page by page. A refusal is no error here: a suspended volume keeps its bits.
  Status Harvest(std::int64_t now_us) {
    std::vector<AccessRun> runs;
    std::string message = "access";
    while (true) {
      const auto text = dm_.Message(options_.volume, message);
      if (!text.ok()) {
        // What was taken already is cleared in the kernel, so it has to be counted now.
        counter_.AddHarvest(runs);
        if (text.error().code != Code::kFailedPrecondition) return text.error();
        refusal_ = text.error().message;
        return Ok();
      }
      SHADOW_ASSIGN(AccessAnswer answer, ParseAccess(*text));
      runs.insert(runs.end(), answer.runs.begin(), answer.runs.end());
      if (!answer.next) break;
      SHADOW_ASSIGN(const std::uint64_t blocks, Blocks());
      if (*answer.next >= blocks) break;
      message =
          "access " + std::to_string(*answer.next) + "+" + std::to_string(blocks - *answer.next);
    }
    counter_.AddHarvest(runs);
    harvested_ = true;
    last_us_ = now_us;
    return Ok();
  }

  Result<std::uint64_t> Blocks() {
    SHADOW_ASSIGN(const DmTarget target, dm_.StatusOf(options_.volume));
    SHADOW_ASSIGN(const TargetStatus status, ParseStatus(target.params));
    return status.kernel.blocks;
  }

  std::optional<Totals> ReadTotals() const {
    std::ifstream file(stat_path_);
    // Reads, merged, sectors, ms; writes, merged, sectors, ms; ... (Documentation/block/stat.rst)
    std::array<std::uint64_t, 7> f{};
    for (auto& value : f) {
      if (!(file >> value)) return std::nullopt;
    }
    return Totals{f[0] + f[4], (f[2] + f[6]) * kSectorBytes};
  }

  DeviceMapper& dm_;
  const AccessBitsOptions options_;
  AccessCounter counter_;
  std::string stat_path_;
  std::string refusal_;
  std::int64_t start_us_ = 0, last_us_ = 0;
  bool harvested_ = false;  // at least once in this window
  std::optional<Totals> before_;
};

}  // namespace

std::unique_ptr<AccessSource> MakeAccessBitsSource(DeviceMapper* dm,
                                                   const AccessBitsOptions& options) {
  return std::make_unique<AccessBitsSource>(dm, options);
}

}  // namespace shadow
