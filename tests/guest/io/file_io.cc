// SPDX-License-Identifier: Apache-2.0
// file_io: what fsx does to a file, against a model in memory, and with files that were synced and
// must be there after a power cut. One thread. Every read is compared at once; the first
// difference ends the program with the place.
//
// A file is written, read, mapped, cut, extended, punched, shifted for a while, then synced,
// renamed to kept.N, its directory synced, and its length and sum noted in the journal, which lies
// elsewhere. From then on nobody touches it until its end is noted, too.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/guest/io/device.h"
#include "tests/guest/io/mark.h"

namespace shadow::io {
namespace {

constexpr char kUsage[] =
    R"(Usage: file_io run|check DIRECTORY JOURNAL [OPTION]

run     random work on files in DIRECTORY, every read verified
          --seconds=N (default 5)  --seed=N (default 1)
          --length=BYTES of a file at most (default 1 MiB)
          --mark=NAME of a dm-log-writes device: the journal goes to its log too
          --until-error: an I/O error is the end that was waited for, not a failure
check   every file that the journal says was kept is there and is what it was

Exit status: 0 right, 1 wrong data or I/O error, 2 bad usage.
)";

constexpr std::size_t kPage = 4096;
constexpr unsigned kOpsOfAFile = 60;
constexpr unsigned kFiles = 12;  // that are kept at a time

using Content = std::vector<std::uint8_t>;

std::uint64_t Sum(const Content& bytes) {  // FNV-1a
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const std::uint8_t b : bytes) sum = (sum ^ b) * 0x100000001b3;
  return sum;
}

[[noreturn]] void Wrong(const std::string& what) {
  std::fprintf(stderr, "file_io: %s\n", what.c_str());
  std::exit(1);
}

/// Calls `part(done)` until `bytes` are done, and says how many are: fewer mean the error in errno,
/// or that no call gets any further (errno is 0 then: the end of a file).
/// A call that meets a page which cannot be read or written returns what came before it; only the
/// next one, at that page, says why.
template <typename Part>
std::size_t InParts(std::size_t bytes, Part part) {
  std::size_t done = 0;
  while (done < bytes) {
    errno = 0;
    const ssize_t now = part(done);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) break;
    done += static_cast<std::size_t>(now);
  }
  return done;
}
std::size_t ReadAt(int fd, std::uint8_t* to, std::size_t bytes, std::size_t from) {
  return InParts(bytes, [&](std::size_t done) {
    return pread(fd, to + done, bytes - done, static_cast<off_t>(from + done));
  });
}
std::size_t WriteAt(int fd, const std::uint8_t* data, std::size_t bytes, std::size_t to) {
  return InParts(bytes, [&](std::size_t done) {
    return pwrite(fd, data + done, bytes - done, static_cast<off_t>(to + done));
  });
}

/// What the options say, and where an error ends the program.
struct Rules {
  double seconds = 5;
  std::uint64_t seed = 1;
  std::size_t longest = std::size_t{1} << 20;
  std::string mark;
  bool until_error = false;

  void Must(bool done, const char* what) const {
    if (done) return;
    const int error = errno;
    Failed(std::string("cannot ") + what, error);
  }
  /// As Must, for a call that may stop on the way. One that stops without an error is no I/O error.
  void MustAll(std::size_t done, std::size_t bytes, const char* what, std::size_t from) const {
    if (done == bytes) return;
    const int error = errno;
    const std::string how_far = std::string("cannot ") + what + " more than " +
                                std::to_string(done) + " of " + std::to_string(bytes) +
                                " bytes from " + std::to_string(from);
    if (error == 0) Wrong(how_far + ": it ends short, without an error.");
    Failed(how_far, error);
  }
  [[noreturn]] void Failed(const std::string& what, int error) const {
    const std::string sentence = what + ": " + std::strerror(error) + ".";
    if (!until_error || (error != EIO && error != EROFS)) Wrong(sentence);
    std::printf("ended: %s\n", sentence.c_str());
    std::exit(0);
  }
};

