// SPDX-License-Identifier: Apache-2.0
// A block device (or file) opened for direct I/O, and an aligned buffer. Any thread; calls return
// 0 or an errno.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace shadow::io {

class Device {
 public:
  /// Exits the program with a sentence if `path` cannot be opened.
  explicit Device(const std::string& path);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] std::uint64_t sectors() const { return sectors_; }  // of 512 bytes
  [[nodiscard]] std::uint32_t unit() const { return unit_; }        // logical block, in sectors

  int Read(std::uint64_t sector, std::uint32_t count, std::uint8_t* out) const;
  int Write(std::uint64_t sector, std::uint32_t count, const std::uint8_t* in, bool fua) const;
  int Discard(std::uint64_t sector, std::uint64_t count) const;
  int Zero(std::uint64_t sector, std::uint64_t count) const;
  int Flush() const;

 private:
  int fd_;
  std::uint64_t sectors_ = 0;
  std::uint32_t unit_ = 1;
};

struct FreeDeleter {
  void operator()(std::uint8_t* p) const;
};
using Buffer = std::unique_ptr<std::uint8_t[], FreeDeleter>;
Buffer MakeBuffer(std::size_t bytes);

[[noreturn]] void Die(const std::string& sentence);

}  // namespace shadow::io
