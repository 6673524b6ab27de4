// SPDX-License-Identifier: Apache-2.0
#include "daemon/trace/recorder.h"

#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

namespace shadow {
namespace {

constexpr std::size_t kText = 256u << 10;  // bytes of CSV in a piece
constexpr int kLevel = 3;

void AppendNumber(std::string* to, auto value, char then) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  to->append(digits.data(), end);
  to->push_back(then);
}

}  // namespace

struct Recorder::Impl {
  std::string path;
  int fd = -1;
  std::uint64_t most_bytes = 0;
  ZSTD_CCtx* zstd = nullptr;  // null: not compressed
  std::string text = "timestamp_us,offset_bytes,length_bytes,op\n";
  std::string packed;
  Status failed = Ok();

  Status WriteOut(std::string_view data) const {
    while (!data.empty()) {
      const ssize_t done = write(fd, data.data(), data.size());
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) {
        return MakeError(
            errno == ENOSPC ? Code::kOutOfSpace : Code::kIoError,
            "The recording " + path + " cannot be written: " + std::strerror(errno) + ".",
            "what was recorded before is readable");
      }
      data.remove_prefix(static_cast<std::size_t>(done));
    }
    return Ok();
  }
};

Recorder::Recorder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Recorder>> Recorder::Create(const std::string& path,
                                                   std::uint64_t most_bytes) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->most_bytes = most_bytes;
  // What a volume reads and writes, and when, is nobody else's business.
  impl->fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (impl->fd < 0) {
    const bool exists = errno == EEXIST;
    return MakeError(exists ? Code::kAlreadyExists : Code::kIoError,
                     "The file " + path + " cannot be created: " + std::strerror(errno) + ".",
                     exists ? "name another one, or remove it" : "");
  }
  if (path.ends_with(".zst")) {
    impl->zstd = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(impl->zstd, ZSTD_c_compressionLevel, kLevel);
    ZSTD_CCtx_setParameter(impl->zstd, ZSTD_c_checksumFlag, 1);
    impl->packed.resize(ZSTD_CStreamOutSize());
  }
  return std::unique_ptr<Recorder>(new Recorder(std::move(impl)));
}

Recorder::~Recorder() {
  [[maybe_unused]] const Status ignored = Close();
  ZSTD_freeCCtx(impl_->zstd);
}

void Recorder::Take(const pam::Request& request) {
  if (impl_->fd < 0 || !impl_->failed.ok()) return;
  AppendNumber(&impl_->text, request.time_us, ',');
  AppendNumber(&impl_->text, request.offset, ',');
  AppendNumber(&impl_->text, request.length, ',');
  impl_->text += request.write ? "W\n" : "R\n";
  ++requests_;
  if (impl_->text.size() >= kText) impl_->failed = Drain(false);
}

// A flush a piece, so that a recording which is cut off loses one piece at most.
Status Recorder::Drain(bool end) {
  Impl& i = *impl_;
  if (i.zstd == nullptr) {
    SHADOW_TRY(i.WriteOut(i.text));
    file_bytes_ += i.text.size();
  } else {
    ZSTD_inBuffer in{i.text.data(), i.text.size(), 0};
    std::size_t left = 1;
    while (left != 0) {
      ZSTD_outBuffer out{i.packed.data(), i.packed.size(), 0};
      left = ZSTD_compressStream2(i.zstd, &out, &in, end ? ZSTD_e_end : ZSTD_e_flush);
      if (ZSTD_isError(left) != 0) {
        return MakeError(Code::kInternal,
                         std::string("zstd failed: ") + ZSTD_getErrorName(left) + ".");
      }
      SHADOW_TRY(i.WriteOut(std::string_view(i.packed).substr(0, out.pos)));
      file_bytes_ += out.pos;
    }
  }
  i.text.clear();
  if (!end && file_bytes_ >= i.most_bytes) {
    return MakeError(Code::kOutOfSpace, "The recording " + i.path + " has reached its limit.",
                     "what was recorded until then is readable");
  }
  return Ok();
}

Status Recorder::Close() {
  if (impl_->fd < 0) return impl_->failed;
  Status last = Drain(true);
  if (impl_->failed.ok()) impl_->failed = last;
  if (close(impl_->fd) != 0 && impl_->failed.ok()) {
    impl_->failed =
        MakeError(Code::kIoError, "The recording " + impl_->path +
                                      " cannot be closed: " + std::strerror(errno) + ".");
  }
  impl_->fd = -1;
  return impl_->failed;
}

}  // namespace shadow
