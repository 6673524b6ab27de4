// SPDX-License-Identifier: Apache-2.0
#include "tools/replay/player.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>

namespace shadow::replay {
namespace {

std::int64_t NowNs() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

struct FreeDeleter {
  void operator()(void* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<char, FreeDeleter>;

Buffer MakeBuffer(std::size_t bytes) {
  return Buffer(static_cast<char*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)));
}

class Player {
 public:
  Player(const Plan& plan, const Target& target, std::uint32_t depth, const std::atomic<bool>& stop)
      : plan_(plan), target_(target), depth_(depth), stop_(stop) {}
  ~Player() {
    if (ring_ok_) io_uring_queue_exit(&ring_);
  }
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  Result<Outcome> Run() {
    SHADOW_TRY(Prepare());
    start_ns_ = NowNs();
    while (next_ < plan_.ios.size() || in_flight_ > 0) {
      if (stop_ && next_ < plan_.ios.size()) {
        out_.interrupted = true;
        next_ = plan_.ios.size();
        continue;
      }
      SHADOW_TRY(SendDue());
      SHADOW_TRY(Wait());
      Reap();
    }
    out_.elapsed_ns = NowNs() - start_ns_;
    return std::move(out_);
  }

 private:
  struct Slot {
    const PlannedIo* io = nullptr;
    std::int64_t sent_ns = 0;
  };

  Status Prepare() {
    std::uint32_t longest = 0;
    for (const PlannedIo& io : plan_.ios) longest = std::max(longest, io.length);
    // One buffer each way: nobody looks at what is read, and all writes may write the same.
    read_ = MakeBuffer(longest);
    write_ = MakeBuffer(longest);
    if (!read_ || !write_) return MakeError(Code::kUnavailable, "There is not enough memory.");
    std::minstd_rand random(1);  // nothing that a device could compress
    for (std::uint32_t i = 0; i < longest; ++i) write_.get()[i] = static_cast<char>(random() >> 8);
    slots_.resize(depth_);
    for (Slot& slot : slots_) free_.push_back(&slot);
    out_.late_ns.reserve(plan_.ios.size());
    for (Played* p : {&out_.reads, &out_.writes}) {
      p->latency_ns.reserve(plan_.ios.size());
      p->response_ns.reserve(plan_.ios.size());
    }
    if (const int error = io_uring_queue_init(depth_, &ring_, 0); error != 0) {
      return MakeError(
          Code::kUnavailable,
          std::string("io_uring is not to be had: ") + std::strerror(-error) + ".",
          "it needs Linux 5.11 and must not be switched off (kernel.io_uring_disabled)");
    }
    ring_ok_ = true;
    prctl(PR_SET_TIMERSLACK, 1);  // ns; the default of 50 us would be lateness
    return Ok();
  }

  Status SendDue() {
    bool any = false;
    const std::int64_t now = NowNs() - start_ns_;
    while (next_ < plan_.ios.size() && !free_.empty() && plan_.ios[next_].due_ns <= now) {
      io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
      if (sqe == nullptr) break;
      Slot* slot = free_.back();
      free_.pop_back();
      slot->io = &plan_.ios[next_++];
      if (slot->io->write) {
        io_uring_prep_write(sqe, target_.fd(), write_.get(), slot->io->length, slot->io->offset);
      } else {
        io_uring_prep_read(sqe, target_.fd(), read_.get(), slot->io->length, slot->io->offset);
      }
      io_uring_sqe_set_data(sqe, slot);
      slot->sent_ns = NowNs() - start_ns_;
      out_.late_ns.push_back(static_cast<std::uint64_t>(slot->sent_ns - slot->io->due_ns));
      ++in_flight_;
      any = true;
    }
    out_.most_in_flight = std::max(out_.most_in_flight, in_flight_);
    if (!any) return Ok();
    const int sent = io_uring_submit(&ring_);
    return sent >= 0 || sent == -EINTR ? Ok() : Status(Broken(sent));
  }

