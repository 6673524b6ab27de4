// SPDX-License-Identifier: Apache-2.0
// The device itself is open only while an ioctl is made, because an open volume cannot be removed.
#include "daemon/trace/blktrace_channel.h"

#include <fcntl.h>
#include <linux/blktrace_api.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

namespace shadow {
namespace {

constexpr std::size_t kBuffers = 4;  // a CPU; blktrace(8) has as many

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool ok() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

Error Failed(const std::string& what, int error, std::string hint = {}) {
  Code code = Code::kUnavailable;
  if (error == ENOENT || error == ENXIO || error == ENODEV) code = Code::kNotFound;
  if (error == EPERM || error == EACCES) code = Code::kPermissionDenied;
  return MakeError(code, what + ": " + std::strerror(error) + ".", std::move(hint));
}

// A record is reserved and filled with interrupts off, so what a reader on the same CPU finds is
// complete. From another CPU it could see one that is reserved and not filled yet.
class OnCpu {
 public:
  explicit OnCpu(std::size_t cpu) {
    if (sched_getaffinity(0, sizeof(before_), &before_) != 0) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    if (cpu >= CPU_SETSIZE) return;
    CPU_SET(cpu, &one);
    // Not possible: the CPU is off line, or not ours to run on. Then the sequence numbers tell.
    moved_ = sched_setaffinity(0, sizeof(one), &one) == 0;
  }
  ~OnCpu() {
    if (moved_) sched_setaffinity(0, sizeof(before_), &before_);
  }
  OnCpu(const OnCpu&) = delete;
  OnCpu& operator=(const OnCpu&) = delete;

 private:
  cpu_set_t before_{};
  bool moved_ = false;
};

class LinuxBlktraceChannel final : public BlktraceChannel {
 public:
  explicit LinuxBlktraceChannel(const BlktraceChannelOptions& options) : options_(options) {}
  ~LinuxBlktraceChannel() override { Close(); }

  Status Open() override {
    SHADOW_ASSIGN(const Fd device, OpenDevice());
    SHADOW_TRY(LockNote());
    blk_user_trace_setup setup{};
    const long cpus = std::max(1L, sysconf(_SC_NPROCESSORS_CONF));
    const std::size_t share = options_.most_memory / kBuffers / static_cast<std::size_t>(cpus);
    setup.buf_size = static_cast<std::uint32_t>(
        std::clamp<std::size_t>(share & ~std::size_t{4095}, 16u << 10, 512u << 10));
    setup.buf_nr = kBuffers;
    setup.act_mask = BLK_TC_QUEUE;
    setup.end_lba = ~std::uint64_t{0};  // the volume may grow
    buffer_bytes_ = std::size_t{setup.buf_size} * kBuffers;
    int error = Ioctl(device, BLKTRACESETUP, &setup);
    if (error == EBUSY && EndLeftOver(device)) error = Ioctl(device, BLKTRACESETUP, &setup);
    if (error == EBUSY) return SomebodyElse();
    if (error != 0) {
      return Failed("The kernel does not trace " + options_.device, error,
                    "blktrace needs CONFIG_BLK_DEV_IO_TRACE, debugfs and root");
    }
    running_ = true;
    identity_.clear();
    folder_ = options_.debugfs + "/block/" + std::string(setup.name, strnlen(setup.name, 32));
    auto status = Begin(device);
    if (!status.ok()) Close();
    return status;
  }

  std::size_t Cpus() const override { return files_.size(); }
  std::size_t BufferBytes() const override { return buffer_bytes_; }

  Result<std::size_t> Read(std::size_t cpu, char* out, std::size_t size) override {
    const OnCpu here(cpu);
    const ssize_t got = read(files_.at(cpu).get(), out, size);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EAGAIN || errno == EINTR) return std::size_t{0};
    return Failed("The trace of " + options_.device + " cannot be read", errno);
  }

  Result<std::uint64_t> Dropped() override {
    char text[32] = {};
    // Fails once the trace is torn down, whoever did it.
    if (pread(dropped_.get(), text, sizeof(text) - 1, 0) <= 0) {
      return MakeError(Code::kUnavailable, "Somebody ended the trace of " + options_.device + ".");
    }
    AddFiles();  // a CPU may have come on line
    return std::strtoull(text, nullptr, 10);
  }

