// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/libdm.h"

#include <fcntl.h>
#include <libdevmapper.h>
#include <linux/dm-ioctl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

namespace shadow {
namespace {

constexpr std::chrono::seconds kUdevWait{10};
constexpr const char* kControl = "/dev/mapper/control";
constexpr const char* kModuleHint = "load it with modprobe dm_shadow";

// What libdevmapper complained about last, in this thread's task.
thread_local std::string last_complaint;

void LogLine(int level, const char* file, int line, int /*dm_errno*/, const char* format, ...) {
  std::array<char, 512> text{};
  va_list args;
  va_start(args, format);
  std::vsnprintf(text.data(), text.size(), format, args);
  va_end(args);
  // The level carries flags (log to stderr, once) above its low three bits; 0..3 are errors.
  if ((level & 7) <= 3) last_complaint = text.data();
  if ((level & 7) <= 4) {
    spdlog::debug("libdevmapper: {} ({}:{})", text.data(), file, line);
  } else {
    spdlog::trace("libdevmapper: {}", text.data());
  }
}

// Listens to the kernel's log during an ioctl: a refusal's one sentence is only said there.
class KernelVoice {
 public:
  KernelVoice() : fd_(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC)) {}
  ~KernelVoice() {
    if (fd_ >= 0) close(fd_);
  }
  KernelVoice(const KernelVoice&) = delete;
  KernelVoice& operator=(const KernelVoice&) = delete;

  // Forgets what was said before.
  void Listen() const {
    if (fd_ >= 0) lseek(fd_, 0, SEEK_END);
  }

  // The last sentence the shadow target (or device mapper about it) said since Listen().
  std::string Said() const {
    std::string said;
    if (fd_ < 0) return said;
    std::array<char, 2048> record{};
    for (int i = 0; i < 200; ++i) {
      const ssize_t n = read(fd_, record.data(), record.size());
      if (n < 0 && errno == EPIPE) continue;
      if (n <= 0) break;
      std::string line(record.data(), static_cast<std::size_t>(n));
      const std::size_t text = line.find(';');
      line = line.substr(0, line.find('\n'));
      if (text == std::string::npos || text >= line.size()) continue;
      line = line.substr(text + 1);
      if (line.find("shadow") != std::string::npos) said = line;
    }
    constexpr std::string_view kPrefix = "device-mapper: ";
    if (said.rfind(kPrefix, 0) == 0) said = said.substr(kPrefix.size());
    return said;
  }

 private:
  int fd_;
};

struct TaskDeleter {
  void operator()(dm_task* task) const { dm_task_destroy(task); }
};
using Task = std::unique_ptr<dm_task, TaskDeleter>;

class LibDeviceMapper final : public DeviceMapper {
 public:
  explicit LibDeviceMapper(LibDmOptions options) : udev_(options.udev) {
    dm_log_with_errno_init(LogLine);
    dm_log_init_verbose(0);
    dm_udev_set_sync_support(udev_ ? 1 : 0);
    dm_udev_set_checking(udev_ ? 1 : 0);
    // A UUID we did not make must not get LVM's prefix treatment.
    dm_set_name_mangling_mode(DM_STRING_MANGLING_NONE);
    dm_hold_control_dev(1);
  }
  ~LibDeviceMapper() override {
    if (event_fd_ >= 0) close(event_fd_);
  }

  Status CheckControl() override {
    const int fd = open(kControl, O_RDWR | O_CLOEXEC);
    if (fd >= 0) {
      close(fd);
      return Ok();
    }
    // Without udev the node may be missing although the driver is there: libdevmapper makes it.
    const int open_error = errno;
    if (open_error == EACCES || open_error == EPERM) {
      return MakeError(Code::kPermissionDenied, "Device mapper may not be used by this user.",
                       "run shadowd as root");
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    Task task(dm_task_create(DM_DEVICE_VERSION));
    if (task && dm_task_run(task.get()) != 0) return Ok();
    return MakeError(
        Code::kUnavailable,
        std::string("This kernel offers no device mapper: ") + std::strerror(open_error) + ".",
        "load it with modprobe dm-mod");
  }

  Result<std::string> TargetVersion() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Task task(dm_task_create(DM_DEVICE_LIST_VERSIONS));
    if (!task || dm_task_run(task.get()) == 0) {
      return MakeError(Code::kUnavailable, "Device mapper does not answer.",
                       "load it with modprobe dm-mod, and run shadowd as root");
    }
    const dm_versions* v = dm_task_get_versions(task.get());
    while (v != nullptr) {
      if (std::strcmp(v->name, "shadow") == 0) {
        return std::to_string(v->version[0]) + "." + std::to_string(v->version[1]) + "." +
               std::to_string(v->version[2]);
      }
      if (v->next == 0) break;
      v = reinterpret_cast<const dm_versions*>(reinterpret_cast<const char*>(v) + v->next);
    }
    return MakeError(Code::kUnavailable, "The kernel module dm_shadow is not loaded.", kModuleHint);
  }