class File {
 public:
  File(const Rules& rules, std::string path, std::mt19937_64* random)
      : rules_(rules),
        path_(std::move(path)),
        random_(*random),
        aligned_(MakeBuffer(rules.longest)) {
    Open(O_CREAT | O_TRUNC);
  }
  ~File() { Close(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void Step() {
    switch (Below(13)) {
      case 0:
      case 1:
      case 2:
        return Write();
      case 3:
        return WriteMapped();
      case 4:
        return WriteDirect();
      case 5:
        return Truncate();
      case 6:
        return Allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
      case 7:
        return Allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
      case 8:
        return Shift();
      case 9:
        return Forget();
      case 10:
        return ReadMapped();
      case 11:
        return ReadDirect();
      default:
        return Read();
    }
  }
  void Sync() { rules_.Must(fsync(fd_) == 0, "sync a file"); }
  /// Reads all of it and compares, from the device.
  void CheckAll() {
    Forget();
    struct stat st {};
    rules_.Must(fstat(fd_, &st) == 0, "look at a file");
    if (static_cast<std::size_t>(st.st_size) != model_.size()) {
      Wrong(path_ + " has " + std::to_string(st.st_size) + " bytes, not " +
            std::to_string(model_.size()) + ".");
    }
    Compare(0, model_.size(), "read");
  }
  [[nodiscard]] const Content& model() const { return model_; }

 private:
  void Open(int flags) {
    fd_ = open(path_.c_str(), O_RDWR | O_CLOEXEC | flags, 0600);
    rules_.Must(fd_ >= 0, "open a file");
    direct_ = open(path_.c_str(), O_RDWR | O_CLOEXEC | O_DIRECT);
    rules_.Must(direct_ >= 0, "open a file for direct I/O");
  }
  void Close() const {
    close(fd_);
    close(direct_);
  }
  std::size_t Below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  /// A range within `limit` bytes; empty if there are none.
  std::pair<std::size_t, std::size_t> Range(std::size_t limit) {
    const std::size_t from = Below(limit);
    return {from, limit == 0 ? 0 : 1 + Below(std::min<std::size_t>(limit - from, 65536))};
  }
  std::pair<std::size_t, std::size_t> Pages(std::size_t limit) {
    const std::size_t pages = limit / kPage;
    const std::size_t from = Below(pages);
    return {from * kPage,
            pages == 0 ? 0 : (1 + Below(std::min<std::size_t>(pages - from, 16))) * kPage};
  }
  void Fill(std::size_t from, std::size_t bytes) {
    if (model_.size() < from + bytes) model_.resize(from + bytes);
    for (std::size_t i = 0; i < bytes; ++i) model_[from + i] = static_cast<std::uint8_t>(random_());
  }

  void Write() {
    const auto [from, bytes] = Range(rules_.longest);
    Fill(from, bytes);
    rules_.MustAll(WriteAt(fd_, &model_[from], bytes, from), bytes, "write", from);
  }
  void WriteDirect() {
    const auto [from, bytes] = Pages(rules_.longest);
    Fill(from, bytes);
    std::memcpy(aligned_.get(), &model_[from], bytes);
    rules_.MustAll(WriteAt(direct_, aligned_.get(), bytes, from), bytes, "write directly", from);
  }
  void WriteMapped() {
    const auto [from, bytes] = Range(model_.size());
    if (bytes == 0) return;
    void* map = Map();
    Fill(from, bytes);
    std::memcpy(static_cast<std::uint8_t*>(map) + from, &model_[from], bytes);
    if (Below(2) == 0) rules_.Must(msync(map, model_.size(), MS_SYNC) == 0, "sync a mapping");
    munmap(map, model_.size());
  }
  void* Map() {
    void* map = mmap(nullptr, model_.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    rules_.Must(map != MAP_FAILED, "map a file");
    return map;
  }
  void Truncate() {
    const std::size_t size = Below(rules_.longest);
    rules_.Must(ftruncate(fd_, static_cast<off_t>(size)) == 0, "truncate");
    model_.resize(size);
  }
  void Allocate(int mode) {
    const auto [from, bytes] = Range(model_.size());
    if (bytes == 0) return;
    rules_.Must(fallocate(fd_, mode, static_cast<off_t>(from), static_cast<off_t>(bytes)) == 0,
                "punch or zero");
    std::fill_n(model_.begin() + static_cast<std::ptrdiff_t>(from), bytes, 0);
  }
  /// Takes pages out of the middle, or puts some in.
  void Shift() {
    const auto [from, bytes] = Pages(model_.size());
    // Not at the end: there it is another call's work.
    if (bytes == 0 || from + bytes >= model_.size()) return;
    const bool in = model_.size() + bytes <= rules_.longest && Below(2) == 0;
    rules_.Must(fallocate(fd_, in ? FALLOC_FL_INSERT_RANGE : FALLOC_FL_COLLAPSE_RANGE,
                          static_cast<off_t>(from), static_cast<off_t>(bytes)) == 0,
                "insert or collapse");
    const auto at = model_.begin() + static_cast<std::ptrdiff_t>(from);
    if (in) {
      model_.insert(at, bytes, 0);
    } else {
      model_.erase(at, at + static_cast<std::ptrdiff_t>(bytes));
    }
  }
  /// What is read next comes from the device; sometimes through another descriptor.
  void Forget() {
    rules_.Must(fdatasync(fd_) == 0, "sync the data of a file");
    posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
    if (Below(4) != 0) return;
    Close();
    Open(0);
  }
  void Read() {
    const auto [from, bytes] = Range(model_.size());
    Compare(from, bytes, "read");
  }
  void Compare(std::size_t from, std::size_t bytes, const char* how) {
    Content got(bytes);
    rules_.MustAll(ReadAt(fd_, got.data(), bytes, from), bytes, how, from);
    Judge(from, got.data(), bytes, how);
  }
  void ReadDirect() {
    const auto [from, bytes] = Pages(model_.size());
    rules_.MustAll(ReadAt(direct_, aligned_.get(), bytes, from), bytes, "read directly", from);
    Judge(from, aligned_.get(), bytes, "direct read");
  }
  void ReadMapped() {
    const auto [from, bytes] = Range(model_.size());
    if (bytes == 0) return;
    void* map = Map();
    Judge(from, static_cast<const std::uint8_t*>(map) + from, bytes, "mapped read");
    munmap(map, model_.size());
  }
  void Judge(std::size_t from, const std::uint8_t* got, std::size_t bytes, const char* how) {
    for (std::size_t i = 0; i < bytes; ++i) {
      if (got[i] == model_[from + i]) continue;
      Wrong(path_ + ", byte " + std::to_string(from + i) + " of " + std::to_string(model_.size()) +
            ": the " + how + " of " + std::to_string(bytes) + " bytes from " +
            std::to_string(from) + " gave " + std::to_string(got[i]) + ", written was " +
            std::to_string(model_[from + i]) + ".");
    }
  }

  const Rules& rules_;
  std::string path_;
  std::mt19937_64& random_;
  Buffer aligned_;
  Content model_;
  int fd_ = -1;
  int direct_ = -1;
};

void SyncDirectory(const Rules& rules, const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  rules.Must(fd >= 0, "open the directory");
  rules.Must(fsync(fd) == 0, "sync the directory");
  close(fd);
}

std::string Name(std::uint64_t seed, unsigned long number) {
  return std::to_string(seed) + "-" + std::to_string(number);
}
std::string Kept(const std::string& directory, const std::string& name) {
  return directory + "/kept." + name;
}

/// The journal: what must be there after a power cut. A line is a word in the log's marks.
class Notes {
 public:
  Notes(const std::string& path, std::string mark)
      : file_(std::fopen(path.c_str(), "ae")), mark_(std::move(mark)) {
    if (file_ == nullptr) Die("the journal " + path + " cannot be opened.");
  }
  ~Notes() { std::fclose(file_); }
  Notes(const Notes&) = delete;
  Notes& operator=(const Notes&) = delete;

  void Add(std::string line) const {
    std::fprintf(file_, "%s\n", line.c_str());
    std::fflush(file_);
    if (mark_.empty()) return;
    std::replace(line.begin(), line.end(), ' ', ',');
    Mark(mark_, "file," + line);
  }

 private:
  FILE* file_;
  std::string mark_;
};

int Run(const std::string& directory, const std::string& journal, const Rules& rules) {
  const Notes notes(journal, rules.mark);
  // A page that cannot be read or written back raises this instead of an errno.
  if (rules.until_error) std::signal(SIGBUS, [](int) { _exit(0); });
  std::mt19937_64 random(rules.seed);
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(rules.seconds);
  const std::string work = directory + "/work";
  unsigned long files = 0;
  unsigned long operations = 0;
  for (; std::chrono::steady_clock::now() < end; ++files) {
    const std::string name = Name(rules.seed, files % kFiles);
    {
      File file(rules, work, &random);
      for (unsigned i = 0; i < kOpsOfAFile; ++i, ++operations) file.Step();
      file.CheckAll();
      file.Sync();
      notes.Add("gone " + name);
      rules.Must(rename(work.c_str(), Kept(directory, name).c_str()) == 0, "rename");
      SyncDirectory(rules, directory);
      std::array<char, 17> sum{};
      std::snprintf(sum.data(), sum.size(), "%llx",
                    static_cast<unsigned long long>(Sum(file.model())));
      notes.Add("kept " + name + " " + std::to_string(file.model().size()) + " " + sum.data());
    }
  }
  std::printf("%lu files, %lu operations\n", files, operations);
  return 0;
}

int Check(const std::string& directory, const std::string& journal) {
  FILE* notes = std::fopen(journal.c_str(), "re");
  if (notes == nullptr) Die("the journal " + journal + " cannot be opened.");
  std::map<std::string, std::pair<std::size_t, unsigned long long>> kept;
  std::array<char, 8> verb{};
  std::array<char, 64> name{};
  while (std::fscanf(notes, "%7s %63s", verb.data(), name.data()) == 2) {
    kept.erase(name.data());
    if (std::strcmp(verb.data(), "kept") != 0) continue;
    auto& [size, sum] = kept[name.data()];
    if (std::fscanf(notes, "%zu %llx", &size, &sum) != 2) Die("the journal is cut off.");
  }
  std::fclose(notes);
  for (const auto& [file, was] : kept) {
    const std::string path = Kept(directory, file);
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) Wrong(path + " was synced and is gone.");
    struct stat st {};
    Content bytes(fstat(fd, &st) == 0 ? static_cast<std::size_t>(st.st_size) : 0);
    const std::size_t all = ReadAt(fd, bytes.data(), bytes.size(), 0);
    const int error = errno;
    close(fd);
    if (all < bytes.size()) {
      Wrong(path + " was synced and only " + std::to_string(all) + " of its " +
            std::to_string(bytes.size()) +
            " bytes can be read: " + (error != 0 ? std::strerror(error) : "no more come") + ".");
    }
    if (bytes.size() != was.first || Sum(bytes) != was.second) {
      Wrong(path + " was synced and is not what it was: " + std::to_string(bytes.size()) +
            " bytes, were " + std::to_string(was.first) + ".");
    }
  }
  if (kept.empty()) Wrong("nothing was kept: this check shows nothing.");
  std::printf("%zu files are what they were\n", kept.size());
  return 0;
}

int Main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "--help";
  if (verb == "--help" || verb == "-h") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (argc < 4) Die("a directory and a journal are missing; see --help.");
  Rules rules;
  for (int i = 4; i < argc; ++i) {
    const std::string option = argv[i];
    if (option.starts_with("--seconds=")) {
      rules.seconds = std::atof(option.c_str() + 10);
    } else if (option.starts_with("--seed=")) {
      rules.seed = std::strtoull(option.c_str() + 7, nullptr, 10);
    } else if (option.starts_with("--length=")) {
      rules.longest = std::strtoull(option.c_str() + 9, nullptr, 10);
    } else if (option.starts_with("--mark=")) {
      rules.mark = option.substr(7);
    } else if (option == "--until-error") {
      rules.until_error = true;
    } else {
      Die("unknown option '" + option + "'; see --help.");
    }
  }
  if (verb == "run") return Run(argv[2], argv[3], rules);
  if (verb == "check") return Check(argv[2], argv[3]);
  Die("unknown command '" + verb + "'; see --help.");
}

}  // namespace
}  // namespace shadow::io

int main(int argc, char** argv) { return shadow::io::Main(argc, argv); }
