// SPDX-License-Identifier: Apache-2.0
#include "tools/metadata/dump.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace shadow::metadata {
namespace {

using Json = nlohmann::ordered_json;
constexpr char kFormat[] = "dm-shadow metadata dump";
constexpr const char* kRoles[] = {"origin", "target", "tier1", "tier2"};

const char* HomeName(std::uint8_t home) {
  return shadow_home_name(static_cast<enum shadow_home>(home));
}
const char* PhaseName(std::uint32_t phase) {
  return shadow_phase_name(static_cast<shadow_phase>(phase));
}

Json SuperblockJson(const shadow_superblock& sb) {
  Json legs = Json::array();
  for (int i = 0; i < SHADOW_NR_LEGS; i++)
    if (sb.legs[i].present)
      legs.push_back({{"role", kRoles[i]}, {"sectors", sb.legs[i].sectors}, {"id", sb.legs[i].id}});
  Json writeback = Json::array();
  for (int i = SHADOW_LEG_TIER1; i < SHADOW_NR_LEGS; i++)
    if (sb.writeback >> i & 1) writeback.push_back(kRoles[i]);
  return {{"generation", sb.generation},
          {"clean", (sb.flags & SHADOW_SB_CLEAN) != 0},
          {"needs_check", (sb.flags & SHADOW_SB_NEEDS_CHECK) != 0},
          {"phase", PhaseName(sb.phase)},
          {"block_sectors", sb.block_sectors},
          {"epoch", sb.epoch},
          {"sectors", sb.nr_sectors},
          {"old_sectors", sb.old_sectors},
          {"tracked_sectors", sb.tracked_sectors},
          {"slot_end", sb.slot_end},
          {"uuid", sb.uuid},
          {"name", sb.name},
          {"logical_block", sb.logical_block},
          {"policy", shadow_policy_name(static_cast<shadow_policy>(sb.policy))},
          {"writeback", writeback},
          {"legs", legs}};
}

template <typename Fn>
void ForRuns(const std::uint8_t* homes, std::size_t count, Fn fn) {
  for (std::size_t i = 0; i < count;) {
    std::size_t end = i;
    while (end < count && homes[end] == homes[i]) end++;
    fn(i, end - i, homes[i]);
    i = end;
  }
}

Json PageJson(const Image& image, std::uint32_t n, unsigned copy) {
  const auto& place = image.page(n, copy);
  if (!place.known()) return nullptr;
  const Bytes page = image.PageBytes(n, copy);
  Json homes = Json::array(), intent = Json::array();
  ForRuns(shadow_page_homes_const(page.data()), SHADOW_BLOCKS_PER_PAGE,
          [&](std::size_t, std::size_t count, std::uint8_t home) {
            homes.push_back(Json::array({HomeName(home), count}));
          });
  for (unsigned r = 0; r < 256; r++)
    if (shadow_page_intent_const(page.data())[r / 8] >> (r % 8) & 1) intent.push_back(r);
  return {{"generation", place.header.generation},
          {"epoch", place.header.epoch},
          {"intent", intent},
          {"homes", homes}};
}

/// [place in the page, tier, life, slot] for each block that has a shadow.
Json SlotPageJson(const Image& image, std::uint32_t n, unsigned copy) {
  const auto& place = image.slot_page(n, copy);
  if (!place.known()) return nullptr;
  const Bytes page = image.SlotPageBytes(n, copy);
  Json shadows = Json::array();
  for (std::uint32_t i = 0; i < SHADOW_WORDS_PER_PAGE; i++)
    if (const std::uint32_t word = shadow_slot_page_word(page.data(), i); word != 0)
      shadows.push_back(Json::array({i, kRoles[shadow_word_leg(word)],
                                     shadow_life_name(shadow_life(word)), shadow_slot(word)}));
  return {{"generation", place.header.generation}, {"shadows", shadows}};
}

Error Bad(const std::string& what) {
  return MakeError(Code::kInvalidArgument, "not a usable dump: " + what);
}

template <typename Names>
int IndexOf(const std::string& name, int count, Names names) {
  for (int i = 0; i < count; i++)
    if (name == names(i)) return i;
  return -1;
}

/// A whole number that fits; nlohmann would cut off what does not.
template <typename T>
T Number(const Json& j) {
  constexpr std::uint64_t kMost = std::numeric_limits<T>::max();
  if (!j.is_number_unsigned() || j.get<std::uint64_t>() > kMost)
    throw std::out_of_range((j.is_number() ? j.dump() : std::string(j.type_name())) +
                            " instead of a whole number from 0 to " + std::to_string(kMost));
  return j.get<T>();
}

/// What dumps of before format 1's last fields do not have.
bool OptionsFromJson(const Json& j, shadow_superblock* sb) {
  if (j.contains("logical_block")) sb->logical_block = Number<std::uint32_t>(j.at("logical_block"));
  if (j.contains("policy")) {
    const int policy = IndexOf(j.at("policy").get<std::string>(), SHADOW_NR_POLICIES, [](int i) {
      return shadow_policy_name(static_cast<shadow_policy>(i));
    });
    if (policy < 0) return false;
    sb->policy = static_cast<std::uint8_t>(policy);
  }
  if (!j.contains("writeback")) return true;
  for (const auto& role : j.at("writeback")) {
    const int tier =
        IndexOf(role.get<std::string>(), SHADOW_NR_LEGS, [](int i) { return kRoles[i]; });
    if (tier < SHADOW_LEG_TIER1) return false;
    sb->writeback |= static_cast<std::uint8_t>(1u << tier);
  }
  return true;
}

/// Exceptions, nlohmann's and Number's, are turned into an Error by ImageFromJson().
Result<Bytes> SuperblockBytes(const Json& j) {
  shadow_superblock sb{};
  const auto text = [](const Json& from, char* to, std::size_t max = SHADOW_ID_MAX) {
    const auto s = from.get<std::string>();
    if (s.size() > max) return false;
    memcpy(to, s.c_str(), s.size() + 1);
    return true;
  };
  sb.generation = Number<std::uint64_t>(j.at("generation"));
  sb.flags = (j.at("clean").get<bool>() ? SHADOW_SB_CLEAN : 0u) |
             (j.at("needs_check").get<bool>() ? SHADOW_SB_NEEDS_CHECK : 0u);
  const int phase = IndexOf(j.at("phase").get<std::string>(), SHADOW_NR_PHASES,
                            [](int i) { return PhaseName(static_cast<std::uint32_t>(i)); });
  if (phase < 0) return Bad("unknown phase");
  sb.phase = static_cast<std::uint32_t>(phase);
  sb.block_sectors = Number<std::uint32_t>(j.at("block_sectors"));
  sb.epoch = Number<std::uint32_t>(j.at("epoch"));
  sb.nr_sectors = Number<std::uint64_t>(j.at("sectors"));
  sb.old_sectors = Number<std::uint64_t>(j.at("old_sectors"));
  sb.tracked_sectors = Number<std::uint64_t>(j.at("tracked_sectors"));
  if (j.contains("slot_end")) sb.slot_end = Number<std::uint64_t>(j.at("slot_end"));
  if (!text(j.at("uuid"), sb.uuid)) return Bad("the UUID is too long");
  for (const auto& leg : j.at("legs")) {
    const int role =
        IndexOf(leg.at("role").get<std::string>(), SHADOW_NR_LEGS, [](int i) { return kRoles[i]; });
    if (role < 0) return Bad("unknown role of a leg");
    sb.legs[role].present = true;
    sb.legs[role].sectors = Number<std::uint64_t>(leg.at("sectors"));
    if (!text(leg.at("id"), sb.legs[role].id)) return Bad("the identity of a leg is too long");
  }
  if (!OptionsFromJson(j, &sb)) return Bad("unknown read policy, or role of a tier");
  if (j.contains("name") && !text(j.at("name"), sb.name, SHADOW_NAME_MAX))
    return Bad("the name is too long");
  Bytes b(kPage);
  shadow_sb_encode(&sb, b.data());
  shadow_superblock check;
  if (const auto e = shadow_sb_decode(b.data(), &check); e != SHADOW_FORMAT_OK)
    return Bad(std::string("superblock: ") + shadow_format_strerror(e));
  return b;
}

Result<Bytes> PageFromJson(const Json& j, std::uint32_t n, std::uint64_t tag) {
  Bytes b(kPage);
  std::size_t at = 0;
  for (const auto& run : j.at("homes")) {
    const int home = IndexOf(run.at(0).get<std::string>(), SHADOW_NR_HOMES,
                             [](int i) { return HomeName(static_cast<std::uint8_t>(i)); });
    const auto count = Number<std::uint64_t>(run.at(1));
    if (home < 0 || count > SHADOW_BLOCKS_PER_PAGE - at)
      return Bad("page " + std::to_string(n) + ": unknown home, or too many blocks");
    memset(shadow_page_homes(b.data()) + at, home, count);
    at += count;
  }
  if (at != SHADOW_BLOCKS_PER_PAGE) return Bad("page " + std::to_string(n) + ": too few blocks");
  for (const auto& r : j.at("intent")) {
    const auto region = Number<unsigned>(r);
    if (region >= SHADOW_REGIONS_PER_PAGE) return Bad("a region that does not exist");
    shadow_page_intent(b.data())[region / 8] |= static_cast<std::uint8_t>(1u << (region % 8));
  }
  const shadow_page_header h{Number<std::uint64_t>(j.at("generation")), tag, n,
                             Number<std::uint32_t>(j.at("epoch"))};
  shadow_page_seal(b.data(), &h);
  shadow_page_header check;
  if (const auto e = shadow_page_decode(b.data(), tag, n, &check); e != SHADOW_FORMAT_OK)
    return Bad("page " + std::to_string(n) + ": " + shadow_format_strerror(e));
  return b;
}

Result<Bytes> SlotPageFromJson(const Json& j, std::uint32_t n, std::uint64_t tag) {
  Bytes b(kPage);
  for (const auto& shadow : j.at("shadows")) {
    const auto i = Number<std::uint32_t>(shadow.at(0));
    const int tier = IndexOf(shadow.at(1).get<std::string>(), SHADOW_NR_LEGS,
                             [](int leg) { return kRoles[leg]; });
    const int life = IndexOf(shadow.at(2).get<std::string>(), SHADOW_NR_LIVES, [](int l) {
      return shadow_life_name(static_cast<enum shadow_life>(l));
    });
    const auto slot = Number<std::uint32_t>(shadow.at(3));
    if (i >= SHADOW_WORDS_PER_PAGE || tier < SHADOW_LEG_TIER1 || life < 0 ||
        slot > SHADOW_SLOT_MASK)
      return Bad("slot page " + std::to_string(n) + ": a shadow that cannot be");
    shadow_slot_page_set(
        b.data(), i,
        shadow_word(static_cast<shadow_leg>(tier), slot, static_cast<enum shadow_life>(life)));
  }
  const shadow_page_header h{Number<std::uint64_t>(j.at("generation")), tag, n, 0};
  shadow_slot_page_seal(b.data(), &h);
  shadow_page_header check;
  if (const auto e = shadow_slot_page_decode(b.data(), tag, n, &check); e != SHADOW_FORMAT_OK)
    return Bad("slot page " + std::to_string(n) + ": " + shadow_format_strerror(e));
  return b;
}

/// The bytes of both copies of `count` pages, each at its `place`; a copy that was damaged becomes
/// like the other one.
template <typename FromJson, typename Place>
Result<Bytes> PagesFromJson(const Json& pages, std::uint64_t count, const char* kind,
                            FromJson from_json, Place place) {
  if (pages.size() != count)
    return Bad("the volume needs " + std::to_string(count) + " " + kind + "s, the dump has " +
               std::to_string(pages.size()));
  Bytes all(count * 2 * kPage);
  for (std::uint32_t n = 0; n < count; n++)
    for (unsigned copy = 0; copy < 2; copy++) {
      const auto& one = pages.at(n).at(copy);
      const auto& from = one.is_null() ? pages.at(n).at(1 - copy) : one;
      if (from.is_null()) return Bad(std::string(kind) + " " + std::to_string(n) + " was damaged");
      SHADOW_ASSIGN(Bytes b, from_json(from, n));
      std::copy(b.begin(), b.end(), all.begin() + static_cast<std::ptrdiff_t>(place(n, copy)));
    }
  return all;
}

Result<Image> Build(const Json& j) {
  if (j.at("format") != kFormat) return Bad("it is none of shadow_dump's");
  if (Number<int>(j.at("version")) != 1) return Bad("unknown version");
  Bytes all(2 * kPage);
  for (unsigned place = 0; place < 2; place++) {
    const auto& sb = j.at("superblocks").at(place);
    if (sb == "blank") continue;
    if (sb.is_null()) return Bad("superblock " + std::to_string(place) + " was damaged");
    SHADOW_ASSIGN(Bytes b, SuperblockBytes(sb));
    std::copy(b.begin(), b.end(), all.begin() + static_cast<std::ptrdiff_t>(place * kPage));
  }
  const Image head(all);
  if (!head.newest()) return Bad("there is no superblock");
  const std::uint64_t tag = shadow_uuid_tag(head.newest()->uuid), blocks = head.nr_blocks();
  // memory only for as many pages as the dump has: a length in it is anybody's claim
  SHADOW_ASSIGN(Bytes states,
                PagesFromJson(
                    j.at("pages"), shadow_nr_pages(blocks), "page",
                    [&](const Json& page, std::uint32_t n) { return PageFromJson(page, n, tag); },
                    [](std::uint32_t n, unsigned copy) {
                      return Image::PageOffset(n, copy) - Image::PageOffset(0, 0);
                    }));
  all.resize(Image::PageOffset(0, 0));
  all.insert(all.end(), states.begin(), states.end());
  if (head.slots_bytes() == 0) return Image(std::move(all));
  SHADOW_ASSIGN(
      Bytes slots,
      PagesFromJson(
          j.at("slot_pages"), shadow_nr_slot_pages(blocks), "slot page",
          [&](const Json& page, std::uint32_t n) { return SlotPageFromJson(page, n, tag); },
          [&](std::uint32_t n, unsigned copy) { return head.PlaceInSlots(n, copy); }));
  return Image(std::move(all), std::move(slots));
}

}  // namespace

