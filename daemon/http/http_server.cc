// SPDX-License-Identifier: Apache-2.0
#include "daemon/http/http_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>

#include "daemon/base/unique_fd.h"
#include "daemon/http/bounded_pool.h"

namespace shadow::http {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kMostRequestBytes = std::size_t{64} << 10;
constexpr std::chrono::seconds kRequestTime{10};
constexpr int kWriteMs = 10'000;
constexpr int kIdleMs = 5'000;
constexpr std::size_t kMostRequests = 1'000;  // on one connection

// One request's share of a connection: it counts what it reads, and has a deadline.
class LimitedStream final : public httplib::Stream {
 public:
  explicit LimitedStream(int fd) : fd_(fd), until_(SteadyClock::now() + kRequestTime) {}

  bool is_readable() const override { return Wait(POLLIN, 0); }
  bool is_writable() const override { return Wait(POLLOUT, kWriteMs) && !Gone(); }

  ssize_t read(char* to, std::size_t size) override {
    if (at_ == end_) {
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(until_ - SteadyClock::now());
      const std::size_t may = kMostRequestBytes - total_;
      if (left.count() <= 0 || may == 0 || !Wait(POLLIN, static_cast<int>(left.count()))) return -1;
      const ssize_t got = ::recv(fd_, buffer_.data(), std::min(may, buffer_.size()), 0);
      if (got <= 0) return got;
      at_ = 0;
      end_ = static_cast<std::size_t>(got);
      total_ += end_;
    }
    const std::size_t n = std::min(size, end_ - at_);
    std::copy_n(buffer_.data() + at_, n, to);
    at_ += n;
    return static_cast<ssize_t>(n);
  }