  // For a completion, or until the next I/O is due.
  Status Wait() {
    io_uring_cqe* cqe = nullptr;
    int error = 0;
    if (next_ < plan_.ios.size() && !free_.empty()) {
      const std::int64_t left = plan_.ios[next_].due_ns - (NowNs() - start_ns_);
      if (left <= 0) return Ok();
      __kernel_timespec t{left / 1'000'000'000, left % 1'000'000'000};
      error = io_uring_wait_cqe_timeout(&ring_, &cqe, &t);
    } else if (in_flight_ > 0) {
      error = io_uring_wait_cqe(&ring_, &cqe);
    }
    return error == 0 || error == -ETIME || error == -EINTR ? Ok() : Status(Broken(error));
  }

  void Reap() {
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0 && cqe != nullptr) {
      const std::int64_t now = NowNs() - start_ns_;
      auto* slot = static_cast<Slot*>(io_uring_cqe_get_data(cqe));
      Played& played = slot->io->write ? out_.writes : out_.reads;
      if (cqe->res == static_cast<int>(slot->io->length)) {
        played.latency_ns.push_back(static_cast<std::uint64_t>(now - slot->sent_ns));
        played.response_ns.push_back(static_cast<std::uint64_t>(now - slot->io->due_ns));
        played.bytes += slot->io->length;
      } else {
        ++played.errors;
        if (played.first_error == 0) played.first_error = cqe->res < 0 ? -cqe->res : EIO;
      }
      io_uring_cqe_seen(&ring_, cqe);
      free_.push_back(slot);
      --in_flight_;
    }
  }

  static Error Broken(int error) {
    return MakeError(Code::kIoError,
                     std::string("io_uring failed: ") + std::strerror(-error) + ".");
  }

  const Plan& plan_;
  const Target& target_;
  const std::uint32_t depth_;
  const std::atomic<bool>& stop_;
  io_uring ring_{};
  bool ring_ok_ = false;
  Buffer read_, write_;
  std::vector<Slot> slots_;
  std::vector<Slot*> free_;
  std::size_t next_ = 0;
  std::uint32_t in_flight_ = 0;
  std::int64_t start_ns_ = 0;
  Outcome out_;
};

}  // namespace

Result<std::unique_ptr<Target>> Target::Open(const std::string& path, bool write) {
  std::unique_ptr<Target> target(new Target);
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) {
    return MakeError(Code::kNotFound, "There is no " + path + ": " + std::strerror(errno) + ".");
  }
  if (!S_ISBLK(st.st_mode) && !S_ISREG(st.st_mode)) {
    return MakeError(Code::kInvalidArgument, path + " is neither a block device nor a file.");
  }
  const int exclusive = write && S_ISBLK(st.st_mode) ? O_EXCL : 0;
  target->fd_ = open(path.c_str(), (write ? O_RDWR : O_RDONLY) | O_DIRECT | O_CLOEXEC | exclusive);
  if (target->fd_ < 0) {
    if (errno == EBUSY) {
      return MakeError(Code::kFailedPrecondition, path + " is in use, and a replay writes to it.",
                       "unmount it, or play the reads alone with --skip-writes");
    }
    return MakeError(errno == EACCES || errno == EPERM ? Code::kPermissionDenied : Code::kIoError,
                     path + " cannot be opened: " + std::strerror(errno) + ".");
  }
  target->bytes_ = static_cast<std::uint64_t>(st.st_size);
  if (S_ISBLK(st.st_mode)) {
    int block = 0;
    if (ioctl(target->fd_, BLKGETSIZE64, &target->bytes_) != 0 ||
        ioctl(target->fd_, BLKSSZGET, &block) != 0 || block <= 0) {
      return MakeError(Code::kIoError,
                       "The size of " + path + " is not known: " + std::strerror(errno) + ".");
    }
    target->logical_block_ = static_cast<std::uint32_t>(block);
  } else {
    target->logical_block_ = 4096;  // the file system's
  }
  return target;
}

Target::~Target() {
  if (fd_ >= 0) close(fd_);
}

Result<Outcome> Play(const Plan& plan, const Target& target, std::uint32_t depth,
                     const std::atomic<bool>& stop) {
  return Player(plan, target, depth, stop).Run();
}

}  // namespace shadow::replay