std::string DumpJson(const Image& image) {
  Json sbs = Json::array(), pages = Json::array();
  for (unsigned place = 0; place < 2; place++) {
    const auto& s = image.superblock(place);
    if (s.error == SHADOW_FORMAT_BLANK)
      sbs.push_back("blank");
    else
      sbs.push_back(s.known() ? SuperblockJson(s.header) : Json(nullptr));
  }
  for (std::uint32_t n = 0; n < image.nr_pages(); n++)
    pages.push_back(Json::array({PageJson(image, n, 0), PageJson(image, n, 1)}));
  Json all = {{"format", kFormat}, {"version", 1}, {"superblocks", sbs}, {"pages", pages}};
  if (image.nr_slot_pages() != 0) all["slot_pages"] = Json::array();
  for (std::uint32_t n = 0; n < image.nr_slot_pages(); n++)
    all["slot_pages"].push_back(
        Json::array({SlotPageJson(image, n, 0), SlotPageJson(image, n, 1)}));
  // an identity is bytes: what is no UTF-8 must not stop a dump
  return all.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<Image> ImageFromJson(const std::string& json) {
  try {
    return Build(Json::parse(json));
  } catch (const std::exception& e) {
    return Bad(e.what());
  }
}

std::string DumpText(const Image& image) {
  std::ostringstream out;
  for (unsigned place = 0; place < 2; place++) {
    const auto& s = image.superblock(place);
    out << "superblock " << place << ": ";
    if (!s.known()) {
      out << shadow_format_strerror(s.error) << "\n";
      continue;
    }
    const auto& sb = s.header;
    out << (s.flip ? "one flipped bit, " : "") << "generation " << sb.generation << ", phase "
        << PhaseName(sb.phase) << ", modification " << sb.epoch
        << (sb.flags & SHADOW_SB_CLEAN ? ", clean" : "")
        << (sb.flags & SHADOW_SB_NEEDS_CHECK ? ", needs check" : "")
        << (image.newest_place() == place ? " (newest)" : "") << "\n";
  }
  if (!image.newest()) return out.str();
  const auto& sb = *image.newest();
  out << "volume " << sb.uuid << (sb.name[0] ? std::string(", ") + sb.name : "") << ": "
      << sb.nr_sectors << " sectors (old length " << sb.old_sectors << "), " << image.nr_blocks()
      << " blocks of " << sb.block_sectors << " sectors\n";
  out << "read policy " << shadow_policy_name(static_cast<shadow_policy>(sb.policy));
  if (sb.logical_block) out << ", logical blocks of " << sb.logical_block << " bytes";
  for (int i = SHADOW_LEG_TIER1; i < SHADOW_NR_LEGS; i++)
    if (sb.writeback >> i & 1) out << ", write-back on " << kRoles[i];
  out << "\n";
  for (int i = 0; i < SHADOW_NR_LEGS; i++)
    if (sb.legs[i].present)
      out << kRoles[i] << ": " << sb.legs[i].sectors << " sectors, identity "
          << (sb.legs[i].id[0] ? sb.legs[i].id : "-") << "\n";
  for (std::uint32_t n = 0; n < image.nr_pages(); n++) {
    const auto pick = image.Pick(n);
    out << "page " << n << ": ";
    if (!pick) {
      out << "both copies are damaged\n";
      continue;
    }
    const auto& h = image.page(n, *pick).header;
    out << "copy " << *pick << ", generation " << h.generation << ", modification " << h.epoch
        << (image.page(n, 1 - *pick).known() ? "" : ", the other copy is damaged") << "\n";
    const Bytes page = image.PageBytes(n, *pick);
    const std::uint64_t first = static_cast<std::uint64_t>(n) * SHADOW_BLOCKS_PER_PAGE;
    const std::size_t count =
        std::min<std::uint64_t>(SHADOW_BLOCKS_PER_PAGE, image.nr_blocks() - first);
    ForRuns(shadow_page_homes_const(page.data()), count,
            [&](std::size_t at, std::size_t run, std::uint8_t home) {
              out << "  " << first + at << "+" << run << ":" << HomeName(home) << "\n";
            });
    for (unsigned r = 0; r < SHADOW_REGIONS_PER_PAGE; r++)
      if (shadow_page_intent_const(page.data())[r / 8] >> (r % 8) & 1)
        out << "  writes were under way in blocks " << first + std::uint64_t{r} * 16 << "+16\n";
  }
  for (std::uint32_t n = 0; n < image.nr_slot_pages(); n++) {
    const auto pick = image.PickSlotPage(n);
    if (!pick) {
      out << "slot page " << n << ": both copies are damaged\n";
      continue;
    }
    const Bytes page = image.SlotPageBytes(n, *pick);
    for (std::uint32_t i = 0; i < SHADOW_WORDS_PER_PAGE; i++)
      if (const std::uint32_t word = shadow_slot_page_word(page.data(), i); word != 0)
        out << "  block " << static_cast<std::uint64_t>(n) * SHADOW_WORDS_PER_PAGE + i
            << " in slot " << shadow_slot(word) << " of " << kRoles[shadow_word_leg(word)] << ", "
            << shadow_life_name(shadow_life(word)) << "\n";
  }
  return out.str();
}

std::string ReportText(const Report& report) {
  static constexpr const char* kPrefix[] = {"", "repairable: ", "uncertain: ", "error: "};
  std::string out;
  for (const auto& f : report.findings) out += kPrefix[static_cast<int>(f.kind)] + f.what + "\n";
  return out;
}

std::string ReportJson(const Report& report, int exit_code) {
  static constexpr const char* kKind[] = {"note", "repairable", "uncertain", "error"};
  Json findings = Json::array();
  for (const auto& f : report.findings) {
    Json one = {{"kind", kKind[static_cast<int>(f.kind)]}, {"what", f.what}};
    if (f.page >= 0) one["page"] = f.page;
    if (f.blocks) one["blocks"] = {{"first", f.first}, {"count", f.blocks}};
    findings.push_back(one);
  }
  return Json{{"clean", report.Clean()}, {"exit_code", exit_code}, {"findings", findings}}.dump(1) +
         "\n";
}

}  // namespace shadow::metadata
