// SPDX-License-Identifier: Apache-2.0
#include "daemon/rpc/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "daemon/rpc/errors.h"

namespace shadow::rpc {
namespace {

/// errno of a connect() to `path`; 0 when it was accepted.
int TryConnect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return ENAMETOOLONG;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return errno;
  const int rc = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = rc == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

Error CannotMake(const std::string& what, int error) {
  const bool permission = error == EACCES || error == EPERM;
  return MakeError(permission ? Code::kPermissionDenied : Code::kIoError,
                   what + ": " + std::strerror(error) + ".",
                   permission ? "Run shadowd as root, or configure a socket it may make."
                              : "Configure another path for the socket.");
}

}  // namespace

Status PrepareToListen(const std::string& path) {
  if (path.empty() || path[0] != '/' || path.find('\0') != std::string::npos) {
    return MakeError(Code::kInvalidArgument, "The socket " + Quote(path) + " is no absolute path.",
                     "Use for example /run/dm-shadow/shadowd.sock.");
  }
  if (path.size() >= sizeof(sockaddr_un::sun_path)) {
    return MakeError(Code::kInvalidArgument,
                     "The path of the socket " + Quote(path) + " is too long.",
                     "Use at most 107 characters.");
  }
  const std::string folder = path.substr(0, path.rfind('/'));
  if (!folder.empty() && ::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return CannotMake("The folder " + folder + " for the socket cannot be made", errno);
  }
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno != ENOENT) return CannotMake("The socket " + path + " cannot be looked at", errno);
  } else {
    if (!S_ISSOCK(st.st_mode)) {
      return MakeError(Code::kInvalidArgument, path + " exists and is not a socket.",
                       "Remove it, or configure another path.");
    }
    const int error = TryConnect(path);
    if (error == 0 || error == EAGAIN || error == EINPROGRESS) {
      return MakeError(Code::kUnavailable, "Another daemon already serves " + path + ".",
                       "Stop it first; `systemctl status shadowd` shows it.");
    }
    if (::unlink(path.c_str()) != 0) {
      return CannotMake("The old socket " + path + " cannot be removed", errno);
    }
  }
  if (::access(folder.empty() ? "/" : folder.c_str(), W_OK | X_OK) != 0) {
    return CannotMake("The socket " + path + " cannot be made", errno);
  }
  return Ok();
}

Status ProbeSocket(const std::string& path) {
  const int error = TryConnect(path);
  switch (error) {
    case 0:
    case EAGAIN:
    case EINPROGRESS:
      return Ok();
    case EACCES:
    case EPERM:
      return MakeError(Code::kPermissionDenied, "You may not use the socket " + path + ".",
                       "Run the command as root, for example with sudo.");
    case ENOENT:
    case ENOTDIR:
      return MakeError(
          Code::kUnavailable, "The daemon is not running: there is no " + path + ".",
          "Start it with `systemctl start shadowd`, or name its socket with --socket.");
    case ECONNREFUSED:
      return MakeError(Code::kUnavailable,
                       "The daemon is not running: nobody answers on " + path + ".",
                       "Start it with `systemctl start shadowd`.");
    case ENAMETOOLONG:
      return MakeError(Code::kInvalidArgument,
                       "The path of the socket " + Quote(path) + " is too long.",
                       "Use at most 107 characters.");
    default:
      return MakeError(Code::kUnavailable,
                       "The socket " + path + " cannot be used: " + std::strerror(error) + ".",
                       "Check --socket, and `systemctl status shadowd`.");
  }
}

}  // namespace shadow::rpc
