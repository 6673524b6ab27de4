// SPDX-License-Identifier: Apache-2.0
// A device-mapper device made, spoken to and removed within this process: starting dmsetup for each
// of thousands of crash points would take most of the time. Single-threaded; errors are sentences
// with libdevmapper's own words on stderr.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace shadow::crash {

class Volume {
 public:
  /// `parameters`: what follows the target type "shadow".
  static Result<Volume> Create(const std::string& name, const std::string& uuid,
                               std::uint64_t sectors, const std::string& parameters);
  Volume(Volume&& other) noexcept : name_(std::move(other.name_)) { other.name_.clear(); }
  Volume& operator=(Volume&&) = delete;
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;
  ~Volume();

  [[nodiscard]] std::string path() const { return "/dev/mapper/" + name_; }
  Status Message(const std::string& text) const;
  /// The status line's parameters, with a space at both ends.
  [[nodiscard]] std::string StatusLine() const;
  Status Remove();

 private:
  explicit Volume(std::string name) : name_(std::move(name)) {}
  std::string name_;  // "": removed, or moved away
};

}  // namespace shadow::crash