  ssize_t write(const char* from, std::size_t size) override {
    if (!Wait(POLLOUT, kWriteMs)) return -1;
    return ::send(fd_, from, size, MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    Name(&::getpeername, &ip, &port);
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    Name(&::getsockname, &ip, &port);
  }
  int socket() const override { return fd_; }

  /// A byte of the next request was read with this one: it cannot be given back.
  [[nodiscard]] bool LeftOver() const { return at_ != end_; }

 private:
  bool Wait(short what, int ms) const {
    pollfd p{fd_, what, 0};
    return ::poll(&p, 1, ms) == 1 && (p.revents & (what | POLLHUP)) != 0;
  }
  // The peer has closed its end: nobody reads any more.
  bool Gone() const {
    char byte = 0;
    return Wait(POLLIN, 0) && ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }
  template <typename Call>
  void Name(Call call, std::string* ip, int* port) const {
    sockaddr_storage address{};
    socklen_t length = sizeof(address);
    if (call(fd_, reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (address.ss_family == AF_INET) {
      const auto* in = reinterpret_cast<const sockaddr_in*>(&address);
      ::inet_ntop(AF_INET, &in->sin_addr, text.data(), text.size());
      *port = ntohs(in->sin_port);
    } else if (address.ss_family == AF_INET6) {
      const auto* in = reinterpret_cast<const sockaddr_in6*>(&address);
      ::inet_ntop(AF_INET6, &in->sin6_addr, text.data(), text.size());
      *port = ntohs(in->sin6_port);
    }
    *ip = text.data();
  }

  const int fd_;
  const SteadyClock::time_point until_;
  std::array<char, 4096> buffer_{};
  std::size_t at_ = 0, end_ = 0, total_ = 0;
};

class LimitedServer final : public httplib::Server {
 private:
  bool process_and_close_socket(socket_t fd) override {
    bool closed = false;
    for (std::size_t i = 0; i < kMostRequests && !closed && svr_sock_ != INVALID_SOCKET; ++i) {
      pollfd p{fd, POLLIN, 0};
      int waited = 0;
      while (waited < kIdleMs && svr_sock_ != INVALID_SOCKET && ::poll(&p, 1, 100) == 0) {
        waited += 100;
      }
      if ((p.revents & POLLIN) == 0) break;
      LimitedStream stream(fd);
      const bool last = i + 1 == kMostRequests;
      if (!process_request(stream, last, closed, nullptr) || stream.LeftOver()) break;
    }
    ::shutdown(fd, SHUT_RDWR);
    ::close(fd);
    return true;
  }
};

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return text;
}

// A socket that nobody serves any more is in the way of the next daemon.
Status ClearSocket(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return MakeError(Code::kInvalidArgument, "The path " + path + " is too long for a socket.",
                     "choose a shorter one");
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  struct stat is {};
  if (::lstat(path.c_str(), &is) != 0) return Ok();
  if (!S_ISSOCK(is.st_mode)) {
    return MakeError(Code::kInvalidArgument, path + " is there and is no socket.",
                     "choose another path");
  }
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    return MakeError(Code::kUnavailable, "Another process serves " + path + ".",
                     "stop it, or choose another path");
  }
  ::unlink(path.c_str());
  return Ok();
}

}  // namespace

Result<HostPort> SplitAddress(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  HostPort out;
  bool good = colon != std::string::npos;
  if (good) {
    out.host = address.substr(0, colon);
    const char* const end = address.data() + address.size();
    const auto [stop, error] = std::from_chars(address.data() + colon + 1, end, out.port);
    good = error == std::errc() && stop == end && out.port >= 0 && out.port <= 65535;
    if (out.host.size() > 2 && out.host.front() == '[' && out.host.back() == ']') {
      out.host = out.host.substr(1, out.host.size() - 2);
      in6_addr in6{};
      good = good && ::inet_pton(AF_INET6, out.host.c_str(), &in6) == 1;
    } else {
      in_addr in4{};
      good = good && ::inet_pton(AF_INET, out.host.c_str(), &in4) == 1;
    }
  }
  if (good) return out;
  return MakeError(Code::kInvalidArgument, "'" + address + "' is no address and port.",
                   "write 127.0.0.1:7480 or [::1]:7480");
}

bool HostIsOurs(const std::string& value, const std::string& address,
                const std::vector<std::string>& hosts) {
  std::string host = Lower(value);
  const std::size_t colon = host.rfind(':');
  const bool bare_v6 = host.find(':') != colon && host.front() != '[';
  if (colon != std::string::npos && !bare_v6 && host.find(']', colon) == std::string::npos) {
    host.resize(colon);
  }
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  if (host == "localhost" || host == "127.0.0.1" || host == "::1" || host == Lower(address)) {
    return true;
  }
  return std::any_of(hosts.begin(), hosts.end(),
                     [&](const std::string& one) { return host == Lower(one); });
}

Result<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                      const std::vector<std::string>& hosts,
                                                      const Routes& routes) {
  std::unique_ptr<HttpServer> server(new HttpServer);
  server->server_ = std::make_unique<LimitedServer>();
  httplib::Server& s = *server->server_;
  s.new_task_queue = [] { return new BoundedPool(kMostConnections); };
  s.set_payload_max_length(kMostRequestBytes);
  s.set_tcp_nodelay(true);
  // cpp-httplib allows two servers on a port unless it is told not to.
  s.set_socket_options([](socket_t fd) {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  s.set_exception_handler([](const httplib::Request&, httplib::Response& response,
                             const std::exception_ptr&) { response.status = 500; });
  const bool unix_socket = !address.empty() && address.front() == '/';
  std::string own;
  if (unix_socket) {
    SHADOW_TRY(ClearSocket(address));
    s.set_address_family(AF_UNIX);
    if (!s.bind_to_port(address, 1)) {
      return MakeError(Code::kUnavailable, "The socket " + address + " cannot be made.",
                       "look whether its directory is there and may be written");
    }
    ::chmod(address.c_str(), 0666);
    server->socket_ = address;
  } else {
    SHADOW_ASSIGN(const HostPort at, SplitAddress(address));
    own = at.host;
    server->port_ = at.port;
    const bool bound = at.port == 0 ? (server->port_ = s.bind_to_any_port(at.host)) > 0
                                    : s.bind_to_port(at.host, at.port);
    if (!bound) {
      return MakeError(Code::kUnavailable, "HTTP cannot be served on " + address + ".",
                       "another process may have the port: choose another one in [http]");
    }
  }
  s.set_pre_routing_handler([=](const httplib::Request& request, httplib::Response& response) {
    if (unix_socket || HostIsOurs(request.get_header_value("Host"), own, hosts)) {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    response.status = 421;
    response.set_content(
        "This server does not know itself by that name: add it to hosts in [http].\n",
        "text/plain");
    return httplib::Server::HandlerResponse::Handled;
  });
  routes(s);
  server->thread_ = std::thread([&s, &ended = server->ended_] {
    s.listen_after_bind();
    ended = true;
  });
  return server;
}

HttpServer::~HttpServer() { Stop(); }

void HttpServer::Stop() {
  if (!thread_.joinable()) return;
  // stop() does nothing before the thread accepts.
  while (!server_->is_running() && !ended_) std::this_thread::yield();
  server_->stop();
  thread_.join();
  if (!socket_.empty()) ::unlink(socket_.c_str());
}

}  // namespace shadow::http
