// SPDX-License-Identifier: Apache-2.0
// shadow_io: data verification and latency gaps for the tests in the guest.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/guest/io/device.h"
#include "tests/guest/io/pattern.h"
#include "tests/guest/io/stress.h"

namespace shadow::io {
namespace {

constexpr char kUsage[] =
    R"(Usage: shadow_io fill|stress|check|gap DEVICE [--name=value...]

fill    write a pattern to every sector          --first --length --journal --mark
stress  random I/O, every read verified          --seconds --ops --stop-file --threads --seed --first
        --length --writes --discards --zeroes --flushes (percent) --block --journal --allow-errors
        --until-error --mark=NAME (of a dm-log-writes device: the journal goes to its log too)
check   read the device against the journal      --journal --block --durable=ack|flush --allow-errors
gap     one direct 4 KiB I/O after another until --stop-file appears; prints the longest
        distance between two completions         --write --stop-file --mark-file

Lengths are 512-byte sectors. Exit status: 0 right, 1 wrong data or I/O error, 2 bad usage.
)";

class Arguments {
 public:
  Arguments(int argc, char** argv) : values_(argv + 3, argv + argc) {}

  std::string Text(const std::string& name, const std::string& fallback = "") {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (values_[i].rfind("--" + name + "=", 0) == 0) {
        std::string value = values_[i].substr(name.size() + 3);
        values_.erase(values_.begin() + static_cast<std::ptrdiff_t>(i));
        return value;
      }
    }
    return fallback;
  }
  std::uint64_t Number(const std::string& name, std::uint64_t fallback) {
    const std::string text = Text(name);
    return text.empty() ? fallback : std::strtoull(text.c_str(), nullptr, 10);
  }
  bool Flag(const std::string& name) {
    const auto found = std::find(values_.begin(), values_.end(), "--" + name);
    if (found == values_.end()) return false;
    values_.erase(found);
    return true;
  }
  void Finish() const {
    if (!values_.empty()) Die("unknown argument '" + values_.front() + "'; see --help.");
  }

 private:
  std::vector<std::string> values_;
};

/// Longest distance between two completions since the mark file appeared (or since the start).
int Gap(const std::string& path, bool write, const std::string& stop, const std::string& mark) {
  Device device(path);
  Buffer buffer = MakeBuffer(4096);
  using Clock = std::chrono::steady_clock;
  auto last = Clock::now();
  std::int64_t longest = 0;
  std::uint64_t ops = 0;
  bool marked = mark.empty();
  for (std::uint64_t s = 0;; s = (s + 8) % (device.sectors() / 8 * 8)) {
    int error = 0;
    if (write) {
      for (std::uint32_t i = 0; i < 8; ++i) FillSector(buffer.get() + i * kSector, s + i, 1);
      error = device.Write(s, 8, buffer.get(), false);
    } else {
      error = device.Read(s, 8, buffer.get());
    }
    const auto now = Clock::now();
    if (error != 0) Die("I/O error in the stream.");
    const auto gap = std::chrono::duration_cast<std::chrono::nanoseconds>(now - last).count();
    if (marked && gap > longest) longest = gap;
    last = now;
    // Looking for the files is not part of the stream's time.
    if (++ops % 64 == 0) {
      if (!marked && access(mark.c_str(), F_OK) == 0) marked = true;
      if (access(stop.c_str(), F_OK) == 0) break;
      last = Clock::now();
    }
  }
  std::printf("%lld\n", static_cast<long long>(longest));
  return 0;
}

int Main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "--help";
  if (verb == "--help" || verb == "-h") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  if (argc < 3) Die("a device is missing; see --help.");
  Arguments args(argc, argv);
  const std::string device = argv[2];
  if (verb == "gap") {
    const bool write = args.Flag("write");
    const std::string stop = args.Text("stop-file");
    const std::string mark = args.Text("mark-file");
    args.Finish();
    if (stop.empty()) Die("gap needs --stop-file.");
    return Gap(device, write, stop, mark);
  }
  if (verb == "check") {
    CheckOptions options{.device = device, .journal = args.Text("journal")};
    options.block = static_cast<std::uint32_t>(args.Number("block", 0));
    options.durable = args.Text("durable", "ack") == "flush" ? Durable::kFlush : Durable::kAck;
    options.allow_errors = args.Flag("allow-errors");
    options.settle = !args.Flag("keep");
    args.Finish();
    if (options.journal.empty()) Die("check needs --journal.");
    return Check(options);
  }
  if (verb != "fill" && verb != "stress") Die("unknown command '" + verb + "'; see --help.");
  StressOptions options{.device = device, .journal = args.Text("journal")};
  options.mark = args.Text("mark");
  options.stop_file = args.Text("stop-file");
  options.seconds = std::atof(args.Text("seconds", "0").c_str());
  options.ops = args.Number("ops", 0);
  options.threads = static_cast<unsigned>(args.Number("threads", 4));
  options.seed = args.Number("seed", 1);
  options.first = args.Number("first", 0);
  options.length = args.Number("length", 0);
  options.block = static_cast<std::uint32_t>(args.Number("block", 0));
  options.writes = static_cast<unsigned>(args.Number("writes", 50));
  options.discards = static_cast<unsigned>(args.Number("discards", 0));
  options.zeroes = static_cast<unsigned>(args.Number("zeroes", 0));
  options.flushes = static_cast<unsigned>(args.Number("flushes", 1));
  options.allow_errors = args.Flag("allow-errors");
  options.until_error = args.Flag("until-error");
  args.Finish();
  if (verb == "fill") return Fill(options);
  if (options.seconds == 0 && options.ops == 0 && options.stop_file.empty() &&
      !options.until_error) {
    Die("stress needs an end: --seconds, --ops, --stop-file or --until-error.");
  }
  return Stress(options);
}

}  // namespace
}  // namespace shadow::io

int main(int argc, char** argv) { return shadow::io::Main(argc, argv); }
