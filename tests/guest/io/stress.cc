// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/io/stress.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "tests/guest/io/device.h"
#include "tests/guest/io/mark.h"
#include "tests/guest/io/pattern.h"

namespace shadow::io {
namespace {

constexpr std::uint32_t kMaxSectors = 256;  // of one read or write

/// Appends records; the page cache of the file's machine is as durable as the test needs. With a
/// mark device each is also an entry in that log, between what was durable before and after it.
class Journal {
 public:
  explicit Journal(const std::string& path, std::string mark = "") : mark_(std::move(mark)) {
    if (path.empty()) return;
    fd_ = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd_ < 0) Die("cannot open the journal " + path + ": " + std::strerror(errno));
  }
  ~Journal() {
    if (fd_ >= 0) close(fd_);
  }
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  void Append(Record record) const {
    record.check = RecordCheck(record);
    if (!mark_.empty()) Mark(record);
    if (fd_ < 0) return;
    if (write(fd_, &record, sizeof(record)) != sizeof(record))
      Die("the journal cannot be written.");
  }

 private:
  void Mark(const Record& record) const {
    std::array<std::uint8_t, sizeof(Record)> raw;
    std::memcpy(raw.data(), &record, sizeof(record));
    char text[2 * sizeof(Record) + 1];
    for (std::size_t i = 0; i < raw.size(); ++i) std::snprintf(text + 2 * i, 3, "%02x", raw[i]);
    io::Mark(mark_, text);
  }

  int fd_ = -1;
  std::string mark_;
};

void Replay(const std::string& path, Model& model) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  std::vector<Record> records(4096);
  ssize_t got = 0;
  while ((got = read(fd, records.data(), records.size() * sizeof(Record))) > 0) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(Record); ++i) {
      if (records[i].check != RecordCheck(records[i])) {
        std::fprintf(stderr, "shadow_io: the journal ends in a torn record, ignored\n");
        close(fd);
        return;
      }
      model.Apply(records[i]);
    }
  }
  close(fd);
}

std::string Found(const std::uint8_t* data, std::uint64_t sector) {
  if (const auto value = ReadSector(data, sector)) {
    return *value == 0 ? "zeroes" : "write " + std::to_string(*value);
  }
  std::uint64_t head[2];
  std::memcpy(head, data, sizeof(head));
  char text[96];
  std::snprintf(text, sizeof(text), "foreign data (sector %llu, write %llu)",
                static_cast<unsigned long long>(head[0]), static_cast<unsigned long long>(head[1]));
  return text;
}

class Runner {
 public:
  explicit Runner(const StressOptions& options)
      : options_(options),
        device_(options.device),
        journal_(options.journal, options.mark),
        model_(device_.sectors(), options.block, Durable::kAck),
        busy_(device_.sectors(), 0) {
    if (!options.journal.empty()) Replay(options.journal, model_);
    next_ = model_.last_number() + 1;
    if (options_.length == 0) options_.length = device_.sectors() - options_.first;
    if (options_.first + options_.length > device_.sectors())
      Die("the range ends beyond the device.");
  }

