// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/io/device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace shadow::io {

namespace {
constexpr off_t Bytes(std::uint64_t sectors) { return static_cast<off_t>(sectors * 512); }

int Finished(ssize_t done, std::uint32_t count) {
  if (done < 0) return errno;
  return done == Bytes(count) ? 0 : EIO;
}
}  // namespace

void Die(const std::string& sentence) {
  std::fprintf(stderr, "shadow_io: %s\n", sentence.c_str());
  std::exit(2);
}

Device::Device(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)) {
  if (fd_ < 0) Die("cannot open " + path + ": " + std::strerror(errno));
  std::uint64_t bytes = 0;
  int logical = 0;
  if (ioctl(fd_, BLKGETSIZE64, &bytes) != 0 || ioctl(fd_, BLKSSZGET, &logical) != 0) {
    Die(path + " is not a block device.");
  }
  sectors_ = bytes / 512;
  unit_ = static_cast<std::uint32_t>(logical) / 512;
}

Device::~Device() { close(fd_); }

int Device::Read(std::uint64_t sector, std::uint32_t count, std::uint8_t* out) const {
  return Finished(pread(fd_, out, static_cast<std::size_t>(Bytes(count)), Bytes(sector)), count);
}

int Device::Write(std::uint64_t sector, std::uint32_t count, const std::uint8_t* in,
                  bool fua) const {
  const iovec part{const_cast<std::uint8_t*>(in), static_cast<std::size_t>(Bytes(count))};
  return Finished(pwritev2(fd_, &part, 1, Bytes(sector), fua ? RWF_DSYNC : 0), count);
}

int Device::Discard(std::uint64_t sector, std::uint64_t count) const {
  std::uint64_t range[2] = {sector * 512, count * 512};
  return ioctl(fd_, BLKDISCARD, range) == 0 ? 0 : errno;
}

int Device::Zero(std::uint64_t sector, std::uint64_t count) const {
  std::uint64_t range[2] = {sector * 512, count * 512};
  return ioctl(fd_, BLKZEROOUT, range) == 0 ? 0 : errno;
}

int Device::Flush() const { return fsync(fd_) == 0 ? 0 : errno; }

void FreeDeleter::operator()(std::uint8_t* p) const { std::free(p); }

Buffer MakeBuffer(std::size_t bytes) {
  auto* p = static_cast<std::uint8_t*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  if (p == nullptr) Die("out of memory.");
  return Buffer(p);
}

}  // namespace shadow::io
