// SPDX-License-Identifier: Apache-2.0
// dm_storm NAME [--option=value...] -- TABLE...: everything that device mapper may be asked of one
// device, from many processes at once, in random order. Whether an operation succeeds is the
// kernel's business; that each comes back, and that nothing breaks, is what is tested. The last
// line counts what was done and what of it succeeded. Exit status 0; 1 if a process died; 2 bad
// usage.
#include <libdevmapper.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Storm {
  std::string name, uuid;
  std::vector<std::string> tables;  // the first one is what a device is created with
  double seconds = 10;
  unsigned seed = 1;
  unsigned changers = 1;  // tasks that load, suspend, resume
  bool clear = true;      // inactive tables
  bool remove = false;    // and created again: I/O then fails now and then
};

constexpr std::array kMessages = {"map",
                                  "access",
                                  "tiers",
                                  "copy 0+16",
                                  "clear",
                                  "retire 0+4",
                                  "fill 0+8",
                                  "remirror 0+4",
                                  "limit rate 0",
                                  "limit inflight 4096",
                                  "pause",
                                  "resume",
                                  "read balance",
                                  "read target",
                                  "cutover",
                                  "rollback",
                                  "abort",
                                  "commit",
                                  "sync",
                                  "promote tier1 0+8",
                                  "demote 0+8",
                                  "writeback 0+8",
                                  "fetch tier1",
                                  "fetch off",
                                  "mode tier1 writeback",
                                  "forget tier1",
                                  "mode tier1 writethrough",
                                  "nonsense 1 2 3"};

struct Counts {
  std::uint64_t done = 0, succeeded = 0;
};

/// What every child leaves behind when it ends.
void Quiet(int, const char*, int, int, const char*, ...) {}

template <class Setup>
bool Run(int type, const std::string& name, Setup setup) {
  dm_task* task = dm_task_create(type);
  bool done = task != nullptr && dm_task_set_name(task, name.c_str()) != 0 && setup(task);
  // a suspend must not wait for a file system, and no node is looked for
  if (done) dm_task_skip_lockfs(task);
  done = done && dm_task_run(task) != 0;
  if (task != nullptr) dm_task_destroy(task);
  return done;
}

bool AddTable(dm_task* task, const std::string& table) {
  std::uint64_t start = 0, length = 0;
  char type[16];
  int used = 0;
  if (std::sscanf(table.c_str(), "%" SCNu64 " %" SCNu64 " %15s %n", &start, &length, type, &used) !=
      3)
    return false;
  return dm_task_add_target(task, start, length, type, table.c_str() + used) != 0;
}

class Child {
 public:
  Child(const Storm& storm, unsigned number)
      : storm_(storm), number_(number), random_(storm.seed * 1000 + number) {}

  Counts Play() {
    const auto end = Clock::now() + std::chrono::duration<double>(storm_.seconds);
    while (Clock::now() < end) {
      counts_.done++;
      counts_.succeeded += number_ < storm_.changers ? Change() : Look();
    }
    return counts_;
  }

