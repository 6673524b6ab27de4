// SPDX-License-Identifier: Apache-2.0
#include "daemon/store/codec.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>

namespace shadow {
namespace {

using nlohmann::json;

// Enumerators are stored by these names, in the order of the enumeration. A released name is not
// changed, and belongs to the same meaning for ever; where it stands in the list does not matter.
using Names = std::span<const char* const>;
constexpr std::array<const char*, 3> kImpactNames = {"low", "balanced", "full"};
constexpr std::array<const char*, 3> kRetireNames = {"never", "cold", "eager"};
constexpr std::array<const char*, kKinds> kKindNames = {"move", "grow", "shrink"};
constexpr std::array<const char*, kEndings> kEndingNames = {"none", "abort", "roll-back", "fail"};
constexpr std::array<const char*, 3> kVolumeStateNames = {"creating", "active", "removing"};
constexpr std::array<const char*, kTiers> kLevelNames = {"tier1", "tier2"};
constexpr std::array<const char*, kTierPhases> kTierPhaseNames = {
    "none", "adding", "active", "removing", "forgetting", "releasing"};

Names StepNames() {
  static const auto kNames = [] {
    std::array<const char*, kSteps> names{};
    for (int i = 0; i < kSteps; ++i) names.at(i) = StepName(static_cast<Step>(i));
    return names;
  }();
  return kNames;
}

// One function per type lists its fields once, for both directions. `Io` is Writer or Reader.
class Writer {
 public:
  static constexpr bool kReads = false;
  template <typename T>
  void Field(const char* name, const T& value) {
    j[name] = value;
  }
  template <typename E>
  void Enum(const char* name, const E& value, Names names) {
    j[name] = names[static_cast<std::size_t>(value)];
  }
  template <typename T>
  void Object(const char* name, const T& value);
  json j = json::object();
};

class Reader {
 public:
  static constexpr bool kReads = true;
  explicit Reader(const json& from) : j(from) {
    if (!j.is_object()) ok = false;
  }
  template <typename T>
  void Field(const char* name, T& value) {
    const json* field = Find(name);
    if (field == nullptr) return;
    if constexpr (std::is_same_v<T, bool>) {
      Check(field->is_boolean(), [&] { value = field->get<bool>(); });
    } else if constexpr (std::is_unsigned_v<T>) {
      Check(field->is_number_unsigned() &&
                field->get<std::uint64_t>() <= std::numeric_limits<T>::max(),
            [&] { value = static_cast<T>(field->get<std::uint64_t>()); });
    } else if constexpr (std::is_integral_v<T>) {
      Check(field->is_number_integer(), [&] { value = field->get<T>(); });
    } else if constexpr (std::is_same_v<T, std::string>) {
      Check(field->is_string(), [&] { value = field->get<std::string>(); });
    } else {  // a list of strings
      Check(field->is_array(), [&] {
        value.clear();
        for (const json& item : *field) {
          Check(item.is_string(), [&] { value.push_back(item.get<std::string>()); });
        }
      });
    }
  }
  template <typename E>
  void Enum(const char* name, E& value, Names names) {
    if (Find(name) == nullptr) return;
    std::string text;
    Field(name, text);
    const auto it = std::find(names.begin(), names.end(), text);
    Check(it != names.end(), [&] { value = static_cast<E>(it - names.begin()); });
  }
  template <typename T>
  void Object(const char* name, T& value);
  bool ok = true;

