// SPDX-License-Identifier: Apache-2.0
// crash_replay: cuts the power at many points of a dm-log-writes log of a volume's legs and
// metadata, gives what is left to the real module, and judges what it reads.
//
// For each point: the metadata is checked as shadow_check does, the volume is made over scratch
// devices with the table its metadata asks for, everything is read and compared with the model (the
// marks of shadow_io up to there), read again from each leg, sometimes copied on, and removed; then
// the metadata has to be clean. With --judge a program looks at the volume instead of the model:
// what file_io had noted in the log up to there is its journal. Single-threaded; a wrong state is
// told with its place in the log.
#include <CLI/CLI.hpp>
#include <array>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <thread>

#include "kernel/core/shadow_args.h"
#include "tests/crash/disk.h"
#include "tests/crash/log.h"
#include "tests/crash/points.h"
#include "tests/crash/volume.h"
#include "tests/guest/io/device.h"
#include "tests/guest/io/pattern.h"
#include "tools/metadata/check.h"

namespace shadow::crash {
namespace {

enum Exit { kRight = 0, kWrong = 1, kUsage = 2 };
constexpr std::uint8_t kJunk = 'j';
constexpr const char* kRoles[] = {"org", "tgt", "meta", "t1"};

struct Options {
  std::string log, name = "log";
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> slices;  // first sector, sectors
  std::set<std::string> junk;
  std::string scratch = "/dev/x";
  std::string judge;  // command; the volume and the journal are its last arguments
  std::size_t points = 60;
  std::uint64_t seed = 1;
  std::uint32_t block = 128;
  std::uint64_t sectors = 0;  // of the volume at its longest
  Plant plant = Plant::kNothing;
};

struct Figures {
  std::size_t points = 0, positions = 0, unformatted = 0, undecided = 0, judged = 0, finished = 0,
              wrong = 0;
  std::map<std::string, std::size_t> phases;
};

/// One slice of the logged device and where its remains are put.
struct Slice {
  Slice(const std::string& role, const Options& o)
      : first(o.slices.at(role).first),
        count(o.slices.at(role).second),
        disk(count, o.junk.contains(role) ? kJunk : 0, PlantFor(role, o), o.seed),
        scratch(o.scratch + role) {}
  static Plant PlantFor(const std::string& role, const Options& o) {
    const bool meta = role == "meta";
    return (o.plant == Plant::kStale) == meta ? o.plant : Plant::kNothing;
  }
  [[nodiscard]] bool Has(std::uint64_t sector) const {
    return sector >= first && sector < first + count;
  }

  std::uint64_t first, count;
  Disk disk;
  io::Device scratch;
};

class Replay {
 public:
  Replay(const Options& options, const Log& log)
      : options_(options),
        log_(log),
        model_(options.sectors, options.block, io::Durable::kFlush),
        buffer_(io::MakeBuffer(kStep * io::kSector)) {
    for (const char* role : kRoles) slices_.try_emplace(role, role, options);
  }

  Figures Run() {
    std::set<std::pair<std::size_t, std::uint64_t>> seen;
    std::set<std::size_t> positions;
    std::size_t missing = options_.points;
    // Where nothing is cached all choices are one state: more points are drawn instead of them.
    for (std::uint64_t round = 0; round < 8 && missing > 0; ++round) {
      const auto important = Important();
      if (round > 0) Restart();
      for (const Point& point :
           ChoosePoints(important, log_.entries.size(), missing, options_.seed + round)) {
        while (at_ < point.position) Step();
        std::mt19937_64 random(point.seed);
        std::uint64_t fingerprint = 0;
        std::map<std::string, Bytes> medium;
        for (auto& [role, slice] : slices_) {
          medium[role] = slice.disk.Cut(point.keep, random, &fingerprint);
        }
        const std::uint64_t key = std::hash<std::string_view>{}(View(medium["org"])) * 31 +
                                  std::hash<std::string_view>{}(View(medium["tgt"])) * 17 +
                                  std::hash<std::string_view>{}(View(medium["t1"])) * 7 +
                                  std::hash<std::string_view>{}(View(medium["meta"]));
        if (!seen.insert({point.position, key}).second) continue;
        positions.insert(point.position);
        --missing;
        ++figures_.points;
        Judge(point, medium, random() % 8 == 0);
        if (missing == 0) break;
      }
    }
    figures_.positions = positions.size();
    return figures_;
  }

