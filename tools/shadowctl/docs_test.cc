// SPDX-License-Identifier: Apache-2.0
// The program, its man page and its completion name the same commands and flags.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "tools/shadowctl/app.h"
#include "tools/shadowctl/completion_bash.h"

namespace shadow::ctl {
namespace {

using Flags = std::map<std::string, std::set<std::string>>;  // command -> its long flags

std::string ReadFile(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The flags of every command of the program; "" are the ones understood everywhere.
class DocsTest : public testing::Test {
 protected:
  DocsTest() : context_(in_, out_, out_), app_(BuildApp(context_, interrupts_)) {
    Collect(*app_, "");
    for (auto& [command, flags] : flags_) flags.erase("--help");
    flags_[""].insert("--help");
  }

  void Collect(const CLI::App& app, const std::string& name) {
    const auto subs = app.get_subcommands([](const CLI::App*) { return true; });
    if (subs.empty() || name.empty()) {
      std::set<std::string>& flags = flags_[name];
      for (const CLI::Option* option : app.get_options()) {
        for (const std::string& flag : option->get_lnames()) flags.insert("--" + flag);
      }
    }
    for (const CLI::App* sub : subs) {
      if (sub->get_group().empty()) continue;
      Collect(*sub, name.empty() ? sub->get_name() : name + " " + sub->get_name());
    }
  }

  std::istringstream in_;
  std::ostringstream out_;
  Interrupts interrupts_;
  Context context_;
  std::unique_ptr<CLI::App> app_;
  Flags flags_;
};

std::string Unescape(const std::string& text) {
  return std::regex_replace(text, std::regex(R"(\\-)"), "-");
}

TEST_F(DocsTest, ManPageNamesTheSame) {
  Flags in_page;
  std::string section;
  std::string command;
  std::istringstream page(ReadFile(SHADOW_MAN_PAGE));
  const std::regex flag("--[a-z][a-z0-9-]*");
  bool tagged = false;  // the line after .TP is what is described
  for (std::string line; std::getline(page, line);) {
    line = Unescape(line);
    if (line.starts_with(".SH ")) {
      section = line.substr(4);
      command.clear();
    }
    if (line.starts_with(".SS ")) {
      command = line.substr(4);
      // Arguments are in upper case or brackets.
      command = std::regex_replace(command, std::regex(R"( +(\[?[A-Z]+\]?))"), "");
      in_page[command];
    }
    if (tagged && (section == "OPTIONS" || section == "COMMANDS")) {
      for (std::sregex_iterator it(line.begin(), line.end(), flag), end; it != end; ++it) {
        in_page[section == "OPTIONS" ? "" : command].insert(it->str());
      }
    }
    tagged = line == ".TP";
  }
  EXPECT_EQ(in_page, flags_);
}

TEST_F(DocsTest, CompletionNamesTheSame) {
  // Asks the script itself, in bash.
  char name[] = "/tmp/shadowctl_completion_XXXXXX";
  const int fd = mkstemp(name);
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::ofstream(name) << kBashCompletion;
  const auto ask = [&](const std::string& command) {
    const std::string line = "bash -c 'source " + std::string(name) + "; " + command + "'";
    std::FILE* pipe = ::popen(line.c_str(), "r");
    std::set<std::string> words;
    std::array<char, 256> buffer{};
    std::string text;
    while (pipe != nullptr && std::fgets(buffer.data(), buffer.size(), pipe)) text += buffer.data();
    if (pipe != nullptr) ::pclose(pipe);
    std::istringstream in(text);
    for (std::string word; in >> word;) words.insert(word);
    return words;
  };
  std::map<std::string, std::set<std::string>> commands;
  for (const auto& [command, flags] : flags_) {
    if (command.empty()) continue;
    EXPECT_EQ(ask("_shadowctl_flags \"" + command + "\""), flags) << command;
    const auto space = command.find(' ');
    commands[""].insert(command.substr(0, space));
    if (space != std::string::npos)
      commands[command.substr(0, space)].insert(command.substr(space + 1));
  }
  for (const auto& [group, subs] : commands) {
    EXPECT_EQ(ask("_shadowctl_commands \"" + group + "\""), subs) << group;
  }
  // And as a user would: the words so far, and what is offered.
  const auto complete = [&](const std::string& words) {
    return ask(
        "shadowctl() { case $2 in volumes) echo db0 logs;; ops) echo m1;; classes) echo hdd;; "
        "esac; }; COMP_WORDS=(" +
        words +
        "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
        "_shadowctl; echo ${COMPREPLY[@]}");
  };
  using Words = std::set<std::string>;
  EXPECT_EQ(complete("shadowctl vol"), Words{"volume"});
  EXPECT_EQ(complete("shadowctl -o json op res"), (Words{"restore-origin", "resume"}));
  EXPECT_EQ(complete("shadowctl volume modify \"\""), (Words{"db0", "logs"}));
  EXPECT_EQ(complete("shadowctl volume modify db0 --to h"), Words{"hdd"});
  EXPECT_EQ(complete("shadowctl volume modify db0 --wait --impact \"\""),
            (Words{"low", "balanced", "full"}));
  EXPECT_EQ(complete("shadowctl volume modify db0 --grow"), Words{"--grow-fs"});
  EXPECT_EQ(complete("shadowctl op watch \"\""), Words{"m1"});
  EXPECT_EQ(complete("shadowctl -o \"\""), (Words{"table", "json"}));
  EXPECT_EQ(complete("shadowctl tier e"), Words{"explain"});
  EXPECT_EQ(complete("shadowctl tier add \"\""), (Words{"db0", "logs"}));
  EXPECT_EQ(complete("shadowctl tier add db0 \"\""), (Words{"tier1", "tier2"}));
  EXPECT_EQ(complete("shadowctl tier add db0 tier1 --to n"), Words{});
  EXPECT_EQ(complete("shadowctl tier remove --forget db0 \"\""), (Words{"tier1", "tier2"}));
  EXPECT_EQ(complete("shadowctl tier mode db0 tier1 writeb"), Words{"writeback"});
  EXPECT_EQ(complete("shadowctl tier policy db0 --policy e"), Words{"ewma"});
  EXPECT_EQ(complete("shadowctl tier explain db0 \"\""), Words{});
  EXPECT_EQ(complete("shadowctl heat lo"), Words{"logs"});
  EXPECT_EQ(complete("shadowctl top --once d"), Words{"db0"});
  std::remove(name);
}

TEST_F(DocsTest, EveryCommandAndFlagIsExplained) {
  for (const auto& [command, flags] : flags_) {
    const CLI::App* at = app_.get();
    std::istringstream words(command);
    for (std::string word; words >> word;) at = at->get_subcommand(word);
    EXPECT_FALSE(at->get_description().empty()) << command;
    for (const CLI::Option* option : at->get_options()) {
      EXPECT_FALSE(option->get_description().empty()) << command << " " << option->get_name();
    }
  }
}

}  // namespace
}  // namespace shadow::ctl
