// SPDX-License-Identifier: Apache-2.0
#include "daemon/config/config.h"

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <regex>
#include <sstream>

namespace shadow {
namespace {

constexpr std::int64_t kMostGraceSeconds = 366LL * 24 * 3600;

class Reader {
 public:
  Reader(std::string file, std::vector<Error>* problems)
      : file_(std::move(file)), problems_(*problems) {}

  // A setting that is wrong costs itself.
  void Note(const Status& status) const {
    if (!status.ok()) problems_.push_back(status.error());
  }

  Error Wrong(const toml::node& node, const std::string& what) const {
    return MakeError(Code::kInvalidArgument,
                     file_ + ", line " + std::to_string(node.source().begin.line) + ": " + what,
                     "see docs/daemon.md for the settings");
  }

  Status Daemon(const toml::node& node, Config* config) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node, "[daemon] must be a table.");
    for (const auto& [key, value] : *table)
      Note(DaemonSetting(std::string(key.str()), value, config));
    return Ok();
  }

  Status Placement(const toml::node& node, Config* config) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node, "[placement] must be a table.");
    for (const auto& [key, value] : *table) {
      Note(PlacementSetting(std::string(key.str()), value, config));
    }
    return Ok();
  }

  Status Listen(const toml::node& node, Config* config) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node, "[listen] must be a table.");
    TlsListen listen;
    for (const auto& [key, value] : *table) {
      const std::string name(key.str());
      if (name == "tcp") {
        const auto text = value.value<std::string>();
        if (!value.is_string()) return Wrong(value, "tcp must be an address in quotes.");
        listen.address = *text;
      } else if (name == "cert") {
        SHADOW_TRY(Path(value, name, &listen.cert));
      } else if (name == "key") {
        SHADOW_TRY(Path(value, name, &listen.key));
      } else if (name == "client_ca") {
        SHADOW_TRY(Path(value, name, &listen.client_ca));
      } else if (name == "admin") {
        SHADOW_TRY(Names(value, name, &listen.admin));
      } else if (name == "readonly") {
        SHADOW_TRY(Names(value, name, &listen.readonly));
      } else {
        return Wrong(value, "there is no setting listen." + name + ".");
      }
    }
    if (listen.address.empty() || listen.cert.empty() || listen.key.empty() ||
        listen.client_ca.empty()) {
      return Wrong(node,
                   "[listen] needs tcp, cert, key and client_ca; there is no TCP without TLS.");
    }
    config->listen = std::move(listen);
    return Ok();
  }

  Status Http(const toml::node& node, Config* config) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node, "[http] must be a table.");
    config->http.emplace();
    for (const auto& [key, value] : *table) {
      Note(HttpSetting(std::string(key.str()), value, &*config->http));
    }
    return Ok();
  }

  Status Classes(const toml::node& node, Config* config) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node, "[class.NAME] must be a table.");
    for (const auto& [key, value] : *table) {
      Note(Class(std::string(key.str()), value, config));
    }
    return Ok();
  }

 private:
  Status DaemonSetting(const std::string& name, const toml::node& value, Config* config) const {
    if (name == "state_dir") {
      config->state_dir.clear();  // the one setting that has no second best
      SHADOW_TRY(Path(value, name, &config->state_dir));
    } else if (name == "socket") {
      SHADOW_TRY(Path(value, name, &config->socket));
    } else if (name == "socket_group") {
      const auto text = value.value<std::string>();
      if (!value.is_string()) return Wrong(value, "socket_group must be a group's name in quotes.");
      config->socket_group = *text;
    } else if (name == "readonly_socket") {
      SHADOW_TRY(Path(value, name, &config->readonly_socket));
    } else if (name == "grace_seconds") {
      const auto seconds = value.value<std::int64_t>();
      if (!value.is_integer() || *seconds < 0 || *seconds > kMostGraceSeconds) {
        return Wrong(value, "grace_seconds must be a number from 0 to a year.");
      }
      config->grace_ms = *seconds * 1000;
    } else if (name == "leg_wait_seconds") {
      const auto seconds = value.value<std::int64_t>();
      if (!value.is_integer() || *seconds < 0 || *seconds > kMostGraceSeconds) {
        return Wrong(value, "leg_wait_seconds must be a number from 0 (for ever) to a year.");
      }
      config->leg_wait_ms = *seconds * 1000;
    } else {
      return Wrong(value, "there is no setting daemon." + name + ".");
    }
    return Ok();
  }

  Status PlacementSetting(const std::string& name, const toml::node& value, Config* config) const {
    if (name == "source") {
      const auto text = value.value<std::string>();
      const bool known =
          value.is_string() && (*text == "auto" || *text == "access" || *text == "blktrace");
      if (!known) return Wrong(value, "source must be \"auto\", \"access\" or \"blktrace\".");
      config->access_source = *text;
    } else if (name == "worker") {
      std::string path;
      SHADOW_TRY(Path(value, name, &path));
      config->worker = path;
    } else {
      return Wrong(value, "there is no setting placement." + name + ".");
    }
    return Ok();
  }

  Status HttpSetting(const std::string& name, const toml::node& value, HttpListen* http) const {
    if (name == "page" || name == "metrics") {
      const auto text = value.value<std::string>();
      if (!value.is_string()) return Wrong(value, name + " must be an address in quotes.");
      (name == "page" ? http->page : http->metrics) = *text;
    } else if (name == "socket") {
      SHADOW_TRY(Path(value, name, &http->socket));
    } else if (name == "hosts") {
      SHADOW_TRY(Names(value, name, &http->hosts));
    } else if (name == "token_file") {
      SHADOW_TRY(Path(value, name, &http->token_file));
    } else {
      return Wrong(value, "there is no setting http." + name + ".");
    }
    return Ok();
  }

  Status Path(const toml::node& value, const std::string& name, std::string* out) const {
    const auto text = value.value<std::string>();
    const bool may_be_empty = name == "readonly_socket" || name == "worker";
    if (!value.is_string() || (text->empty() ? !may_be_empty : (*text)[0] != '/')) {
      return Wrong(value, name + " must be an absolute path.");
    }
    *out = *text;
    return Ok();
  }

  Status Names(const toml::node& value, const std::string& name,
               std::vector<std::string>* out) const {
    if (!value.is_array()) return Wrong(value, name + " must be a list of names.");
    for (const toml::node& one : *value.as_array()) {
      if (!one.is_string()) return Wrong(one, "each name in " + name + " must be in quotes.");
      out->push_back(*one.value<std::string>());
    }
    return Ok();
  }

  Status Class(const std::string& name, const toml::node& node, Config* config) const {
    const toml::table* table = node.as_table();
    if (table == nullptr) return Wrong(node, "class." + name + " must be a table.");
    const bool good_name = !name.empty() && name.size() <= 64 && name[0] != '/' &&
                           std::all_of(name.begin(), name.end(), [](unsigned char c) {
                             return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
                           });
    if (!good_name) return Wrong(node, "'" + name + "' is no name for a class.");
    ClassConfig c;
    c.name = name;
    for (const auto& [key, value] : *table) {
      if (key.str() == "vg" && value.is_string()) {
        c.volume_group = *value.value<std::string>();
      } else if (key.str() == "devices" && value.is_array()) {
        for (const toml::node& device : *value.as_array()) {
          std::string path;
          SHADOW_TRY(Path(device, "each of the devices", &path));
          c.devices.push_back(path);
        }
      } else {
        return Wrong(value, "class." + name + " takes vg = \"...\" or devices = [...], not " +
                                std::string(key.str()) + ".");
      }
    }
    if (c.volume_group.empty() == c.devices.empty()) {
      return Wrong(node, "class." + name + " needs either vg or devices.");
    }
    if (!c.volume_group.empty() &&
        (c.volume_group[0] == '-' || c.volume_group.find('/') != std::string::npos)) {
      return Wrong(node, "class." + name + ": vg must be the name of a volume group.");
    }
    for (const ClassConfig& other : config->classes) {
      if (!c.volume_group.empty() && other.volume_group == c.volume_group) {
        return Wrong(node,
                     "the classes " + other.name + " and " + name + " name the same volume group.");
      }
    }
    config->classes.push_back(std::move(c));
    return Ok();
  }

  std::string file_;
  std::vector<Error>& problems_;
};