  int Run() {
    start_ = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < options_.threads; ++i) threads.emplace_back([this, i] { Work(i); });
    for (std::thread& thread : threads) thread.join();
    std::printf(
        "shadow_io: %llu reads, %llu writes, %llu discards, %llu zero-outs, %llu flushes, "
        "%llu errors%s\n",
        Count(reads_), Count(writes_), Count(discards_), Count(zeroes_), Count(flushes_),
        Count(errors_), wrong_ ? ", WRONG DATA" : "");
    return wrong_ ? 1 : 0;
  }

  int Fill() {
    Buffer buffer = MakeBuffer(std::size_t{2048} * kSector);
    const std::uint64_t end = options_.first + options_.length;
    for (std::uint64_t s = options_.first; s < end; s += 2048) {
      const auto count = static_cast<std::uint32_t>(std::min<std::uint64_t>(2048, end - s));
      if (const int error = WriteOp(s, count, false, buffer.get())) {
        std::fprintf(stderr, "shadow_io: fill failed at sector %llu: %s\n",
                     static_cast<unsigned long long>(s), std::strerror(error));
        return 1;
      }
    }
    Flush();
    return wrong_ ? 1 : 0;
  }

 private:
  static unsigned long long Count(const std::atomic<std::uint64_t>& value) { return value.load(); }

  [[nodiscard]] bool Over() {
    if (stop_) return true;
    if (options_.ops != 0 && done_.fetch_add(1) >= options_.ops) return true;
    const std::chrono::duration<double> age = std::chrono::steady_clock::now() - start_;
    if (options_.seconds > 0 && age.count() >= options_.seconds) return true;
    return !options_.stop_file.empty() && access(options_.stop_file.c_str(), F_OK) == 0;
  }

  void Work(unsigned index) {
    std::mt19937_64 random(options_.seed * 1000 + index);
    Buffer buffer = MakeBuffer(std::size_t{kMaxSectors} * kSector);
    while (!Over()) {
      const unsigned dice = random() % 100;
      if (dice < options_.flushes) {
        Flush();
        continue;
      }
      unsigned limit = options_.flushes;
      std::uint32_t longest = random() % 4 == 0 ? kMaxSectors : 16;
      Kind kind = Kind::kAck;  // stands for a read
      if (dice < (limit += options_.writes)) {
        kind = Kind::kWrite;
      } else if (dice < (limit += options_.discards)) {
        kind = Kind::kDiscard;
        longest = std::max<std::uint32_t>(options_.block * 3, kMaxSectors);
      } else if (dice < (limit += options_.zeroes)) {
        kind = Kind::kZero;
      }
      const std::uint32_t unit = device_.unit();
      const std::uint64_t units = options_.length / unit;
      const std::uint64_t want = 1 + random() % std::max<std::uint64_t>(1, longest / unit);
      const std::uint64_t count = std::min(want, units);
      const std::uint64_t sector = options_.first + random() % (units - count + 1) * unit;
      Operate(kind, sector, static_cast<std::uint32_t>(count * unit), random() % 8 == 0,
              buffer.get());
    }
  }

  void Operate(Kind kind, std::uint64_t sector, std::uint32_t count, bool fua,
               std::uint8_t* buffer) {
    Claim(sector, count);
    int error = 0;
    if (kind == Kind::kWrite) {
      error = WriteOp(sector, count, fua, buffer);
      ++writes_;
    } else if (kind == Kind::kDiscard || kind == Kind::kZero) {
      const std::uint32_t number = Begin(kind, sector, count, false);
      error = kind == Kind::kZero ? device_.Zero(sector, count) : device_.Discard(sector, count);
      End(number, error);
      ++(kind == Kind::kZero ? zeroes_ : discards_);
    } else {
      error = device_.Read(sector, count, buffer);
      if (error == 0) Verify(sector, count, buffer);
      ++reads_;
    }
    Release(sector, count);
    if (error != 0) Trouble(error, sector, kind);
  }

  int WriteOp(std::uint64_t sector, std::uint32_t count, bool fua, std::uint8_t* buffer) {
    const std::uint32_t number = Begin(Kind::kWrite, sector, count, fua);
    for (std::uint32_t i = 0; i < count; ++i) FillSector(buffer + i * kSector, sector + i, number);
    const int error = device_.Write(sector, count, buffer, fua);
    End(number, error);
    return error;
  }

  std::uint32_t Begin(Kind kind, std::uint64_t sector, std::uint32_t count, bool fua) {
    const std::lock_guard lock(mutex_);
    Record record{.kind = kind, .fua = fua, .count = count, .sector = sector, .number = next_++};
    Note(record);
    return record.number;
  }

  void End(std::uint32_t number, int error) {
    const std::lock_guard lock(mutex_);
    Note(Record{.kind = error == 0 ? Kind::kAck : Kind::kFail, .number = number});
  }

  void Flush() {
    std::uint32_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      number = next_++;
      Note(Record{.kind = Kind::kFlushStart, .number = number});
    }
    const int error = device_.Flush();
    ++flushes_;
    if (error != 0) return Trouble(error, 0, Kind::kFlushStart);
    const std::lock_guard lock(mutex_);
    Note(Record{.kind = Kind::kFlushDone, .number = number});
  }

  void Note(const Record& record) {
    journal_.Append(record);
    model_.Apply(record);
  }

  void Verify(std::uint64_t sector, std::uint32_t count, const std::uint8_t* data) {
    const std::lock_guard lock(mutex_);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto value = ReadSector(data + i * kSector, sector + i);
      if (value && model_.Allows(sector + i, *value)) continue;
      std::fprintf(stderr, "shadow_io: WRONG DATA at sector %llu: %s, expected %s\n",
                   static_cast<unsigned long long>(sector) + i,
                   Found(data + i * kSector, sector + i).c_str(),
                   model_.Describe(sector + i).c_str());
      wrong_ = stop_ = true;
      return;
    }
  }

  void Trouble(int error, std::uint64_t sector, Kind kind) {
    ++errors_;
    if (options_.until_error) {
      stop_ = true;
    } else if (!options_.allow_errors) {
      std::fprintf(stderr, "shadow_io: %s at sector %llu failed: %s\n",
                   kind == Kind::kWrite     ? "a write"
                   : kind == Kind::kDiscard ? "a discard"
                   : kind == Kind::kZero    ? "a zero-out"
                   : kind == Kind::kAck     ? "a read"
                                            : "a flush",
                   static_cast<unsigned long long>(sector), std::strerror(error));
      wrong_ = stop_ = true;
    }
  }

  void Claim(std::uint64_t sector, std::uint32_t count) {
    std::unique_lock lock(mutex_);
    const auto first = busy_.begin() + static_cast<std::ptrdiff_t>(sector);
    released_.wait(lock, [&] { return std::find(first, first + count, 1) == first + count; });
    std::fill(first, first + count, 1);
  }

  void Release(std::uint64_t sector, std::uint32_t count) {
    {
      const std::lock_guard lock(mutex_);
      const auto first = busy_.begin() + static_cast<std::ptrdiff_t>(sector);
      std::fill(first, first + count, 0);
    }
    released_.notify_all();
  }

  StressOptions options_;
  Device device_;
  Journal journal_;
  std::mutex mutex_;  // model_, journal_, busy_, next_
  std::condition_variable released_;
  Model model_;
  std::vector<std::uint8_t> busy_;  // sectors some thread is working on
  std::uint32_t next_ = 1;
  std::chrono::steady_clock::time_point start_;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> wrong_ = false;
  std::atomic<std::uint64_t> done_ = 0, reads_ = 0, writes_ = 0, discards_ = 0, zeroes_ = 0,
                             flushes_ = 0, errors_ = 0;
};

}  // namespace