  void Close() override {
    files_.clear();
    dropped_ = Fd();
    if (!std::exchange(running_, false)) {
      note_ = Fd();
      return;
    }
    auto device = OpenDevice();
    if (device.ok()) {
      // Ours only: it may have been ended, and another one begun, meanwhile.
      if (identity_.empty() || Identity() == identity_) TearDown(*device);
    }
    // If the note cannot be emptied it names a trace that is gone; EndLeftOver() compares before it
    // ends one.
    if (note_.ok() && ftruncate(note_.get(), 0) != 0) note_ = Fd();
    note_ = Fd();
  }

 private:
  Result<Fd> OpenDevice() const {
    Fd device(open(options_.device.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (device.ok()) return device;
    return Failed("The device " + options_.device + " cannot be opened", errno);
  }

  static int Ioctl(const Fd& device, unsigned long request, void* argument) {
    return ioctl(device.get(), request, argument) == 0 ? 0 : errno;
  }

  static void TearDown(const Fd& device) {
    Ioctl(device, BLKTRACESTOP, nullptr);
    Ioctl(device, BLKTRACETEARDOWN, nullptr);
  }

  Status Begin(const Fd& device) {
    AddFiles();
    dropped_ = Fd(open((folder_ + "/dropped").c_str(), O_RDONLY | O_CLOEXEC));
    if (files_.empty() || !dropped_.ok()) {
      return Failed("There is no " + folder_ + "/trace0", ENOTDIR,
                    "mount debugfs at " + options_.debugfs);
    }
    identity_ = Identity();
    if (note_.ok()) {
      const auto size = static_cast<ssize_t>(identity_.size());
      if (ftruncate(note_.get(), 0) != 0 ||
          pwrite(note_.get(), identity_.data(), identity_.size(), 0) != size) {
        return Failed("It cannot be noted in " + NotePath() + " that the trace is ours", errno,
                      "without it a crash would leave the trace running");
      }
    }
    if (const int error = Ioctl(device, BLKTRACESTART, nullptr); error != 0) {
      return Failed("The kernel does not start the trace of " + options_.device, error);
    }
    return Ok();
  }

  void AddFiles() {
    while (true) {
      const std::string path = folder_ + "/trace" + std::to_string(files_.size());
      Fd file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
      if (!file.ok()) return;
      files_.push_back(std::move(file));
    }
  }

  // Which trace this is: the boot, and a number that debugfs gives a file when it makes it.
  std::string Identity() const {
    struct stat st {};
    if (stat((folder_ + "/dropped").c_str(), &st) != 0) return "";
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::string boot;
    file >> boot;
    return boot + " " + std::to_string(st.st_ino) + " " + folder_;
  }

  Error SomebodyElse() const {
    return MakeError(
        Code::kUnavailable, "Somebody else traces " + options_.device + ".",
        "there is one blktrace a device; end it with blktrace -k -d " + options_.device);
  }

  // The note is locked for as long as its writer lives: whoever gets the lock may judge what it
  // says.
  Status LockNote() {
    if (options_.state_dir.empty()) return Ok();
    note_ = Fd(open(NotePath().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!note_.ok()) return Failed("The file " + NotePath() + " cannot be opened", errno);
    if (flock(note_.get(), LOCK_EX | LOCK_NB) == 0) return Ok();
    note_ = Fd();
    return SomebodyElse();
  }

  // Ends the trace that runs if it is the one that we noted; false if it is somebody else's.
  bool EndLeftOver(const Fd& device) {
    std::string noted(512, '\0');
    const ssize_t got = note_.ok() ? pread(note_.get(), noted.data(), noted.size(), 0) : 0;
    noted.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    struct stat st {};
    std::error_code none;
    if (noted.empty() || fstat(device.get(), &st) != 0) return false;
    const auto disk =
        std::filesystem::read_symlink("/sys/dev/block/" + std::to_string(major(st.st_rdev)) + ":" +
                                          std::to_string(minor(st.st_rdev)),
                                      none);
    folder_ = options_.debugfs + "/block/" + disk.filename().string();
    if (Identity() != noted) return false;
    TearDown(device);
    return true;
  }

  std::string NotePath() const {
    return options_.state_dir + "/blktrace-" +
           options_.device.substr(options_.device.rfind('/') + 1);
  }

  const BlktraceChannelOptions options_;
  std::string folder_;    // .../block/dm-0
  std::string identity_;  // of our trace
  std::vector<Fd> files_;
  Fd dropped_, note_;
  std::size_t buffer_bytes_ = 0;
  bool running_ = false;
};

}  // namespace

std::unique_ptr<BlktraceChannel> MakeBlktraceChannel(const BlktraceChannelOptions& options) {
  return std::make_unique<LinuxBlktraceChannel>(options);
}

}  // namespace shadow
