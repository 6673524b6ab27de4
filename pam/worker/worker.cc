// SPDX-License-Identifier: Apache-2.0
// See worker.h.
#include "pam/worker/worker.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <sstream>

#include "pam/v1/worker.pb.h"

namespace shadow::pam {
namespace {

bool GoodName(const std::string& name) {
  if (name.empty() || name.size() > 64 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  });
}

Result<Window> ToWindow(const ::pam::v1::CloseWindow& in) {
  const int n = in.block_delta_size();
  if (in.count_size() != n || in.writes_size() != n || n > 1'000'000) {
    return MakeError(Code::kInvalidArgument,
                     "the columns of a window differ in length or are too long");
  }
  Window w;
  w.ops = in.ops();
  w.bytes = in.bytes();
  std::uint64_t block = 0;
  for (int i = 0; i < n; ++i) {
    block += in.block_delta(i);
    if (block > 0xfffffffdu || (i > 0 && in.block_delta(i) == 0)) {
      return MakeError(Code::kInvalidArgument,
                       "the blocks of a window are not ascending or too large");
    }
    w.accesses.push_back({static_cast<std::uint32_t>(block), in.count(i), in.writes(i)});
  }
  return w;
}

}  // namespace

struct Worker::Volume {
  explicit Volume(const ModelOptions& options) : model(options) {}
  AccessModel model;
  bool restored = false;
  std::uint32_t since_save = 0;
  std::uint32_t since_update = 0;
};

Worker::Worker(const WorkerOptions& options) : options_(options) {}
Worker::~Worker() = default;

std::string Worker::PathOf(const std::string& name) const {
  return options_.state_dir + "/" + name + ".pam";
}

std::string Worker::ModelPathOf(const std::string& name) const {
  return options_.state_dir + "/" + name + ".model";
}

std::optional<std::string> Worker::ReadFile(const std::string& path) const {
  if (options_.state_dir.empty()) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

Result<Worker::Volume*> Worker::Find(const std::string& name) {
  const auto it = volumes_.find(name);
  if (it == volumes_.end()) {
    return MakeError(Code::kNotFound,
                     "the worker does not know volume '" + name.substr(0, 64) + "'",
                     "open it first");
  }
  return it->second.get();
}

Status Worker::Open(const std::string& name, const ModelOptions& options) {
  if (!GoodName(name)) {
    return MakeError(Code::kInvalidArgument,
                     "the name of the volume is not 1 to 64 of [A-Za-z0-9_.-]");
  }
  if (volumes_.contains(name)) {
    return MakeError(Code::kAlreadyExists, "volume '" + name + "' is open already");
  }
  if (volumes_.size() >= options_.max_volumes) {
    return MakeError(Code::kOutOfSpace, "the worker has as many volumes as it may have");
  }
  auto volume = std::make_unique<Volume>(options);
  // A damaged file costs what was learned, not the volume: it starts afresh.
  if (const auto bytes = ReadFile(PathOf(name))) {
    volume->restored = volume->model.Restore(*bytes).ok();
  } else if (const auto trained = ReadFile(ModelPathOf(name))) {
    (void)volume->model.LoadModel(*trained).ok();
  }
  volumes_[name] = std::move(volume);
  return Ok();
}

Status Worker::Save(const std::string& name) {
  SHADOW_ASSIGN(Volume* const volume, Find(name));
  if (options_.state_dir.empty()) {
    return MakeError(Code::kFailedPrecondition, "the worker was started without a state directory");
  }
  const std::string path = PathOf(name);
  const std::string temporary = path + ".new";
  const std::string bytes = volume->model.Snapshot();
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  bool good = fd >= 0;
  std::size_t done = 0;
  while (good && done < bytes.size()) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    good = n > 0;
    done += good ? static_cast<std::size_t>(n) : 0;
  }
  good = good && fsync(fd) == 0;
  const int why = errno;
  if (fd >= 0) close(fd);
  if (!good || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    return MakeError(Code::kIoError, "cannot write " + path + ": " + std::strerror(why));
  }
  volume->since_save = 0;
  return Ok();
}