  Status Create(const std::string& name, const std::string& uuid, std::uint64_t sectors,
                const std::string& params) override {
    Request r{DM_DEVICE_CREATE, name, "create"};
    r.uuid = uuid;
    r.sectors = sectors;
    r.params = params;
    r.cookie = true;
    return Run(r);
  }

  Status Load(const std::string& name, std::uint64_t sectors, const std::string& params) override {
    Request r{DM_DEVICE_RELOAD, name, "load a table for"};
    r.sectors = sectors;
    r.params = params;
    return Run(r);
  }

  Status ClearInactive(const std::string& name) override {
    return Run({DM_DEVICE_CLEAR, name, "clear the table of"});
  }
  Status Suspend(const std::string& name) override {
    return Run({DM_DEVICE_SUSPEND, name, "suspend"});
  }
  Status Resume(const std::string& name) override {
    Request r{DM_DEVICE_RESUME, name, "resume"};
    r.cookie = true;
    return Run(r);
  }
  Status Remove(const std::string& name) override {
    Request r{DM_DEVICE_REMOVE, name, "remove"};
    r.cookie = true;
    r.retry = true;  // udev and its helpers open every device for a moment
    return Run(r);
  }

  Result<std::string> Message(const std::string& name, const std::string& text) override {
    Request r{DM_DEVICE_TARGET_MSG, name, "send a message to"};
    r.message = text;
    std::string answer;
    r.answer = &answer;
    SHADOW_TRY(Run(r));
    return answer;
  }

  Result<DmTarget> StatusOf(const std::string& name) override {
    return TargetLine(DM_DEVICE_STATUS, name);
  }
  Result<DmTarget> TableOf(const std::string& name) override {
    return TargetLine(DM_DEVICE_TABLE, name);
  }

  Result<DmInfo> Info(const std::string& name) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return InfoLocked(name);
  }