 private:
  static constexpr std::uint32_t kStep = 1024;
  static std::string_view View(const Bytes& bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  void Restart() {
    at_ = 0;
    acknowledged_ = live_ = false;
    where_.clear();
    notes_.clear();
    model_ = io::Model(options_.sectors, options_.block, io::Durable::kFlush);
    slices_.clear();
    for (const char* role : kRoles) slices_.try_emplace(role, role, options_);
  }

  [[nodiscard]] std::vector<std::size_t> Important() const {
    std::vector<std::size_t> positions;
    for (std::size_t i = 0; i < log_.entries.size(); ++i) {
      const Entry& entry = log_.entries[i];
      const bool ours = std::any_of(slices_.begin(), slices_.end(), [&entry](const auto& slice) {
        return slice.second.Has(entry.sector);
      });
      if (!ours || entry.kind == Entry::Kind::kMark) continue;
      if (entry.kind != Entry::Kind::kFlush && !entry.fua) continue;
      if (positions.empty() || positions.back() != i) positions.push_back(i);
      positions.push_back(i + 1);
    }
    return positions;
  }

  void Step() {
    const Entry& entry = log_.entries[at_++];
    if (entry.kind == Entry::Kind::kMark) return Mark(entry.mark);
    for (auto& [role, slice] : slices_) {
      if (entry.kind == Entry::Kind::kFlush) slice.disk.OtherFlush();
      if (!slice.Has(entry.sector)) continue;
      const std::uint64_t sector = entry.sector - slice.first;
      if (entry.kind == Entry::Kind::kFlush) {
        slice.disk.Flush();
      } else {
        const bool discard = entry.kind == Entry::Kind::kDiscard;
        slice.disk.Write(sector, entry.count, discard ? nullptr : log_.bytes.data() + entry.data,
                         entry.fua);
      }
    }
  }

  void Mark(const std::string& mark) {
    if (const auto record = RecordOfMark(mark)) {
      acknowledged_ = acknowledged_ || record->kind == io::Kind::kAck;
      model_.Apply(*record);
    } else if (mark.starts_with("file,")) {
      notes_ += mark.substr(5) + "\n";
    } else {
      live_ = live_ || mark == "live";
      where_ = mark;
    }
  }

  void Wrong(const Point& point, const std::string& what) {
    static constexpr const char* kKept[] = {"nothing", "everything", "a part"};
    ++figures_.wrong;
    failed_ = true;
    if (figures_.wrong > (options_.plant == Plant::kNothing ? 10U : 2U)) return;
    std::fprintf(stderr,
                 "crash_replay: WRONG after %zu of %zu entries of %s (%s), %s of the caches kept, "
                 "seed %llu: %s\n",
                 point.position, log_.entries.size(), options_.name.c_str(), where_.c_str(),
                 kKept[static_cast<int>(point.keep)], static_cast<unsigned long long>(point.seed),
                 what.c_str());
  }

  /// The superblock that the kernel takes.
  static const shadow_superblock* Newest(const metadata::Image& image) {
    const shadow_superblock* newest = nullptr;
    for (unsigned place = 0; place < 2; ++place) {
      const auto& superblock = image.superblock(place);
      if (superblock.ok() &&
          (newest == nullptr || superblock.header.generation > newest->generation)) {
        newest = &superblock.header;
      }
    }
    return newest;
  }

  [[nodiscard]] std::string Parameters(const shadow_superblock& sb) const {
    std::string legs, ids;
    int count = 0;
    for (const int leg : {SHADOW_LEG_ORIGIN, SHADOW_LEG_TARGET, SHADOW_LEG_TIER1}) {
      if (!sb.legs[leg].present) continue;
      const std::string role = shadow_leg_name(leg);
      const std::string id = sb.legs[leg].id;
      legs.append(" ").append(role).append(" ").append(options_.scratch);
      legs.append(id == "T" ? "tgt" : id == "F1" ? "t1" : "org");
      ids.append(" leg_id ").append(role).append(" ").append(id);
      ++count;
    }
    return options_.scratch + "meta " + std::to_string(sb.block_sectors) + " " +
           std::to_string(count) + legs + " " + std::to_string(3 * count) + ids;
  }

  void Judge(const Point& point, const std::map<std::string, Bytes>& medium, bool finish) {
    failed_ = false;
    const metadata::Image image(medium.at("meta"));
    const shadow_superblock* sb = Newest(image);
    if (sb == nullptr) {
      // Formatting was not done. A torn first superblock is refused, as on-disk-format.md says.
      ++figures_.unformatted;
      if (live_ || acknowledged_) Wrong(point, "no valid superblock is left");
      return;
    }
    const metadata::Report report = metadata::Check(image, medium.at("meta").size());
    for (const metadata::Finding& finding : report.findings) {
      if (finding.kind == metadata::Finding::Kind::kUncertain ||
          finding.kind == metadata::Finding::Kind::kFatal) {
        return Wrong(point, "the check of the metadata says: " + finding.what);
      }
    }
    for (auto& [role, slice] : slices_) Store(slice.scratch, medium.at(role));
    auto volume = Volume::Create("crashed", std::string("SHADOW-") + sb->uuid, sb->nr_sectors,
                                 Parameters(*sb));
    if (!volume.ok()) return Wrong(point, volume.error().message);
    const std::string line = volume->StatusLine();
    if (line.find(" rw ") == std::string::npos) Wrong(point, "the volume is not writable:" + line);
    ++figures_.phases[sb->phase == SHADOW_STEADY      ? "steady"
                      : sb->phase == SHADOW_MIGRATING ? "migrating"
                                                      : "grace"];
    if (!options_.judge.empty()) {
      Ask(point, *volume);
    } else {
      Compare(point, *volume, *sb, line, finish);
    }
    if (const auto removed = volume->Remove(); !removed.ok()) {
      return Wrong(point, removed.error().message);
    }
    if (!failed_) AfterStop(point);
  }

  /// The volume goes on: what a program says of what is on it.
  void Ask(const Point& point, const Volume& volume) {
    if (notes_.empty()) return;  // no file system yet
    const std::string journal = "/tmp/crash-journal";
    std::string lines = notes_;
    std::replace(lines.begin(), lines.end(), ',', ' ');
    std::ofstream(journal, std::ios::trunc) << lines;
    const std::string command = options_.judge + " " + volume.path() + " " + journal + " 2>&1";
    FILE* answer = popen(command.c_str(), "r");
    if (answer == nullptr) io::Die("cannot start " + options_.judge + ".");
    std::string said;
    std::array<char, 512> part{};
    while (std::fgets(part.data(), part.size(), answer) != nullptr) said += part.data();
    ++figures_.judged;
    if (pclose(answer) != 0) Wrong(point, "the judge says: " + said);
  }

  /// What is read is what the model allows, and what each leg has.
  void Compare(const Point& point, const Volume& volume, const shadow_superblock& sb,
               const std::string& line, bool finish) {
    Read(point, volume, true);
    if (sb.phase != SHADOW_STEADY && !failed_) {
      for (const char* policy : {"origin", "balance", "balance"}) {
        if (const auto sent = volume.Message(std::string("read ") + policy); !sent.ok()) {
          return Wrong(point, sent.error().message);
        }
        Read(point, volume, false);
      }
    }
    if (sb.legs[SHADOW_LEG_TIER1].present && !failed_) EndShadows(point, volume, line);
    if (sb.phase == SHADOW_MIGRATING && finish && !failed_) Finish(point, volume, sb);
  }

  /// What shadows showed is what home shows when they have ended.
  void EndShadows(const Point& point, const Volume& volume, const std::string& line) {
    ++figures_.phases[line.find(":0:0 tier1_reads=") == std::string::npos ? "with shadows"
                                                                          : "tier without shadows"];
    const std::uint64_t blocks = (options_.sectors + options_.block - 1) / options_.block;
    if (const auto sent = volume.Message("demote 0+" + std::to_string(blocks)); !sent.ok()) {
      return Wrong(point, sent.error().message);
    }
    std::string now;
    for (int look = 0; look < 100000; ++look) {
      now = volume.StatusLine();
      if (now.find(" tier_queue=0 tier_inflight=0 ") != std::string::npos) break;
    }
    // The mover is idle before the last round has ended: forgetting waits for it.
    if (const auto sent = volume.Message("forget tier1"); !sent.ok()) {
      return Wrong(point, sent.error().message + ":" + volume.StatusLine());
    }
    Read(point, volume, false);
  }

  static void Store(const io::Device& device, const Bytes& bytes) {
    const io::Buffer aligned = io::MakeBuffer(bytes.size());
    std::memcpy(aligned.get(), bytes.data(), bytes.size());
    if (device.Write(0, static_cast<std::uint32_t>(bytes.size() / 512), aligned.get(), false) !=
        0) {
      io::Die("a scratch device cannot be written.");
    }
  }

  /// The first time: what the model allows; from then on what was seen has to stay.
  void Read(const Point& point, const Volume& volume, bool first) {
    const io::Device device(volume.path());
    if (first) values_.assign(device.sectors(), 0);
    for (std::uint64_t at = 0; at < device.sectors(); at += kStep) {
      const auto count =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(kStep, device.sectors() - at));
      if (device.Read(at, count, buffer_.get()) != 0) {
        return Wrong(point, "sector " + std::to_string(at) + " cannot be read");
      }
      for (std::uint32_t i = 0; i < count; ++i) {
        const auto value = io::ReadSector(buffer_.get() + i * io::kSector, at + i);
        const std::string what = "sector " + std::to_string(at + i) + " holds " + Name(value);
        if (!first && (!value || *value != values_[at + i])) {
          return Wrong(point, what + ", and held " + Name(values_[at + i]) + " a moment ago");
        }
        if (!first) continue;
        if (!value || !model_.Allows(at + i, *value)) {
          return Wrong(point, what + ", expected " + model_.Describe(at + i));
        }
        values_[at + i] = *value;
        if (model_.Ambiguous(at + i)) ++figures_.undecided;
      }
    }
    // A tail that the metadata does not know yet: nothing there may have been promised.
    for (std::uint64_t s = device.sectors(); first && s < options_.sectors; ++s) {
      if (!model_.Allows(s, 0)) return Wrong(point, "sector " + std::to_string(s) + " is gone");
    }
  }

