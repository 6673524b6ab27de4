// SPDX-License-Identifier: Apache-2.0
// See live.h. A log entry: kind, length, CRC-32 of the body, the body; the first one names the
// volume.
#include "pam/worker/live.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "pam/model/bytes.h"
#include "pam/model/frame.h"

namespace shadow::pam {
namespace {

constexpr std::uint64_t kMostEntry = 64u << 20;

/// A file's bytes without a copy of them; empty if it is not there.
class Mapped {
 public:
  explicit Mapped(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct stat st {};
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
      size_ = static_cast<std::size_t>(st.st_size);
      void* const at = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
      if (at != MAP_FAILED) at_ = at;
    }
    close(fd);
    there_ = true;
  }
  ~Mapped() {
    if (at_ != nullptr) munmap(at_, size_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  [[nodiscard]] bool there() const { return there_; }
  [[nodiscard]] std::string_view bytes() const {
    return at_ == nullptr ? std::string_view() : std::string_view(static_cast<char*>(at_), size_);
  }

 private:
  void* at_ = nullptr;
  std::size_t size_ = 0;
  bool there_ = false;
};

bool WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

void PutNumber(std::string* out, std::uint32_t v) {
  for (; v >= 0x80; v >>= 7) out->push_back(static_cast<char>(v | 0x80));
  out->push_back(static_cast<char>(v));
}

bool GetNumber(std::string_view* in, std::uint32_t* v) {
  *v = 0;
  for (int shift = 0; shift < 35 && !in->empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in->front());
    in->remove_prefix(1);
    *v |= static_cast<std::uint32_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

}  // namespace

LiveModel::LiveModel(const LiveOptions& options) : options_(options), model_(options.model) {
  if (!options_.state_dir.empty()) Open();
}

std::string LiveModel::Path(const char* suffix) const {
  return options_.state_dir + "/" + options_.name + suffix;
}

void LiveModel::Open() {
  {
    const Mapped snapshot(Path(".pam"));
    restored_ = snapshot.there() && model_.Restore(snapshot.bytes()).ok();
    if (restored_) snapshot_bytes_ = snapshot.bytes().size();
    const Mapped trained(Path(".model"));
    if (!snapshot.there() && trained.there()) (void)model_.LoadModel(trained.bytes()).ok();
  }
  const bool whole = ReadLog();
  model_.Resize(options_.model.blocks);
  if (options_.model.engine.wall_clock) (void)model_.CatchUp(options_.model.engine.start_us);
  // Nothing could be appended behind what cannot be read.
  if (!whole && !Save().ok()) (void)unlink(Path(".log").c_str());
}

/// False if it ends in something that cannot be read, or is of another volume.
bool LiveModel::ReadLog() {
  const Mapped log(Path(".log"));
  if (!log.there()) return true;
  std::string_view in = log.bytes();
  const std::string volume = options_.model.identity;
  bool first = true;
  while (!in.empty()) {
    std::uint32_t kind = 0;
    std::uint32_t size = 0;
    std::uint32_t crc = 0;
    if (!Get(&in, &kind) || !Get(&in, &size) || !Get(&in, &crc) || size > in.size()) return false;
    const std::string_view body = in.substr(0, size);
    in.remove_prefix(size);
    if (CrcOf(0, body) != crc) return false;
    if (first != (kind == static_cast<std::uint32_t>(Kind::kVolume))) return false;
    if (first && (!volume.empty() && !body.empty() && body != volume)) return false;
    if (!first && !Replay(static_cast<Kind>(kind), body)) return false;
    first = false;
  }
  log_begun_ = !first;
  return true;
}

bool LiveModel::Replay(Kind kind, std::string_view body) {
  std::uint32_t at = 0;
  if (!Get(&body, &at)) return false;
  if (at < model_.engine().now()) return true;  // the snapshot has it
  if (kind == Kind::kLesson) return model_.Adopt(body).ok();
  std::int64_t start_us = 0;
  Window w;
  std::uint32_t n = 0;
  if (kind != Kind::kWindow || !Get(&body, &start_us) || !Get(&body, &w.ops) ||
      !Get(&body, &w.bytes) || !GetNumber(&body, &n) || n > body.size()) {
    return false;
  }
  std::uint32_t block = 0;
  for (std::uint32_t i = 0; i < n; ++i) {
    Access a;
    std::uint32_t step = 0;
    if (!GetNumber(&body, &step) || !GetNumber(&body, &a.count) || !GetNumber(&body, &a.writes)) {
      return false;
    }
    a.block = block += step;
    w.accesses.push_back(a);
  }
  (void)model_.CatchUp(start_us);
  ++since_save_;
  return model_.CloseWindow(w).ok();
}

void LiveModel::Append(Kind kind, const std::string& body) {
  if (options_.state_dir.empty()) return;
  const int fd = open(Path(".log").c_str(),
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (log_begun_ ? 0 : O_TRUNC), 0600);
  if (fd < 0) return;
  std::string out;
  const auto add = [&out](Kind k, const std::string& b) {
    Put(&out, k);
    Put(&out, static_cast<std::uint32_t>(b.size()));
    Put(&out, CrcOf(0, b));
    out += b;
  };
  if (!log_begun_) add(Kind::kVolume, options_.model.identity);
  if (body.size() < kMostEntry) add(kind, body);
  const off_t before = lseek(fd, 0, SEEK_END);
  if (WriteAll(fd, out)) {
    log_begun_ = true;
  } else if (before >= 0) {
    // Half an entry would hide all later ones; without room for a log there is the next snapshot.
    log_begun_ = ftruncate(fd, before) == 0 && log_begun_;
  }
  close(fd);
}

void LiveModel::Reopen(std::uint64_t blocks, std::int64_t start_us) {
  model_.Resize(blocks);
  (void)model_.CatchUp(start_us);
}

Result<RoundReport> LiveModel::Close(const Window& window, std::int64_t start_us) {
  (void)model_.CatchUp(start_us);
  const std::uint32_t at = model_.engine().now();
  SHADOW_ASSIGN(const RoundReport round, model_.CloseWindow(window));
  ++since_save_;
  if (!options_.state_dir.empty()) {
    std::string body;
    Put(&body, at);
    Put(&body, start_us);
    Put(&body, window.ops);
    Put(&body, window.bytes);
    PutNumber(&body, static_cast<std::uint32_t>(window.accesses.size()));
    std::uint32_t previous = 0;
    for (const Access& a : window.accesses) {
      PutNumber(&body, a.block - previous);
      PutNumber(&body, a.count);
      PutNumber(&body, a.writes);
      previous = a.block;
    }
    Append(Kind::kWindow, body);
  }
  return round;
}

Status LiveModel::SaveIfDue(std::size_t volumes) {
  if (options_.state_dir.empty() || since_save_ < options_.save_windows) return Ok();
  const double minutes = static_cast<double>(since_save_) *
                         static_cast<double>(options_.model.engine.window_us) / 60e6;
  const double earned = minutes * static_cast<double>(options_.save_bytes_per_minute) /
                        static_cast<double>(std::max<std::size_t>(1, volumes));
  return static_cast<double>(snapshot_bytes_) > earned ? Ok() : Save();
}

Status LiveModel::Save() {
  if (options_.state_dir.empty()) {
    return MakeError(Code::kFailedPrecondition, "the worker was started without a state directory");
  }
  const std::string path = Path(".pam");
  const std::string temporary = path + ".new";
  since_save_ = 0;  // also if it fails: it is not tried again with every window
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool good = fd >= 0;
  std::uint64_t size = 0;
  if (good) {
    const std::string head = model_.WriteSnapshot([&](std::string_view piece) {
      size += piece.size();
      return WriteAll(fd, piece);
    });
    good = !head.empty() && lseek(fd, 0, SEEK_SET) == 0 && WriteAll(fd, head) && fsync(fd) == 0;
  }
  int why = errno;
  if (fd >= 0) close(fd);
  if (good && std::rename(temporary.c_str(), path.c_str()) != 0) {
    why = errno;
    good = false;
  }
  if (!good) {
    (void)unlink(temporary.c_str());
    return MakeError(Code::kIoError, "cannot write " + path + ": " + std::strerror(why));
  }
  (void)unlink(Path(".log").c_str());
  log_begun_ = false;
  snapshot_bytes_ = size;
  return Ok();
}

void LiveModel::Forget(const std::string& state_dir, const std::string& name) {
  if (state_dir.empty()) return;
  for (const char* suffix : {".pam", ".log", ".pam.new"}) {
    (void)unlink((state_dir + "/" + name + suffix).c_str());
  }
}

Result<std::unique_ptr<Aside>> LiveModel::StartLearning(Update what) {
  if (what == Update::kNone && options_.update_minutes > 0) {
    what = model_.Due(options_.update_minutes);
  }
  if (what == Update::kNone) return std::unique_ptr<Aside>();
  model_.PutOff();
  return Aside::Start(
      [this, what] {
        // Too little data, or nothing better: there is no lesson, and what is in use stays.
        const auto learned = model_.Learn(what);
        return learned.ok() ? model_.Lesson() : "!" + learned.error().ToString();
      },
      options_.most_seconds);
}

Status LiveModel::TakeLesson(const Result<std::string>& said) {
  if (!said.ok()) return said.error();
  if (said->starts_with('!')) {
    return MakeError(Code::kFailedPrecondition, said->substr(1),
                     "record more; until then EWMA rules");
  }
  const std::uint32_t at = model_.engine().now();
  SHADOW_TRY(model_.Adopt(*said));
  std::string body;
  Put(&body, at);
  Append(Kind::kLesson, body + *said);
  return Ok();
}

Result<bool> LiveModel::LearnAndWait(Update what) {
  SHADOW_ASSIGN(const std::unique_ptr<Aside> aside, StartLearning(what));
  if (aside == nullptr) return false;
  SHADOW_TRY(TakeLesson(*aside->Take(true)));
  return true;
}

}  // namespace shadow::pam
