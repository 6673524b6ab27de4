// SPDX-License-Identifier: GPL-2.0-only
// The daemon's messages, as strings through the module's parser, and status from its printer.
//
// Both may come at any moment while the device exists: also while a table is resumed or refused.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/sim/world.h"

namespace sim {

namespace {
constexpr u32 kRoomOfStatus = 4096;

/// The message of an action, without its arguments.
const char* Verb(Action what) {
  static constexpr const char* kVerbs[] = {
      "copy",    "remirror", "fill",      "retire", "clear", "pause",  "resume", "limit",
      "read",    "cutover",  "rollback",  "commit", "abort", "sync",   "access", "map",
      "promote", "demote",   "writeback", "mode",   "fetch", "forget", "clear",  "tiers"};
  return kVerbs[what - kCopy];
}
/// It may end a phase.
bool Turns(Action what) {
  return what == kCutover || what == kRollback || what == kFinish || what == kAbort;
}
}  // namespace

bool Volume::Range(char* text, size_t room, bool whole) {
  const u32 blocks = Blocks();
  u32 b = PickBlock(), n = 1;
  while (b + n < blocks && geometry_.Adjoins(b + n - 1) && sim_one_in(2)) n++;
  u32 first = geometry_.Number(b), count = geometry_.Number(b + n - 1) + 1 - first;
  if (whole && sim_one_in(4)) {
    first = 0;
    count = geometry_.Number(blocks - 1) + 1;
  }
  std::snprintf(text, room, "%u+%u", first, count);
  return true;
}

bool Volume::Message(Action what) {
  if (!md_ || !len_) return false;
  if (what == kStatus) {
    if (statuses_ >= 2) return false;
    statuses_++;
    world_.Spawn("status", [this] {
      AskStatus();
      statuses_--;
      sim_wake(&statuses_);
    });
    return true;
  }
  if (messages_ >= 4 || forgetting_) return false;
  // most come to a volume that is up; the others have to be refused, and no more
  if (!up_ && !sim_one_in(3)) return false;
  char range[32], text[80];
  Range(range, sizeof(range), what != kRetire && !geometry_.wide());
  const u32 tier = 1 + sim_below(2);
  switch (what) {
    case kCopy:
    case kRemirror:
    case kFill:
    case kRetire:
    case kDemote:
    case kWriteback:
      std::snprintf(text, sizeof(text), "%s %s", Verb(what), range);
      break;
    case kPromote:
      std::snprintf(text, sizeof(text), "promote tier%u %s", tier, range);
      break;
    case kPolicy: {
      static constexpr const char* kPolicies[] = {"target", "origin", "balance", "mirror"};
      std::snprintf(text, sizeof(text), "read %s", kPolicies[sim_below(4)]);
      break;
    }
    case kMode:
      std::snprintf(text, sizeof(text), "mode tier%u %s", tier,
                    sim_one_in(2) ? "writeback" : "writethrough");
      break;
    case kFetch:
      if (fetch_ && !sim_one_in(3))
        std::snprintf(text, sizeof(text), "fetch tier%u", fetch_ - SHADOW_LEG_TIER1 + 1U);
      else
        std::snprintf(text, sizeof(text), "fetch off");
      break;
    case kForget: {
      const bool lost = sim_one_in(3);
      if (lost && in_flight_) return false;  // what is given up is not told write by write
      std::snprintf(text, sizeof(text), "forget tier%u%s", tier, lost ? " lost" : "");
      if (lost) {
        forgetting_ = true;
        truth_.Forgotten(~CellMask{0});
      }
      break;
    }
    case kClearTiers:
      std::snprintf(text, sizeof(text), "clear tiers");
      break;
    case kLimit: {
      static constexpr const char* kLimits[] = {"inflight", "rate", "tier_inflight", "tier_rate"};
      const u32 which = sim_below(4);
      std::snprintf(text, sizeof(text), "limit %s %u", kLimits[which],
                    which % 2 && sim_one_in(2) ? 0 : 64 * (1 + sim_below(8)));
      break;
    }
    default:
      std::snprintf(text, sizeof(text), "%s", Verb(what));
  }
  if (what == kFinish || what == kAbort) {
    shadow_superblock sb;
    bool blank;
    steady_ = true;
    if (what == kAbort) {
      aborts_++;
      if (Superblock(&sb, &blank)) {
        sure_len_ = std::min(sure_len_, LengthLeft(sb));
        tail_lost_ |= sure_len_ < len_;
      }
    }
  }
  if (Turns(what)) {
    turning_++;
    turns_++;
  }
  messages_++;
  world_.Note("daemon: %s", text);
  std::array<char, 80> copy;
  std::memcpy(copy.data(), text, sizeof(text));
  world_.Spawn("a message", [this, what, copy] {
    char answer[kRoom];
    const int r = Say(copy.data(), answer);
    Told(what, copy.data(), r, answer);
    messages_--;
    answers_++;
    sim_wake(&messages_);
  });
  return true;
}

int Volume::Say(const char* text, char* answer) {
  if (!md_) return -1;
  // now and then there is little room for the answer
  return sim_dm_message(md_, text, answer, sim_one_in(8) ? 64 + sim_below(200) : kRoom);
}

void Volume::Told(Action what, const char* text, int r, const char* answer) {
  world_.Note("  %s: %d %s", text, r, r == 1 ? answer : "");
  if (Turns(what)) {
    turning_--;
    turns_++;
  }
  if (what == kAbort) {
    shadow_superblock sb;
    bool blank;
    aborts_--;
    tail_lost_ |= Superblock(&sb, &blank) && LengthLeft(sb) < len_;
  }
  // Another "forget" that was on its way already, and gives nothing up, ends nothing.
  if (what == kForget && std::strstr(text, " lost")) {
    truth_.Forgotten(~CellMask{0});
    forgetting_ = false;
  }
  if (r != 1) return;
  if (std::strstr(answer, "end") || std::strstr(answer, "next=")) return;
  world_.Fail(index_, "the answer to \"%s\" has no end: %s", text, answer);
}

// ------------------------------------------------------------------------- status

bool Volume::Field(const char* info, const char* name, u64* value) {
  char key[40];
  std::snprintf(key, sizeof(key), " %s=", name);
  const char* at = std::strstr(info, key);
  if (!at) return false;
  *value = std::strtoull(at + std::strlen(key), nullptr, 10);
  return true;
}

void Volume::AskStatus() {
  char text[kRoomOfStatus];
  const int type = static_cast<int>(sim_below(3));
  const bool inactive = sim_one_in(4);
  if (!md_) return;
  const u32 room = sim_one_in(6) ? 40 + sim_below(300) : kRoomOfStatus;
  if (sim_dm_status(md_, type, inactive, text, room) && !type && !inactive && room == kRoomOfStatus)
    CheckInfo(text);
}

void Volume::CheckInfo(const char* info) {
  if (!std::strcmp(info, "inactive")) return;
  u64 origin, target, inflight;
  const bool word = !std::strncmp(info, "rw ", 3) || !std::strncmp(info, "ro ", 3) ||
                    !std::strncmp(info, "fail ", 5);
  if (!word || !Field(info, "origin", &origin) || !Field(info, "target", &target) ||
      !Field(info, "inflight", &inflight))
    return world_.Fail(index_, "a status makes no sense: %.120s", info);
  // states are counted after they have changed: a sum may be off by what changes just now
  if (origin > geometry_.AllBlocks() + 64 || target > geometry_.AllBlocks() + 64)
    world_.Fail(index_, "a status counts more blocks than there are: %.120s", info);
}

void Volume::CheckMover() {
  char info[kRoomOfStatus];
  u64 queue, inflight, paused, tier_queue = 0;
  if (!md_ || !sim_dm_status(md_, 0, false, info, kRoomOfStatus)) return;
  CheckInfo(info);
  if (!Field(info, "queue", &queue) || !Field(info, "inflight", &inflight) ||
      !Field(info, "paused", &paused))
    return;
  Field(info, "tier_queue", &tier_queue);
  if (std::strncmp(info, "rw ", 3) != 0 || paused || world_.ErrorsExpected()) return;
  for (const char* name : {"stale", "failovers", "copy_errors", "tier_failures"}) {
    u64 n = 0;
    if (Field(info, name, &n) && n)
      world_.Fail(index_,
                  "a copy was given up, or read around, although nothing was wrong: %s=%llu", name,
                  static_cast<unsigned long long>(n));
  }
  u64 rate = 0, tier_rate = 0;
  Field(info, "rate", &rate);
  Field(info, "tier_rate", &tier_rate);
  if ((!rate && (queue || inflight)) || (!tier_rate && tier_queue))
    world_.Fail(index_, "a mover sleeps with work to do: %.200s", info);
}

}  // namespace sim