  static std::string Name(const std::optional<std::uint32_t>& value) {
    if (!value) return "foreign data";
    return *value == 0 ? "zeroes" : "write " + std::to_string(*value);
  }

  /// The move goes on: what is copied now is what was seen.
  void Finish(const Point& point, const Volume& volume, const shadow_superblock& sb) {
    ++figures_.finished;
    const std::uint64_t blocks = shadow_nr_blocks(sb.nr_sectors, sb.block_sectors);
    Status sent = volume.Message("copy 0+" + std::to_string(blocks));
    for (int wait = 0; sent.ok(); ++wait) {
      const std::string line = volume.StatusLine();
      const auto none = [&line](const char* key) {
        return line.find(std::string(" ") + key + "=0 ") != std::string::npos;
      };
      if (none("queue") && none("inflight") && none("copying")) break;
      if (wait == 6000) return Wrong(point, "the copy does not end:" + line);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (sent.ok()) sent = volume.Message("cutover");
    if (!sent.ok()) return Wrong(point, sent.error().message);
    Read(point, volume, false);
  }

  /// Stopped in order: nothing may be left to complain about.
  void AfterStop(const Point& point) {
    const io::Device& device = slices_.at("meta").scratch;
    const auto count = static_cast<std::uint32_t>(device.sectors());
    const io::Buffer aligned = io::MakeBuffer(std::size_t{count} * 512);
    if (device.Read(0, count, aligned.get()) != 0) io::Die("the metadata cannot be read.");
    const metadata::Image image(Bytes(aligned.get(), aligned.get() + std::size_t{count} * 512));
    const metadata::Report report = metadata::Check(image, std::size_t{count} * 512);
    if (report.Clean()) return;
    for (const metadata::Finding& finding : report.findings) {
      if (finding.kind != metadata::Finding::Kind::kNote) {
        return Wrong(point,
                     "after the volume was stopped the metadata's check says: " + finding.what);
      }
    }
  }

  const Options& options_;
  const Log& log_;
  std::map<std::string, Slice> slices_;
  io::Model model_;
  io::Buffer buffer_;
  std::vector<std::uint32_t> values_;  // by sector: what the point's first read saw
  std::size_t at_ = 0;
  bool acknowledged_ = false, live_ = false, failed_ = false;
  std::string where_;  // the script's last mark
  std::string notes_;  // of file_io
  Figures figures_;
};

int Junk(const std::string& path) {
  const io::Device device(path);
  const io::Buffer junk = io::MakeBuffer(std::size_t{8} * 512);
  std::memset(junk.get(), kJunk, std::size_t{8} * 512);
  for (std::uint64_t at = 0; at + 8 <= device.sectors(); at += 8) {
    if (device.Write(at, 8, junk.get(), false) != 0) io::Die("cannot write to " + path + ".");
  }
  return kRight;
}

/// Until it is killed.
int KeepFlushing(const std::string& path) {
  const io::Device device(path);
  for (;;) {
    if (device.Flush() != 0) io::Die("cannot flush " + path + ".");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int Main(int argc, char** argv) {
  CLI::App app{"Cuts the power at many points of a dm-log-writes log and checks the volume."};
  Options o;
  std::vector<std::string> slices, junk;
  std::string junk_device, flushed;
  app.add_option("--log", o.log, "Log device whose recording has ended");
  app.add_option("--name", o.name, "What to call the log");
  app.add_option("--slice", slices,
                 "ROLE:FIRST:SECTORS on the logged device; org, tgt, meta and t1");
  app.add_option("--junk", junk, "Roles that held junk when the log began (default zeroes)");
  app.add_option("--sectors", o.sectors, "Length of the volume at its longest");
  app.add_option("--scratch", o.scratch, "Prefix of the scratch devices (default /dev/x)");
  app.add_option("--points", o.points, "Distinct crash points to judge (default 60)");
  app.add_option("--judge", o.judge,
                 "Command that looks at a volume: it gets the device and file_io's journal");
  app.add_option("--seed", o.seed, "Of all choices (default 1)");
  const std::map<std::string, Plant> kPlants = {{"drop-flushed", Plant::kDropFlushed},
                                                {"stale-metadata", Plant::kStale}};
  app.add_option("--plant", o.plant, "A fault that has to be found: drop-flushed, stale-metadata")
      ->transform(CLI::CheckedTransformer(kPlants));
  app.add_option("--write-junk", junk_device, "Only fill this device as --junk means it");
  app.add_option("--keep-flushing", flushed, "Only flush this device, 50 times a second");
  app.footer("Exit status: 0 every point was right, 1 one was wrong, 2 usage or environment.");
  try {
    app.parse(argc, argv);
    for (const std::string& text : slices) {
      char role[8];
      unsigned long long first = 0, count = 0;
      if (std::sscanf(text.c_str(), "%7[a-z0-9]:%llu:%llu", role, &first, &count) != 3) {
        throw CLI::ValidationError("--slice", "wants ROLE:FIRST:SECTORS, not " + text);
      }
      o.slices[role] = {first, count};
    }
    for (const char* role : kRoles) {
      if (junk_device.empty() && flushed.empty() && !o.slices.contains(role)) {
        throw CLI::ValidationError("--slice", std::string("is missing for ") + role);
      }
    }
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kRight : kUsage;
  }
  if (!junk_device.empty()) return Junk(junk_device);
  if (!flushed.empty()) return KeepFlushing(flushed);
  o.junk.insert(junk.begin(), junk.end());
  const auto log = LoadLog(o.log);
  if (!log.ok()) io::Die(log.error().ToString());
  const Figures f = Replay(o, *log).Run();
  const auto phase = [&f](const char* name) {
    const auto found = f.phases.find(name);
    return found == f.phases.end() ? std::size_t{0} : found->second;
  };
  std::printf(
      "%s: %zu entries, %zu points at %zu positions (%zu steady, %zu migrating, %zu grace, "
      "%zu before the format), %zu moved on, %zu sectors undecided, %zu judged, %zu wrong\n",
      o.name.c_str(), log->entries.size(), f.points, f.positions, phase("steady"),
      phase("migrating"), phase("grace"), f.unformatted, f.finished, f.undecided, f.judged,
      f.wrong);
  return f.wrong == 0 ? kRight : kWrong;
}

}  // namespace
}  // namespace shadow::crash

int main(int argc, char** argv) { return shadow::crash::Main(argc, argv); }