// state_dir of a file that is no TOML: where the state lies is not guessed from a default then.
std::string StateDirOfLines(const std::string& text) {
  std::istringstream lines(text);
  static const std::regex kSetting(R"(^\s*state_dir\s*=\s*["'](/[^"']+)["'])");
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_search(line, match, kSetting)) return match[1];
  }
  return "";
}

}  // namespace

Config ReadConfig(const std::string& text, const std::string& file_name,
                  std::vector<Error>* problems) {
  Config config;
  const toml::parse_result parsed = toml::parse(text, file_name);
  if (!parsed) {
    problems->push_back(MakeError(Code::kInvalidArgument,
                                  file_name + ", line " +
                                      std::to_string(parsed.error().source().begin.line) + ": " +
                                      std::string(parsed.error().description()) + ".",
                                  "see docs/daemon.md for the settings"));
    const std::string state_dir = StateDirOfLines(text);
    if (!state_dir.empty()) config.state_dir = state_dir;
    return config;
  }
  const Reader reader(file_name, problems);
  for (const auto& [key, value] : parsed.table()) {
    if (key.str() == "daemon") {
      reader.Note(reader.Daemon(value, &config));
    } else if (key.str() == "listen") {
      reader.Note(reader.Listen(value, &config));
    } else if (key.str() == "http") {
      reader.Note(reader.Http(value, &config));
    } else if (key.str() == "placement") {
      reader.Note(reader.Placement(value, &config));
    } else if (key.str() == "class") {
      reader.Note(reader.Classes(value, &config));
    } else {
      reader.Note(reader.Wrong(value, "there is no section " + std::string(key.str()) + "."));
    }
  }
  return config;
}

Result<Config> ParseConfig(const std::string& text, const std::string& file_name) {
  std::vector<Error> problems;
  Config config = ReadConfig(text, file_name, &problems);
  if (!problems.empty()) return problems.front();
  return config;
}

Result<Config> LoadConfig(const std::string& path, std::vector<Error>* problems) {
  std::ifstream file(path);
  if (!file) {
    const int error = errno;
    const Code code = error == ENOENT ? Code::kNotFound : Code::kPermissionDenied;
    return MakeError(code,
                     "The configuration " + path + " cannot be read: " + std::strerror(error) + ".",
                     "make it (see docs/daemon.md), or name another with --config");
  }
  std::stringstream text;
  text << file.rdbuf();
  return ReadConfig(text.str(), path, problems);
}

}  // namespace shadow