 private:
  const json* Find(const char* name) const {
    if (!j.is_object()) return nullptr;
    const auto it = j.find(name);
    return it == j.end() ? nullptr : &*it;
  }
  template <typename F>
  void Check(bool right, F set) {
    if (right) {
      set();
    } else {
      ok = false;
    }
  }
  const json& j;
};

template <typename Io, typename T>
void LegFields(Io& io, T& v) {
  io.Field("device", v.device);
  io.Field("id", v.id);
  io.Field("class", v.storage_class);
  io.Field("size", v.size_bytes);
  io.Field("lv", v.logical_volume);
  io.Field("made", v.made_here);
  io.Field("given", v.given);
  if (v.by_name || Io::kReads) io.Field("by_name", v.by_name);
}

template <typename Io, typename T>
void RequestFields(Io& io, T& v) {
  io.Field("volume", v.volume);
  io.Field("size_bytes", v.size_bytes);
  io.Field("size_spec", v.size_spec);
  io.Field("to", v.to);
  io.Enum("impact", v.impact, kImpactNames);
  io.Field("rate", v.rate);
  io.Enum("retire", v.retire, kRetireNames);
  io.Field("grace_ms", v.grace_ms);
  io.Field("grow_filesystem", v.grow_filesystem);
  io.Field("trim_first", v.trim_first);
  io.Field("discard_origin", v.discard_origin);
  io.Field("force_shrink", v.force_shrink);
  if (!v.overwrite.empty() || Io::kReads) io.Field("overwrite", v.overwrite);
  if (v.grow_now || Io::kReads) io.Field("grow_now", v.grow_now);
  if (v.unstable_names || Io::kReads) io.Field("unstable_names", v.unstable_names);
  if (v.keep_signature || Io::kReads) io.Field("keep_signature", v.keep_signature);
  io.Field("dry_run", v.dry_run);
}

template <typename Io, typename T>
void PlanFields(Io& io, T& v) {
  io.Field("volume", v.volume);
  io.Field("old_size", v.old_size);
  io.Field("new_size", v.new_size);
  io.Field("from", v.from);
  io.Field("to", v.to);
  io.Field("target_device", v.target_device);
  io.Field("bytes_to_copy", v.bytes_to_copy);
  io.Field("holes_bytes", v.holes_bytes);
  io.Field("expected_ms", v.expected_ms);
  io.Field("expected_pause_us", v.expected_pause_us);
  io.Field("reversible", v.reversible);
  io.Field("steps", v.steps);
  io.Field("warnings", v.warnings);
}

template <typename Io, typename T>
void StateFields(Io& io, T& v) {
  io.Enum("kind", v.kind, kKindNames);
  io.Enum("step", v.step, StepNames());
  io.Enum("ending", v.ending, kEndingNames);
  io.Field("paused", v.paused);
  io.Field("attempts", v.attempts);
}

template <typename Io, typename T>
void VolumeFields(Io& io, T& v) {
  io.Field("name", v.name);
  io.Field("uuid", v.uuid);
  io.Enum("state", v.state, kVolumeStateNames);
  io.Object("origin", v.origin);
  io.Object("metadata", v.metadata);
  io.Field("sectors", v.sectors);
  io.Field("block_sectors", v.block_sectors);
  io.Field("fresh", v.fresh);
  io.Field("imported", v.imported);
  io.Field("remove_origin", v.remove_origin);
  io.Field("created_ms", v.created_ms);
}

template <typename Io, typename T>
void ModificationFields(Io& io, T& v) {
  io.Field("id", v.id);
  io.Field("volume", v.volume);
  io.Field("request_id", v.request.request_id);
  io.Object("request", v.request);
  io.Object("plan", v.plan);
  io.Object("state", v.state);
  io.Object("origin", v.origin);
  io.Object("target", v.target);
  io.Field("target_touched", v.target_touched);
  io.Field("old_sectors", v.old_sectors);
  io.Field("new_sectors", v.new_sectors);
  io.Field("error", v.error);
  io.Field("left_out", v.left_out);
  if (!v.wiped.empty() || Io::kReads) io.Field("wiped", v.wiped);
  io.Field("started_ms", v.started_ms);
  io.Field("finished_ms", v.finished_ms);
  io.Field("grace_ends_ms", v.grace_ends_ms);
  io.Field("grace_boot_id", v.grace.boot_id);
  io.Field("grace_ends_boot_ms", v.grace.ends_boot_ms);
  io.Field("grace_left_ms", v.grace.left_ms);
  io.Field("bytes_total", v.bytes_total);
  io.Field("bytes_copied", v.bytes_copied);
  io.Field("cutover_pause_us", v.cutover_pause_us);
  io.Field("mirrored_writes", v.mirrored_writes);
  io.Field("baseline_p50_us", v.baseline_p50_us);
  io.Field("baseline_p99_us", v.baseline_p99_us);
}

template <typename Io, typename T>
void TierFields(Io& io, T& v) {
  io.Enum("phase", v.phase, kTierPhaseNames);
  io.Field("to", v.to);
  io.Object("leg", v.leg);
  io.Field("size", v.size_bytes);
  io.Field("write_back", v.write_back);
  io.Field("lost", v.lost);
  io.Field("overwrite", v.overwrite);
  io.Field("touched", v.touched);
  if (v.unstable_names || Io::kReads) io.Field("unstable_names", v.unstable_names);
  io.Field("request_id", v.request_id);
}

template <typename Io, typename T>
void PolicyFields(Io& io, T& v) {
  io.Field("policy", v.policy);
  io.Field("tier1_heat", v.tier1_heat_permille);
  io.Field("tier2_heat", v.tier2_heat_permille);
  io.Field("budget", v.budget_bytes_per_minute);
  io.Field("window_ms", v.window_ms);
  io.Enum("impact", v.impact, kImpactNames);
}

template <typename Io, typename T>
void TiersFields(Io& io, T& v) {
  io.Field("volume", v.volume);
  io.Object("tier1", v.tiers[0]);
  io.Object("tier2", v.tiers[1]);
  io.Object("policy", v.policy);
  io.Field("metadata_end", v.metadata_end);
}

template <typename Io, typename T>
void AllFields(Io& io, T& v) {
  using Type = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Type, Leg>) LegFields(io, v);
  if constexpr (std::is_same_v<Type, ModifyRequest>) RequestFields(io, v);
  if constexpr (std::is_same_v<Type, Plan>) PlanFields(io, v);
  if constexpr (std::is_same_v<Type, MachineState>) StateFields(io, v);
  if constexpr (std::is_same_v<Type, VolumeRecord>) VolumeFields(io, v);
  if constexpr (std::is_same_v<Type, ModificationRecord>) ModificationFields(io, v);
  if constexpr (std::is_same_v<Type, TierRecord>) TierFields(io, v);
  if constexpr (std::is_same_v<Type, TierPolicy>) PolicyFields(io, v);
  if constexpr (std::is_same_v<Type, TiersRecord>) TiersFields(io, v);
}

template <typename T>
void Writer::Object(const char* name, const T& value) {
  Writer inner;
  AllFields(inner, value);
  j[name] = std::move(inner.j);
}

template <typename T>
void Reader::Object(const char* name, T& value) {
  const json* field = Find(name);
  if (field == nullptr) return;
  Reader inner(*field);
  AllFields(inner, value);
  ok = ok && inner.ok;
}

template <typename T>
std::string EncodeAny(const T& value) {
  Writer writer;
  AllFields(writer, value);
  // Names may hold bytes that are no UTF-8; a record must be written all the same.
  return writer.j.dump(-1, ' ', false, json::error_handler_t::replace);
}

template <typename T>
Result<T> DecodeAny(const std::string& text, const char* what) {
  const json j = json::parse(text, nullptr, false);
  Reader reader(j);
  T value;
  if (!j.is_discarded()) AllFields(reader, value);
  if (j.is_discarded() || !reader.ok) {
    return MakeError(Code::kDataLoss, std::string("The store holds a damaged ") + what + ".",
                     "restore the state directory from a backup");
  }
  return value;
}

// What an earlier program did not know is left out when it is not used: its bodies go on matching.
template <typename T>
std::string BodyOf(json j, const T& request) {
  if (!request.overwrite.empty()) j["overwrite"] = request.overwrite;
  if (request.unstable_names) j["unstable_names"] = true;
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace

std::string Encode(const VolumeRecord& record) { return EncodeAny(record); }
std::string Encode(const ModificationRecord& record) { return EncodeAny(record); }
std::string Encode(const TiersRecord& record) { return EncodeAny(record); }
std::string RequestBody(const ModifyRequest& request) { return EncodeAny(request); }

std::string RequestBody(const CreateRequest& request) {
  const json j = {{"name", request.name},
                  {"size", request.size_bytes},
                  {"to", request.to},
                  {"block", request.block_bytes}};
  return BodyOf(j, request);
}

std::string RequestBody(const ImportRequest& request) {
  const json j = {{"name", request.name},
                  {"device", request.device},
                  {"metadata", request.metadata},
                  {"block", request.block_bytes}};
  return BodyOf(j, request);
}

std::string RequestBody(const AddTierRequest& request) {
  const json j = {{"volume", request.volume},
                  {"level", kLevelNames.at(IndexOf(request.level))},
                  {"to", request.to},
                  {"size", request.size_bytes},
                  {"write_back", request.write_back}};
  return BodyOf(j, request);
}

std::string RequestBody(const RemoveTierRequest& request) {
  const json j = {{"volume", request.volume},
                  {"level", kLevelNames.at(IndexOf(request.level))},
                  {"forget", request.forget},
                  {"lost", request.lost}};
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::optional<Phase> PhaseOfName(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Phase::kFailed); ++i) {
    if (name == PhaseName(static_cast<Phase>(i))) return static_cast<Phase>(i);
  }
  return std::nullopt;
}

Result<TiersRecord> DecodeTiers(const std::string& text) {
  SHADOW_ASSIGN(TiersRecord record, DecodeAny<TiersRecord>(text, "tiers record"));
  const TierPolicy& p = record.policy;
  if (record.volume.empty() || p.tier1_heat_permille > 1000 || p.tier2_heat_permille > 1000 ||
      p.window_ms < 1 || p.impact > 2) {
    return MakeError(Code::kDataLoss, "The store holds a damaged tiers record.",
                     "restore the state directory from a backup");
  }
  return record;
}

Result<VolumeRecord> DecodeVolume(const std::string& text) {
  SHADOW_ASSIGN(VolumeRecord record, DecodeAny<VolumeRecord>(text, "volume record"));
  if (record.block_sectors == 0 || record.name.empty()) {
    return MakeError(Code::kDataLoss, "The store holds a damaged volume record.",
                     "restore the state directory from a backup");
  }
  return record;
}

Result<ModificationRecord> DecodeModification(const std::string& text) {
  SHADOW_ASSIGN(ModificationRecord record,
                DecodeAny<ModificationRecord>(text, "modification record"));
  if (!IsValid(record.state)) {
    return MakeError(Code::kDataLoss, "The store holds a modification in an impossible state.",
                     "restore the state directory from a backup");
  }
  return record;
}

}  // namespace shadow