std::string Worker::Handle(const std::string& frame) {
  ::pam::v1::Request request;
  ::pam::v1::Reply reply;
  const auto answer = [&reply] {
    std::string out;
    reply.SerializeToString(&out);
    return out;
  };
  if (!request.ParseFromString(frame)) {
    reply.set_error("the frame is no request");
    return answer();
  }
  reply.set_id(request.id());
  const auto serve = [&]() -> Status {
    switch (request.kind_case()) {
      case ::pam::v1::Request::kOpen: {
        const auto& open = request.open();
        if (open.blocks() < 1 || open.blocks() > 0xfffffffeu || open.window_us() < 1'000'000 ||
            open.window_us() > 3'600'000'000 || open.profile_size() > 2) {
          return MakeError(Code::kInvalidArgument, "blocks, window or profile are out of range");
        }
        ModelOptions o;
        o.engine.window_us = open.window_us();
        o.engine.start_us = std::clamp<std::int64_t>(open.start_us(), 0, std::int64_t{1} << 61);
        o.engine.wall_clock = open.start_us() > 0;
        for (int i = 0; i < open.profile_size(); ++i) {
          if (!(std::fabs(open.profile(i)) <= 1)) {
            return MakeError(Code::kInvalidArgument, "a number of the profile is not from -1 to 1");
          }
          o.engine.profile[static_cast<std::size_t>(i)] = open.profile(i);
        }
        o.blocks = open.blocks();
        o.max_samples = options_.max_samples;
        return Open(open.volume(), o);
      }
      case ::pam::v1::Request::kWindow: {
        SHADOW_ASSIGN(Volume* const volume, Find(request.window().volume()));
        SHADOW_ASSIGN(const Window window, ToWindow(request.window()));
        if (volume->model.known() + window.accesses.size() > options_.max_known) {
          return MakeError(Code::kOutOfSpace,
                           "the volume has more touched blocks than the worker may keep",
                           "use larger blocks or a higher limit");
        }
        const auto start = std::chrono::steady_clock::now();
        SHADOW_ASSIGN(const RoundReport round, volume->model.CloseWindow(window));
        const auto took = std::chrono::steady_clock::now() - start;
        auto* done = reply.mutable_window();
        done->set_window(round.window);
        done->set_scored(round.scored);
        done->set_round_us(static_cast<std::uint64_t>(
            std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
        ++volume->since_save;
        ++volume->since_update;
        if (!options_.state_dir.empty() && volume->since_save >= options_.save_windows) {
          return Save(request.window().volume());
        }
        return Ok();
      }
      case ::pam::v1::Request::kHeat: {
        const auto& ask = request.heat();
        SHADOW_ASSIGN(Volume* const volume, Find(ask.volume()));
        if (ask.most() < 1 || ask.most() > 1'000'000 || ask.horizon_us() < 1'000'000 ||
            ask.horizon_us() > 86'400'000'000) {
          return MakeError(Code::kInvalidArgument, "horizon or number of blocks is out of range");
        }
        const AccessModel& m = volume->model;
        const double windows = static_cast<double>(ask.horizon_us()) /
                               static_cast<double>(m.options().engine.window_us);
        std::vector<std::pair<float, std::uint32_t>> order(m.known());
        for (std::uint32_t i = 0; i < m.known(); ++i) {
          order[i] = {-static_cast<float>(m.ExpectedAccesses(m.engine().state(i).block)), i};
        }
        const std::size_t n = std::min<std::size_t>(ask.most(), order.size());
        const auto last = order.begin() + static_cast<std::ptrdiff_t>(n);
        std::nth_element(order.begin(), last, order.end());
        std::sort(order.begin(), last);
        auto* heat = reply.mutable_heat();
        for (std::size_t k = 0; k < n; ++k) {
          const std::uint32_t block = m.engine().state(order[k].second).block;
          heat->add_block(block);
          heat->add_probability(static_cast<float>(m.ProbabilityOf(order[k].second, windows)));
          heat->add_accesses(-order[k].first);
          heat->add_writes(static_cast<float>(m.ExpectedWrites(block)));
        }
        return Ok();
      }
      case ::pam::v1::Request::kTrain: {
        SHADOW_ASSIGN(Volume* const volume, Find(request.train().volume()));
        volume->since_update = 0;
        return volume->model.Update();
      }
      case ::pam::v1::Request::kSave:
        return Save(request.save().volume());
      case ::pam::v1::Request::kStatus: {
        SHADOW_ASSIGN(Volume* const volume, Find(request.status().volume()));
        auto* s = reply.mutable_status();
        s->set_trained(volume->model.trained());
        s->set_restored(volume->restored);
        for (int j = 0; j < kHazards; ++j) s->add_ruler(RulerName(volume->model.ruler(j)));
        for (const double l : volume->model.Prequential(0)) s->add_log_loss(l);
        s->set_known_blocks(volume->model.known());
        s->set_state_bytes(volume->model.StateBytes());
        s->set_other_bytes(volume->model.OtherBytes());
        return Ok();
      }
      case ::pam::v1::Request::kDrop: {
        SHADOW_ASSIGN(Volume* const volume, Find(request.drop().volume()));
        (void)volume;
        if (!options_.state_dir.empty()) std::remove(PathOf(request.drop().volume()).c_str());
        volumes_.erase(request.drop().volume());
        return Ok();
      }
      case ::pam::v1::Request::KIND_NOT_SET:
        break;
    }
    return MakeError(Code::kInvalidArgument, "the request asks for nothing this worker knows");
  };
  const Status status = serve();
  if (!status.ok()) reply.set_error(status.error().ToString().substr(0, 1024));
  return answer();
}

bool Worker::Idle() {
  if (options_.update_minutes == 0) return false;
  for (auto& [name, volume] : volumes_) {
    const auto windows = static_cast<std::uint32_t>(std::max<std::int64_t>(
        1, options_.update_minutes * 60'000'000ll / volume->model.options().engine.window_us));
    if (volume->since_update < windows) continue;
    volume->since_update = 0;
    (void)volume->model.Update().ok();  // too little data yet: EWMA goes on ruling
    return true;
  }
  return false;
}

namespace {

bool ReadAll(int fd, char* out, std::size_t size, bool* clean_end) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n = read(fd, out + done, size - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      *clean_end = n == 0 && done == 0;
      return false;
    }
    done += static_cast<std::size_t>(n);
  }
  return true;
}

bool WriteAll(int fd, const std::string& bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

int ServeWorker(int fd, const WorkerOptions& options) {
  Worker worker(options);
  while (true) {
    pollfd ready{fd, POLLIN, 0};
    while (poll(&ready, 1, 0) == 0 && worker.Idle()) {
    }
    unsigned char head[4];
    bool clean = false;
    if (!ReadAll(fd, reinterpret_cast<char*>(head), 4, &clean)) return clean ? 0 : 1;
    const std::uint32_t size = head[0] | static_cast<std::uint32_t>(head[1]) << 8 |
                               static_cast<std::uint32_t>(head[2]) << 16 |
                               static_cast<std::uint32_t>(head[3]) << 24;
    if (size == 0 || size > kMaxFrame) return 1;
    std::string frame(size, '\0');
    if (!ReadAll(fd, frame.data(), size, &clean)) return 1;
    const std::string reply = worker.Handle(frame);
    const auto n = static_cast<std::uint32_t>(reply.size());
    std::string out = {static_cast<char>(n), static_cast<char>(n >> 8), static_cast<char>(n >> 16),
                       static_cast<char>(n >> 24)};
    if (!WriteAll(fd, out + reply)) return 1;
  }
}

}  // namespace shadow::pam
