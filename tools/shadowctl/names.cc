// SPDX-License-Identifier: Apache-2.0
#include "tools/shadowctl/names.h"

namespace shadow::ctl {

std::string EnumTail(std::string_view name, std::string_view prefix) {
  if (!name.starts_with(prefix)) return "UNKNOWN";
  return std::string(name.substr(prefix.size()));
}

std::string ShortId(const std::string& id) {
  const bool is_uuid = id.size() == 36 && id[8] == '-' && id[13] == '-';
  return is_uuid ? id.substr(0, 8) : id;
}

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

std::string ModeName(v1::VolumeMode mode) {
  switch (mode) {
    case v1::VOLUME_MODE_READ_WRITE:
      return "rw";
    case v1::VOLUME_MODE_READ_ONLY:
      return "ro";
    case v1::VOLUME_MODE_FAIL:
      return "fail";
    case v1::VOLUME_MODE_UNSPECIFIED:
      return "inactive";
    default:
      return "unknown";
  }
}

std::string KernelPhaseName(v1::KernelPhase phase) {
  switch (phase) {
    case v1::KERNEL_PHASE_STEADY:
      return "steady";
    case v1::KERNEL_PHASE_MIGRATING:
      return "migrating";
    case v1::KERNEL_PHASE_GRACE:
      return "grace";
    default:
      return "unknown";
  }
}

std::string SeverityName(v1::EventSeverity severity) {
  switch (severity) {
    case v1::EVENT_SEVERITY_INFO:
      return "info";
    case v1::EVENT_SEVERITY_WARNING:
      return "warning";
    case v1::EVENT_SEVERITY_ERROR:
      return "error";
    default:
      return "unknown";
  }
}

std::string ResultName(v1::CheckResult result) {
  switch (result) {
    case v1::CHECK_RESULT_OK:
      return "ok";
    case v1::CHECK_RESULT_WARNING:
      return "warning";
    case v1::CHECK_RESULT_ERROR:
      return "error";
    default:
      return "unknown";
  }
}

}  // namespace shadow::ctl
