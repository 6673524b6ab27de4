// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/doctor.h"

#include <filesystem>
#include <fstream>

namespace shadow::ctl {
namespace {

namespace fs = std::filesystem;

v1::Check MakeCheck(const std::string& name, v1::CheckResult result, const std::string& detail,
                    const std::string& hint = "") {
  v1::Check check;
  check.set_name(name);
  check.set_result(result);
  check.set_detail(detail);
  check.set_hint(hint);
  return check;
}

bool Exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string FirstLine(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

/// Whether depmod's list of the kernel `release` names the module.
bool IsInstalled(const std::string& root, const std::string& release) {
  std::ifstream in(root + "/lib/modules/" + release + "/modules.dep");
  std::string line;
  while (std::getline(in, line)) {
    if (line.substr(0, line.find(':')).find("/dm-shadow.ko") != std::string::npos) return true;
  }
  return false;
}

}  // namespace

std::vector<v1::Check> KernelChecks(const std::string& root) {
  std::vector<v1::Check> out;
  if (Exists(root + "/dev/mapper/control")) {
    out.push_back(MakeCheck("device-mapper", v1::CHECK_RESULT_OK, "/dev/mapper/control is there."));
  } else {
    out.push_back(MakeCheck("device-mapper", v1::CHECK_RESULT_ERROR,
                            "There is no /dev/mapper/control.", "Run `modprobe dm-mod`."));
  }
  const std::string release = FirstLine(root + "/proc/sys/kernel/osrelease");
  if (Exists(root + "/sys/module/dm_shadow")) {
    out.push_back(MakeCheck("module", v1::CHECK_RESULT_OK, "dm-shadow is loaded."));
  } else if (IsInstalled(root, release)) {
    out.push_back(MakeCheck("module", v1::CHECK_RESULT_ERROR,
                            "dm-shadow is installed for this kernel, but not loaded.",
                            "Run `modprobe dm-shadow`."));
  } else {
    out.push_back(MakeCheck("module", v1::CHECK_RESULT_ERROR,
                            "There is no dm-shadow module for the running kernel " + release + ".",
                            "Build it against the headers of this kernel and load it with insmod; "
                            "see README.md."));
  }
  return out;
}

}  // namespace shadow::ctl