 private:
  unsigned Dice(unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random_); }
  std::string Name() { return Dice(2) != 0 ? storm_.name : storm_.name + "-renamed"; }
  static bool Nothing(dm_task*) { return true; }

  bool Look() {
    switch (Dice(8)) {
      case 0:
        return Run(DM_DEVICE_INFO, Name(), Nothing);
      case 1:
        return Run(DM_DEVICE_TABLE, Name(), Nothing);
      case 2:
        return Run(DM_DEVICE_DEPS, Name(), Nothing);
      case 3:
      case 4:
        return Run(DM_DEVICE_TARGET_MSG, Name(), [&](dm_task* t) {
          return dm_task_set_sector(t, 0) != 0 &&
                 dm_task_set_message(t, kMessages[Dice(kMessages.size())]) != 0;
        });
      case 5:
        return Run(DM_DEVICE_STATUS, Name(),
                   [](dm_task* t) { return dm_task_query_inactive_table(t) != 0; });
      default:
        return Run(DM_DEVICE_STATUS, Name(), Nothing);
    }
  }

  bool Change() {
    switch (Dice(storm_.remove ? 9 : 8)) {
      case 0:
      case 1:
        return Run(DM_DEVICE_RELOAD, Name(), [&](dm_task* t) {
          return AddTable(t, storm_.tables[Dice(static_cast<unsigned>(storm_.tables.size()))]);
        });
      case 2:
        return Run(DM_DEVICE_SUSPEND, Name(), Nothing);
      case 3:
      case 4:
      case 5:
        return Run(DM_DEVICE_RESUME, Name(), Nothing);
      case 6:
        return storm_.clear && Run(DM_DEVICE_CLEAR, Name(), Nothing);
      case 7: {
        const bool forth = Dice(2) != 0;
        const std::string other = storm_.name + "-renamed";
        return Run(DM_DEVICE_RENAME, forth ? storm_.name : other, [&](dm_task* t) {
          return dm_task_set_newname(t, (forth ? other : storm_.name).c_str()) != 0;
        });
      }
      default:
        Run(DM_DEVICE_REMOVE, Name(), Nothing);
        return Run(DM_DEVICE_CREATE, storm_.name, [&](dm_task* t) {
          return dm_task_set_uuid(t, storm_.uuid.c_str()) != 0 && AddTable(t, storm_.tables[0]);
        });
    }
  }

  const Storm& storm_;
  unsigned number_;
  std::mt19937 random_;
  Counts counts_;
};

constexpr char kUsage[] =
    R"(Usage: dm_storm NAME [--seconds=N] [--seed=N] [--tasks=N] [--changers=N] [--no-clear] [--remove]
                [--uuid=UUID] -- TABLE...

The changers (one) of the tasks load, clear, suspend, resume and rename (with --remove: remove and create, too),
the others ask for status, tables, dependencies, and send messages.
)";

int Usage(bool asked) {
  std::fputs(kUsage, asked ? stdout : stderr);
  return asked ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || std::strcmp(argv[1], "--help") == 0) return Usage(argc >= 2);
  Storm storm;
  storm.name = argv[1];
  unsigned tasks = 8;
  int i = 2;
  for (; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    const std::string argument = argv[i];
    const std::string value = argument.substr(argument.find('=') + 1);
    if (argument.rfind("--seconds=", 0) == 0)
      storm.seconds = std::atof(value.c_str());
    else if (argument.rfind("--seed=", 0) == 0)
      storm.seed = static_cast<unsigned>(std::atoi(value.c_str()));
    else if (argument.rfind("--tasks=", 0) == 0)
      tasks = static_cast<unsigned>(std::atoi(value.c_str()));
    else if (argument.rfind("--changers=", 0) == 0)
      storm.changers = static_cast<unsigned>(std::atoi(value.c_str()));
    else if (argument.rfind("--uuid=", 0) == 0)
      storm.uuid = value;
    else if (argument == "--no-clear")
      storm.clear = false;
    else if (argument == "--remove")
      storm.remove = true;
    else
      return Usage(false);
  }
  for (++i; i < argc; ++i) storm.tables.emplace_back(argv[i]);
  if (storm.tables.empty() || tasks < 3) return Usage(false);
  dm_udev_set_sync_support(0);
  dm_log_with_errno_init(Quiet);

  int results[2];
  if (pipe(results) != 0) return 1;
  for (unsigned n = 0; n < tasks; ++n)
    if (fork() == 0) {
      const Counts counts = Child(storm, n).Play();
      const bool told = write(results[1], &counts, sizeof(counts)) == sizeof(counts);
      _exit(told ? 0 : 1);
    }
  bool good = true;
  Counts all;
  for (unsigned n = 0; n < tasks; ++n) {
    int status = 0;
    good = wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 && good;
  }
  close(results[1]);
  for (Counts one; read(results[0], &one, sizeof(one)) == sizeof(one);) {
    all.done += one.done;
    all.succeeded += one.succeeded;
  }
  std::printf("%" PRIu64 " operations, %" PRIu64 " succeeded\n", all.done, all.succeeded);
  return good ? 0 : 1;
}