  Result<std::vector<DmInfo>> List(const std::string& uuid_prefix) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    Task task(dm_task_create(DM_DEVICE_LIST));
    if (!task || dm_task_run(task.get()) == 0) {
      return MakeError(Code::kUnavailable, "Device mapper does not answer.",
                       "load it with modprobe dm-mod, and run shadowd as root");
    }
    std::vector<std::string> names;
    const dm_names* n = dm_task_get_names(task.get());
    while (n != nullptr && n->dev != 0) {
      names.emplace_back(n->name);
      if (n->next == 0) break;
      n = reinterpret_cast<const dm_names*>(reinterpret_cast<const char*>(n) + n->next);
    }
    std::vector<DmInfo> found;
    for (const std::string& name : names) {
      auto info = InfoLocked(name);
      if (info.ok() && info->uuid.rfind(uuid_prefix, 0) == 0) found.push_back(*info);
    }
    return found;
  }

  // One thread only: the daemon's event loop.
  Result<bool> WaitEvent(std::int64_t timeout_ms) override {
    if (event_fd_ < 0) {
      event_fd_ = open(kControl, O_RDWR | O_CLOEXEC);
      if (event_fd_ < 0) {
        return MakeError(Code::kUnavailable, "Device mapper's control device cannot be opened.");
      }
    }
    pollfd p{event_fd_, POLLIN, 0};
    const int ready = poll(&p, 1, static_cast<int>(timeout_ms));
    if (ready <= 0) return false;
    dm_ioctl arm{};
    arm.version[0] = DM_VERSION_MAJOR;
    arm.data_size = sizeof(arm);
    if (ioctl(event_fd_, DM_DEV_ARM_POLL, &arm) != 0) {
      return MakeError(Code::kUnavailable, "This kernel's device mapper cannot be polled.");
    }
    return true;
  }

 private:
  struct Request {
    int type;
    const std::string& name;
    const char* verb;
    std::string uuid = {};
    std::uint64_t sectors = 0;
    std::string params = {};
    std::string message = {};
    std::string* answer = nullptr;
    bool cookie = false;
    bool retry = false;  // while it is busy, for 5 s
  };

  Status Run(const Request& r) {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_complaint.clear();
    Task task(dm_task_create(r.type));
    if (!task) return Failure(r, ENOMEM, "");
    bool ok = dm_task_set_name(task.get(), r.name.c_str()) != 0;
    if (!r.uuid.empty()) ok = ok && dm_task_set_uuid(task.get(), r.uuid.c_str()) != 0;
    if (r.sectors != 0) {
      ok = ok && dm_task_add_target(task.get(), 0, r.sectors, "shadow", r.params.c_str()) != 0;
    }
    if (!r.message.empty()) {
      ok = ok && dm_task_set_sector(task.get(), 0) != 0 &&
           dm_task_set_message(task.get(), r.message.c_str()) != 0;
    }
    // No file system is frozen for a table swap: state and data stay where they are.
    ok = ok && dm_task_skip_lockfs(task.get()) != 0;
    if (!udev_) dm_task_set_add_node(task.get(), DM_ADD_NODE_ON_CREATE);
    if (r.retry && ok) ok = dm_task_retry_remove(task.get()) != 0;
    std::uint32_t cookie = 0;
    if (r.cookie && ok) {
      ok = dm_task_set_cookie(task.get(), &cookie, 0) != 0;
    }
    if (!ok) {
      if (r.cookie) WaitForUdev(cookie);
      return Failure(r, EINVAL, "");
    }
    kernel_.Listen();
    const bool done = dm_task_run(task.get()) != 0;
    const int error = dm_task_get_errno(task.get());
    if (done && r.answer != nullptr) {
      const char* text = dm_task_get_message_response(task.get());
      if (text != nullptr) *r.answer = text;
    }
    if (r.cookie) WaitForUdev(cookie);
    if (!udev_) dm_task_update_nodes();
    if (!done) return Failure(r, error, kernel_.Said());
    return Ok();
  }

  // udev may be stuck in a rule for a device that does not answer. What was done to the device is
  // done; only its node and links may be late.
  void WaitForUdev(std::uint32_t cookie) {
    if (cookie == 0) return;  // there is no udev: libdevmapper made nothing to wait for
    late_cookies_.push_back(cookie);
    const auto deadline = std::chrono::steady_clock::now() + kUdevWait;
    auto nap = std::chrono::microseconds(200);
    while (true) {
      // Older ones are looked at, too: a semaphore is given back when its wait is over.
      std::erase_if(late_cookies_, [](std::uint32_t c) {
        int ready = 0;
        return dm_udev_wait_immediate(c, &ready) == 0 || ready != 0;
      });
      if (late_cookies_.empty() || late_cookies_.back() != cookie) return;
      if (std::chrono::steady_clock::now() >= deadline) break;
      std::this_thread::sleep_for(nap);
      nap = std::min(nap * 2, std::chrono::microseconds(20'000));
    }
    spdlog::warn("udev has not answered for {} s; its links may be late", kUdevWait.count());
  }

  static Error Failure(const Request& r, int error, const std::string& said) {
    std::string why = said;
    if (why.empty()) why = error != 0 ? std::strerror(error) : last_complaint;
    const std::string message =
        std::string("Device mapper did not ") + r.verb + " " + r.name + ": " + why + ".";
    spdlog::debug("{} [{}]", message, last_complaint);
    switch (error) {
      case ENXIO:
      case ENODEV:
        return MakeError(Code::kNotFound, message);
      case EPERM:
      case EACCES:
        return MakeError(Code::kPermissionDenied, message, "run shadowd as root");
      case EIO:
        return MakeError(Code::kIoError, message);
      case ENOSPC:
        return MakeError(Code::kOutOfSpace, message);
      case ENOMEM:
        return MakeError(Code::kUnavailable, message, "free some memory");
      default:
        return MakeError(Code::kFailedPrecondition, message);
    }
  }

  Result<DmTarget> TargetLine(int type, const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    last_complaint.clear();
    Task task(dm_task_create(type));
    if (!task || dm_task_set_name(task.get(), name.c_str()) == 0 ||
        dm_task_no_flush(task.get()) == 0 || dm_task_run(task.get()) == 0) {
      const int error = task ? dm_task_get_errno(task.get()) : ENOMEM;
      return Failure({type, name, "show"}, error, "");
    }
    dm_info info{};
    if (dm_task_get_info(task.get(), &info) == 0 || info.exists == 0) {
      return MakeError(Code::kNotFound, "There is no device-mapper device " + name + ".");
    }
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    char* target_type = nullptr;
    char* params = nullptr;
    dm_get_next_target(task.get(), nullptr, &start, &length, &target_type, &params);
    if (target_type == nullptr) {
      return MakeError(Code::kNotFound, "The device-mapper device " + name + " has no table.");
    }
    return DmTarget{length, target_type, params != nullptr ? params : ""};
  }

  Result<DmInfo> InfoLocked(const std::string& name) {
    Task task(dm_task_create(DM_DEVICE_INFO));
    dm_info info{};
    if (!task || dm_task_set_name(task.get(), name.c_str()) == 0 || dm_task_run(task.get()) == 0 ||
        dm_task_get_info(task.get(), &info) == 0) {
      const int error = task ? dm_task_get_errno(task.get()) : ENOMEM;
      return Failure({DM_DEVICE_INFO, name, "describe"}, error, "");
    }
    if (info.exists == 0) {
      return MakeError(Code::kNotFound, "There is no device-mapper device " + name + ".");
    }
    const char* uuid = dm_task_get_uuid(task.get());
    return DmInfo{name,
                  uuid != nullptr ? uuid : "",
                  info.major,
                  info.minor,
                  info.open_count,
                  info.suspended != 0,
                  info.live_table != 0,
                  info.inactive_table != 0};
  }

  const bool udev_;
  std::vector<std::uint32_t> late_cookies_;  // of udev waits; those that were given up stay here
  const KernelVoice kernel_;
  std::mutex mutex_;
  int event_fd_ = -1;
};

}  // namespace

std::unique_ptr<DeviceMapper> MakeLibDeviceMapper(LibDmOptions options) {
  return std::make_unique<LibDeviceMapper>(options);
}

bool UdevIsRunning() { return access("/run/udev/control", F_OK) == 0; }

}  // namespace shadow
