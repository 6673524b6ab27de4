// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/status.h"

#include <array>
#include <functional>
#include <limits>
#include <map>

#include "daemon/dm/table.h"

namespace shadow {
namespace {

constexpr std::array<const char*, kBlockStates> kStateNames = {
    "origin", "copying", "mirrored", "retiring", "target", "remirroring", "hole", "filling"};

constexpr std::array<const char*, kShadowStates> kShadowNames = {"clean", "dirty", "promoting",
                                                                 "cleaning", "dropping"};

Error Unreadable(const char* what, std::string_view text) {
  return MakeError(Code::kDataLoss,
                   std::string("The kernel's ") + what + " cannot be understood: '" +
                       std::string(text.substr(0, 120)) + "'.",
                   "shadowd and the dm_shadow module may be of different versions");
}

using Field = std::uint64_t TargetStatus::*;
using KernelField = std::uint64_t KernelStatus::*;

const std::map<std::string_view, Field>& Fields() {
  static const std::map<std::string_view, Field> fields = {
      {"old_sectors", &TargetStatus::old_sectors},
      {"queue", &TargetStatus::queue},
      {"inflight", &TargetStatus::inflight_kib},
      {"rate", &TargetStatus::rate_kib},
      {"inflight_limit", &TargetStatus::inflight_limit_kib},
      {"dirty_regions", &TargetStatus::dirty_regions},
      {"commits", &TargetStatus::commits},
      {"generation", &TargetStatus::generation},
      {"mem", &TargetStatus::memory_bytes},
      {"filled", &TargetStatus::filled},
      {"tier_queue", &TargetStatus::tier_queue},
      {"tier_inflight", &TargetStatus::tier_inflight_kib},
      {"tier_rate", &TargetStatus::tier_rate_kib},
      {"tier_inflight_limit", &TargetStatus::tier_inflight_limit_kib},
  };
  return fields;
}

const std::map<std::string_view, KernelField>& KernelFields() {
  static const std::map<std::string_view, KernelField> fields = {
      {"origin", &KernelStatus::origin},
      {"copying", &KernelStatus::copying},
      {"mirrored", &KernelStatus::mirrored},
      {"retiring", &KernelStatus::retiring},
      {"target", &KernelStatus::target},
      {"remirroring", &KernelStatus::remirroring},
      {"hole", &KernelStatus::hole},
      {"filling", &KernelStatus::filling},
      {"tail", &KernelStatus::tail},
      {"copied", &KernelStatus::copied},
      {"recopied", &KernelStatus::recopied},
      {"mirrored_writes", &KernelStatus::mirrored_writes},
      {"failovers", &KernelStatus::failovers},
      {"stale", &KernelStatus::stale},
      {"copy_errors", &KernelStatus::copy_errors},
      {"promoted", &KernelStatus::promoted},
      {"demoted", &KernelStatus::demoted},
      {"written_back", &KernelStatus::written_back},
      {"fetched", &KernelStatus::fetched},
      {"tier_failures", &KernelStatus::tier_failures},
  };
  return fields;
}

bool IsOneOf(std::string_view word, std::initializer_list<std::string_view> words) {
  for (std::string_view w : words) {
    if (w == word) return true;
  }
  return false;
}

// "<ok|missing|failed>:<writethrough|writeback>:<slots>:<used>:<dirty>"
std::optional<KernelTier> ParseTierField(std::string_view value) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t colon = value.find(':');
    parts.push_back(value.substr(0, colon));
    if (colon == std::string_view::npos) break;
    value.remove_prefix(colon + 1);
  }
  if (parts.size() != 5 || !IsOneOf(parts[0], {"ok", "missing", "failed"}) ||
      !IsOneOf(parts[1], {"writethrough", "writeback"})) {
    return std::nullopt;
  }
  const auto slots = ParseNumber(parts[2]);
  const auto used = ParseNumber(parts[3]);
  const auto dirty = ParseNumber(parts[4]);
  if (!slots || !used || !dirty || *used > *slots || *dirty > *used) return std::nullopt;
  return KernelTier{std::string(parts[0]), parts[1] == "writeback", *slots, *used, *dirty};
}

// Sets one key of a tier ("tier1", "tier1_reads", ...). Nothing: the key is none of a tier's.
std::optional<bool> SetTierField(std::string_view key, std::string_view value,
                                 KernelStatus* kernel) {
  const auto tier = ParseTierName(key.substr(0, 5));
  if (!tier) return std::nullopt;
  const auto i = static_cast<std::size_t>(*tier);
  if (key.size() == 5) {
    kernel->tiers.at(i) = ParseTierField(value);
    return kernel->tiers.at(i).has_value();
  }
  if (key.substr(5) != "_reads" && key.substr(5) != "_writes") return std::nullopt;
  const auto number = ParseNumber(value);
  if (number)
    (key.substr(5) == "_reads" ? kernel->tier_reads : kernel->tier_writes).at(i) = *number;
  return number.has_value();
}

// Sets one key=value pair; false if the value is wrong. Unknown keys are fine.
bool SetField(std::string_view key, std::string_view value, TargetStatus* status) {
  const auto number = ParseNumber(value);
  if (const auto it = Fields().find(key); it != Fields().end()) {
    if (number) (*status).*(it->second) = *number;
    return number.has_value();
  }
  if (const auto it = KernelFields().find(key); it != KernelFields().end()) {
    if (number) status->kernel.*(it->second) = *number;
    return number.has_value();
  }
  if (const auto tier = SetTierField(key, value, &status->kernel)) return *tier;
  if (key == "paused" || key == "needs_check") {
    if (!number || *number > 1) return false;
    (key == "paused" ? status->paused : status->kernel.needs_check) = *number == 1;
  } else if (key == "last_error") {
    status->kernel.last_error = value == "-" ? "" : std::string(value.substr(0, 100));
  } else if (key == "fetch") {
    status->kernel.fetch = value.substr(0, 5);
  } else if (key == "read") {
    status->read_policy = value.substr(0, 20);
  }
  return true;
}

