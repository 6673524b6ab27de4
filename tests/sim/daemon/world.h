// SPDX-License-Identifier: Apache-2.0
// One run: a machine, clients, an application, an administrator and accidents, step by step, and
// the judge behind each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/sim/daemon/judge.h"
#include "tests/sim/daemon/step.h"

namespace shadow::judge {

struct Figures {
  std::uint64_t runs = 0, steps = 0, ticks = 0, requests = 0, granted = 0;
  std::uint64_t crashes = 0, reboots = 0, interruptions = 0, finished = 0;
};

class World {
 public:
  /// True: nothing is wrong.
  bool Run(std::uint64_t seed, std::uint32_t steps, std::vector<Step>* made = nullptr);
  /// The same with a list of steps; what happens is told in words.
  bool Replay(std::uint64_t seed, const std::vector<Step>& steps,
              std::vector<std::string>* told = nullptr);
  [[nodiscard]] const std::string& error() const { return error_; }
  [[nodiscard]] const Figures& figures() const { return figures_; }

 private:
  using Args = std::array<std::uint32_t, 5>;

  bool Steps(std::uint64_t seed, const std::vector<Step>& steps, std::vector<std::string>* told);
  void One(const Step& s);
  void Do(Verb verb, const Args& a, bool inside);
  bool DoClient(Verb verb, const Args& a, bool inside);
  bool DoApplication(Verb verb, const Args& a);
  bool DoAdmin(Verb verb, const Args& a);
  void DoMachine(Verb verb, const Args& a);

  // clients.cc
  void Create(const Args& a);
  void Import(const Args& a);
  void Modify(const Args& a);
  void Ask(const Args& a);
  void Export(const Args& a);
  void Delete(const Args& a);
  void AddTier(const Args& a);
  void RemoveTier(const Args& a);
  void TierWork(const Args& a);
  void Recover(const Args& a);
  void Answer(const Status& status);
  void Refused(const std::string& name, bool was_there);
  [[nodiscard]] std::string Place(std::uint32_t n) const;
  [[nodiscard]] std::string Overwrite(const std::string& place, std::uint32_t n) const;

  // world.cc
  void Start();
  void Reboot(const Args& a);
  void Calm();
  void Tick(std::uint32_t times);
  [[nodiscard]] std::string DiskAt(std::uint32_t n) const;
  [[nodiscard]] std::string VolumeAt(std::uint32_t n) const;
  [[nodiscard]] bool Mine(const std::string& path) const;
  void Say(const std::string& text) {
    if (telling_) words_ += (words_.empty() ? "" : "; ") + text;
  }

  std::unique_ptr<Machine> m_;
  std::unique_ptr<Judge> judge_;
  std::uint64_t next_value_ = 1;
  bool ticking_ = false, starting_ = false;
  bool telling_ = false;
  std::string words_;
  std::string error_;
  Step last_request_;
  Figures figures_;
};

}  // namespace shadow::judge
