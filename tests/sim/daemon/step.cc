// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/daemon/step.h"

namespace shadow::judge {
namespace {

// How often each verb comes, in a run without a character of its own.
constexpr std::array<std::uint32_t, kVerbs> kWeights = {
    /* write */ 140,     /* discard */ 12,    /* mkfs */ 4,
    /* open */ 6,        /* close */ 10,
    /* tick */ 420,      /* pass */ 40,       /* clock */ 4,
    /* create */ 16,     /* import */ 16,
    /* modify */ 40,     /* ask */ 26,        /* export */ 8,
    /* delete */ 8,      /* activate */ 4,
    /* add tier */ 8,    /* remove tier */ 5, /* tier work */ 14,
    /* repeat */ 5,      /* recover */ 2,
    /* admin write */ 4, /* mkfs */ 8,        /* open */ 6,
    /* close */ 10,      /* make LV */ 4,
    /* remove LV */ 3,   /* rename LV */ 4,   /* dm remove */ 2,
    /* disconnect */ 5,  /* connect */ 9,
    /* sick */ 3,        /* heal */ 6,        /* fail a call */ 8,
    /* stop */ 3,        /* start */ 14,
    /* reboot */ 4,      /* calm */ 2};

// Who may come in between the calls of another: nobody who is time itself or the daemon's end.
constexpr std::array<Verb, 14> kSomebody = {
    Verb::kMakeFs,        Verb::kWrite,      Verb::kAdminMkfs, Verb::kAdminMkfs,
    Verb::kAdminWrite,    Verb::kDisconnect, Verb::kConnect,   Verb::kCreate,
    Verb::kImport,        Verb::kModify,     Verb::kDelete,    Verb::kAdminMakeLv,
    Verb::kAdminRenameLv, Verb::kExport};

}  // namespace

std::vector<Step> StepsOf(std::uint64_t seed, std::uint32_t count) {
  Dice dice(seed);
  std::array<std::uint32_t, kVerbs> weights = kWeights;
  std::uint32_t sum = 0;
  for (std::uint32_t& w : weights) {
    // Most seeds lack some verbs and have more of others.
    const std::uint32_t d = dice.Below(8);
    w = d == 0 ? 0 : d == 1 ? w * 3 : w;
    sum += w;
  }
  const std::uint32_t crashes = 1 + dice.Below(60), others = 1 + dice.Below(60);  // per mille
  if (sum == 0) sum = weights[static_cast<int>(Verb::kTick)] = 1;
  std::vector<Step> steps(count);
  for (Step& s : steps) {
    std::uint32_t at = dice.Below(sum);
    int v = 0;
    while (at >= weights.at(static_cast<std::size_t>(v))) {
      at -= weights.at(static_cast<std::size_t>(v++));
    }
    s.verb = static_cast<Verb>(v);
    for (auto& n : s.a) n = dice.Below(1U << 30);
    const std::uint32_t d = dice.Below(1000);
    if (d < crashes) s.between = Between::kCrash;
    if (d >= 1000 - others) s.between = Between::kSomebody;
    s.at = 1 + dice.Below(dice.Below(2) == 0 ? 8 : 40);
    s.who = kSomebody.at(dice.Below(kSomebody.size()));
    for (auto& n : s.b) n = dice.Below(1U << 30);
  }
  return steps;
}

}  // namespace shadow::judge
