// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/dm_helper.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "daemon/dm/isolated_io.h"

namespace shadow {
namespace {

using nlohmann::json;

// A map of a volume of 2^32 blocks in runs fits; more is no message of ours.
constexpr std::uint32_t kMostBytes = 256U << 20;

bool WriteAll(int fd, const void* data, std::size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = send(fd, at, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool ReadAll(int fd, void* data, std::size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = recv(fd, at, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

// Length, then text.
bool WriteFrame(int fd, const json& j) {
  const std::string text = j.dump(-1, ' ', false, json::error_handler_t::replace);
  const auto size = static_cast<std::uint32_t>(text.size());
  return text.size() <= kMostBytes && WriteAll(fd, &size, sizeof(size)) &&
         WriteAll(fd, text.data(), text.size());
}

json ReadFrame(int fd) {
  std::uint32_t size = 0;
  if (!ReadAll(fd, &size, sizeof(size)) || size > kMostBytes) return json::value_t::discarded;
  std::string text(size, '\0');
  if (!ReadAll(fd, text.data(), size)) return json::value_t::discarded;
  return json::parse(text, nullptr, false);
}

Result<std::string> Perform(const HelperTools& tools, const DmRequest& r) {
  if (!r.name.empty() && r.name[0] == '/' && tools.guard && tools.blocks) {
    return PerformLook(*tools.guard, *tools.blocks, r);
  }
  DeviceMapper& dm = *tools.dm;
  const auto plain = [](const Status& s) -> Result<std::string> {
    if (!s.ok()) return s.error();
    return std::string();
  };
  if (r.op == "create") return plain(dm.Create(r.name, r.uuid, r.sectors, r.text));
  if (r.op == "load") return plain(dm.Load(r.name, r.sectors, r.text));
  if (r.op == "clear") return plain(dm.ClearInactive(r.name));
  if (r.op == "suspend") return plain(dm.Suspend(r.name));
  if (r.op == "resume") return plain(dm.Resume(r.name));
  if (r.op == "remove") return plain(dm.Remove(r.name));
  if (r.op == "message") return dm.Message(r.name, r.text);
  return MakeError(Code::kInternal, "A helper knows no " + r.op + ".");
}

// Sends `fd` along with one byte.
bool SendFd(int socket, int fd) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr m{};
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(c), &fd, sizeof(int));
  return sendmsg(socket, &m, MSG_NOSIGNAL) == 1;
}

// The descriptor that came, or -1 at the end.
int ReceiveFd(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr m{};
  m.msg_iov = &data;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  ssize_t n = 0;
  do {
    n = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  const cmsghdr* c = n == 1 ? CMSG_FIRSTHDR(&m) : nullptr;
  if (c == nullptr || c->cmsg_type != SCM_RIGHTS) return -1;
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(c), sizeof(int));
  return fd;
}

[[noreturn]] void RunHelper(int socket, const DmNursery::MakeFn& make) {
  (void)prctl(PR_SET_NAME, "shadowd-dm");
  const auto pid = static_cast<std::uint32_t>(getpid());
  if (!WriteAll(socket, &pid, sizeof(pid))) _exit(0);
  ServeRequests(socket, make());
  _exit(0);
}

[[noreturn]] void RunNursery(int socket, const DmNursery::MakeFn& make) {
  (void)prctl(PR_SET_NAME, "shadowd-nursery");
  // A stop of the service is told to every process of it. These end when the daemon has ended.
  for (int s : {SIGTERM, SIGINT, SIGHUP}) signal(s, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);  // helpers are reaped by the kernel
  while (true) {
    const int fd = ReceiveFd(socket);
    if (fd < 0) _exit(0);
    if (fork() == 0) {
      close(socket);
      signal(SIGCHLD, SIG_DFL);
      RunHelper(fd, make);
    }
    close(fd);
  }
}

Error Gone() {
  return MakeError(Code::kUnavailable, "The process that talks to device mapper is gone.",
                   "try again; restart shadowd if it goes on");
}

}  // namespace

void ServeRequests(int socket, const HelperTools& tools) {
  while (true) {
    const json j = ReadFrame(socket);
    if (!j.is_object()) return;
    const DmRequest r{j.value("op", ""), j.value("name", ""), j.value("uuid", ""),
                      j.value("sectors", std::uint64_t{0}), j.value("text", "")};
    const auto done = Perform(tools, r);
    const json answer = done.ok() ? json{{"answer", *done}}
                                  : json{{"code", static_cast<int>(done.error().code)},
                                         {"message", done.error().message},
                                         {"hint", done.error().hint}};
    if (!WriteFrame(socket, answer)) return;
  }
}

DmHelper::~DmHelper() { close(socket_); }

Status DmHelper::Send(const DmRequest& r) {
  const json j = {
      {"op", r.op}, {"name", r.name}, {"uuid", r.uuid}, {"sectors", r.sectors}, {"text", r.text}};
  return WriteFrame(socket_, j) ? Ok() : Status(Gone());
}

bool DmHelper::Ready(int timeout_ms) const {
  pollfd p{socket_, POLLIN, 0};
  return poll(&p, 1, timeout_ms) > 0;
}

Result<std::string> DmHelper::Receive() {
  const json j = ReadFrame(socket_);
  if (!j.is_object()) return Gone();
  if (j.contains("answer")) return j.value("answer", "");
  const int code = j.value("code", static_cast<int>(Code::kInternal));
  return MakeError(static_cast<Code>(code), j.value("message", ""), j.value("hint", ""));
}

// It holds its end of the socket, so its number is not another process's.
void DmHelper::Kill() const { (void)kill(pid_, SIGKILL); }

Result<std::unique_ptr<DmNursery>> DmNursery::Start(const MakeFn& make) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return MakeError(Code::kUnavailable, std::string("No socket: ") + std::strerror(errno) + ".");
  }
  const pid_t pid = fork();
  if (pid == 0) {
    close(ends[0]);
    RunNursery(ends[1], make);
  }
  const int error = errno;
  close(ends[1]);
  if (pid > 0) return std::unique_ptr<DmNursery>(new DmNursery(ends[0], pid));
  close(ends[0]);
  return MakeError(Code::kUnavailable,
                   std::string("No process for device mapper: ") + std::strerror(error) + ".");
}

DmNursery::~DmNursery() {
  close(socket_);
  // It waits for nothing but the socket.
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Result<std::unique_ptr<DmHelper>> DmNursery::Spawn() {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return MakeError(Code::kUnavailable, std::string("No socket: ") + std::strerror(errno) + ".");
  }
  bool asked = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    asked = SendFd(socket_, ends[1]);
  }
  close(ends[1]);
  std::uint32_t pid = 0;
  if (asked && ReadAll(ends[0], &pid, sizeof(pid))) {
    return std::make_unique<DmHelper>(ends[0], static_cast<pid_t>(pid));
  }
  close(ends[0]);
  return Gone();
}

}  // namespace shadow