int Stress(const StressOptions& options) { return Runner(options).Run(); }

int Fill(const StressOptions& options) { return Runner(options).Fill(); }

int Check(const CheckOptions& options) {
  Device device(options.device);
  Model model(device.sectors(), options.block, options.durable);
  Replay(options.journal, model);
  const Journal journal(options.settle ? options.journal : "");
  constexpr std::uint32_t kStep = 1024;
  Buffer buffer = MakeBuffer(std::size_t{kStep} * kSector);
  std::uint64_t wrong = 0;
  std::uint64_t unread = 0;
  std::uint64_t open = 0;
  for (std::uint64_t at = 0; at < device.sectors(); at += kStep) {
    const auto count =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(kStep, device.sectors() - at));
    if (const int error = device.Read(at, count, buffer.get())) {
      unread += count;
      if (options.allow_errors) continue;
      std::fprintf(stderr, "shadow_io: cannot read sector %llu: %s\n",
                   static_cast<unsigned long long>(at), std::strerror(error));
      return 1;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint8_t* data = buffer.get() + i * kSector;
      const auto value = ReadSector(data, at + i);
      if (!value || !model.Allows(at + i, *value)) {
        if (++wrong <= 10) {
          std::fprintf(stderr, "shadow_io: WRONG DATA at sector %llu: %s, expected %s\n",
                       static_cast<unsigned long long>(at) + i, Found(data, at + i).c_str(),
                       model.Describe(at + i).c_str());
        }
      } else if (model.Ambiguous(at + i)) {
        ++open;
        journal.Append(Record{.kind = Kind::kSeen, .count = 1, .sector = at + i, .number = *value});
      }
    }
  }
  std::printf("shadow_io: %llu sectors checked, %llu wrong, %llu unreadable, %llu were undecided\n",
              static_cast<unsigned long long>(device.sectors()),
              static_cast<unsigned long long>(wrong), static_cast<unsigned long long>(unread),
              static_cast<unsigned long long>(open));
  return wrong == 0 ? 0 : 1;
}

}  // namespace shadow::io