// "<first>+<count>"; nothing if it overflows or is empty.
std::optional<BlockRange> ParseRange(std::string_view text) {
  const std::size_t plus = text.find('+');
  if (plus == std::string_view::npos) return std::nullopt;
  const auto first = ParseNumber(text.substr(0, plus));
  const auto count = ParseNumber(text.substr(plus + 1));
  if (!first || !count || *count == 0) return std::nullopt;
  if (*first > std::numeric_limits<std::uint64_t>::max() - *count) return std::nullopt;
  return BlockRange{*first, *count};
}

using AddRun = std::function<bool(BlockRange, std::string_view)>;

// "<first>+<count>:<word> ... next=<block>|end": runs ascend, and the last word must be there.
bool ParseRuns(std::string_view answer, const AddRun& add, std::optional<std::uint64_t>* next) {
  std::uint64_t least = 0;
  bool ended = false;
  for (std::string_view word : SplitWords(answer)) {
    if (ended) return false;
    if (word == "end") {
      ended = true;
    } else if (word.substr(0, 5) == "next=") {
      *next = ParseNumber(word.substr(5));
      // It must lie behind what was told already, or asking on would never end.
      if (!next->has_value() || **next == 0 || **next < least) return false;
      ended = true;
    } else {
      const std::size_t colon = word.find(':');
      if (colon == std::string_view::npos) return false;
      const auto range = ParseRange(word.substr(0, colon));
      if (!range || range->first < least || !add(*range, word.substr(colon + 1))) return false;
      least = range->first + range->count;
    }
  }
  return ended;
}

}  // namespace

const char* BlockStateName(BlockState state) {
  return kStateNames.at(static_cast<std::size_t>(state));
}

const char* ShadowStateName(ShadowState state) {
  return kShadowNames.at(static_cast<std::size_t>(state));
}

std::optional<BlockState> ParseBlockState(std::string_view name) {
  for (std::size_t i = 0; i < kStateNames.size(); ++i) {
    if (name == kStateNames.at(i)) return static_cast<BlockState>(i);
  }
  return std::nullopt;
}

Result<TargetStatus> ParseStatus(std::string_view line) {
  const auto words = SplitWords(line);
  if (words.size() < 4) return Unreadable("status", line);
  TargetStatus status;
  const auto blocks = ParseNumber(words[2]);
  const auto block_sectors = ParseNumber(words[3]);
  if (!IsOneOf(words[0], {"rw", "ro", "fail"}) ||
      !IsOneOf(words[1], {"steady", "migrating", "grace"}) || !blocks || !block_sectors ||
      *block_sectors == 0 || *block_sectors > 32768) {
    return Unreadable("status", line);
  }
  status.kernel.mode = words[0];
  status.kernel.phase = words[1];
  status.kernel.blocks = *blocks;
  status.kernel.block_bytes = *block_sectors * kSectorBytes;
  for (std::size_t i = 4; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string_view::npos ||
        !SetField(words[i].substr(0, equals), words[i].substr(equals + 1), &status)) {
      return Unreadable("status", words[i]);
    }
  }
  status.kernel.copy_limit = status.rate_kib * 1024;
  return status;
}

Result<MapAnswer> ParseMap(std::string_view answer) {
  MapAnswer out;
  const auto add = [&](BlockRange range, std::string_view word) {
    const auto state = ParseBlockState(word);
    if (state) out.runs.push_back({range, *state});
    return state.has_value();
  };
  if (!ParseRuns(answer, add, &out.next)) return Unreadable("map", answer);
  return out;
}

Result<AccessAnswer> ParseAccess(std::string_view answer) {
  AccessAnswer out;
  const auto add = [&](BlockRange range, std::string_view word) {
    if (!IsOneOf(word, {"r", "w", "rw"})) return false;
    out.runs.push_back({range, word != "w", word != "r"});
    return true;
  };
  if (!ParseRuns(answer, add, &out.next)) return Unreadable("access answer", answer);
  return out;
}

Result<TiersAnswer> ParseTiers(std::string_view answer) {
  TiersAnswer out;
  const auto add = [&](BlockRange range, std::string_view word) {
    const std::size_t dash = word.find('-');
    if (dash == std::string_view::npos) return false;
    const auto tier = ParseTierName(word.substr(0, dash));
    for (std::size_t i = 0; tier && i < kShadowNames.size(); ++i) {
      if (word.substr(dash + 1) != kShadowNames.at(i)) continue;
      out.runs.push_back({range, *tier, static_cast<ShadowState>(i)});
      return true;
    }
    return false;
  };
  if (!ParseRuns(answer, add, &out.next)) return Unreadable("tiers answer", answer);
  return out;
}

std::vector<std::string> RangeMessages(std::string_view verb, const std::vector<BlockRange>& ranges,
                                       std::size_t per_message) {
  std::vector<std::string> messages;
  std::size_t in_message = 0;
  for (const BlockRange& r : ranges) {
    if (r.count == 0) continue;
    if (in_message == 0) messages.emplace_back(verb);
    messages.back() += " " + std::to_string(r.first);
    if (r.count > 1) messages.back() += "+" + std::to_string(r.count);
    in_message = (in_message + 1) % per_message;
  }
  return messages;
}

}  // namespace shadow
