// SPDX-License-Identifier: Apache-2.0
// See worker.h.
#include "pam/worker/worker.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <utility>

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

Worker::Worker(const WorkerOptions& options) : options_(options) {}
Worker::~Worker() = default;

Result<LiveModel*> Worker::Find(const std::string& name) {
  const auto it = volumes_.find(name);
  if (it == volumes_.end()) {
    return MakeError(Code::kNotFound,
                     "the worker does not know volume '" + name.substr(0, 64) + "'",
                     "open it first");
  }
  return it->second.get();
}

Status Worker::Open(const ::pam::v1::OpenVolume& open) {
  if (open.blocks() < 1 || open.blocks() > 0xfffffffeu || open.window_us() < 1'000'000 ||
      open.window_us() > 3'600'000'000 || open.profile_size() > 2 || open.identity().size() > 64) {
    return MakeError(Code::kInvalidArgument,
                     "blocks, window, profile or identity are out of range");
  }
  if (!GoodName(open.volume())) {
    return MakeError(Code::kInvalidArgument,
                     "the name of the volume is not 1 to 64 of [A-Za-z0-9_.-]");
  }
  LiveOptions o;
  o.model.engine.window_us = open.window_us();
  o.model.engine.start_us = std::clamp<std::int64_t>(open.start_us(), 0, std::int64_t{1} << 61);
  o.model.engine.wall_clock = open.start_us() > 0;
  for (int i = 0; i < open.profile_size(); ++i) {
    if (!(std::fabs(open.profile(i)) <= 1)) {
      return MakeError(Code::kInvalidArgument, "a number of the profile is not from -1 to 1");
    }
    o.model.engine.profile[static_cast<std::size_t>(i)] = open.profile(i);
  }
  o.model.blocks = open.blocks();
  o.model.identity = open.identity();
  if (const auto at = volumes_.find(open.volume()); at != volumes_.end()) {
    const ModelOptions& is = at->second->model().options();
    if (is.engine.window_us == open.window_us() && is.identity == open.identity()) {
      at->second->Reopen(open.blocks(), o.model.engine.start_us);
      return Ok();
    }
    volumes_.erase(at);  // another volume of that name, or other windows: nothing of it fits
  }
  if (volumes_.size() >= options_.max_volumes) {
    return MakeError(Code::kOutOfSpace, "the worker has as many volumes as it may have");
  }
  o.state_dir = options_.state_dir;
  o.name = open.volume();
  o.update_minutes = static_cast<int>(options_.update_minutes);
  o.save_windows = options_.save_windows;
  volumes_[open.volume()] = std::make_unique<LiveModel>(o);
  return Ok();
}

Status Worker::CloseWindow(const ::pam::v1::CloseWindow& in, ::pam::v1::Reply* reply) {
  SHADOW_ASSIGN(LiveModel* const volume, Find(in.volume()));
  SHADOW_ASSIGN(const Window window, ToWindow(in));
  if (volume->model().known() + window.accesses.size() > options_.max_known) {
    return MakeError(Code::kOutOfSpace,
                     "the volume has more touched blocks than the worker may keep",
                     "use larger blocks or a higher limit");
  }
  const auto start = std::chrono::steady_clock::now();
  const std::int64_t start_us = std::clamp<std::int64_t>(in.start_us(), 0, std::int64_t{1} << 61);
  SHADOW_ASSIGN(const RoundReport round, volume->Close(window, start_us));
  const auto took = std::chrono::steady_clock::now() - start;
  auto* done = reply->mutable_window();
  done->set_window(round.window);
  done->set_scored(round.scored);
  done->set_round_us(static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  return volume->SaveIfDue(volumes_.size());
}

Status Worker::Heat(const ::pam::v1::GetHeat& ask, ::pam::v1::Reply* reply) {
  SHADOW_ASSIGN(LiveModel* const volume, Find(ask.volume()));
  if (ask.most() < 1 || ask.most() > 1'000'000 || ask.horizon_us() < 1'000'000 ||
      ask.horizon_us() > 86'400'000'000) {
    return MakeError(Code::kInvalidArgument, "horizon or number of blocks is out of range");
  }
  const AccessModel& m = volume->model();
  const double windows =
      static_cast<double>(ask.horizon_us()) / static_cast<double>(m.options().engine.window_us);
  std::vector<std::pair<float, std::uint32_t>> order;
  order.reserve(m.known());
  for (std::uint32_t i = 0; i < m.known(); ++i) {
    const std::uint32_t block = m.engine().state(i).block;
    if (block >= m.options().blocks) continue;  // the volume has shrunk
    order.emplace_back(-static_cast<float>(m.ExpectedAccesses(block)), i);
  }
  const std::size_t n = std::min<std::size_t>(ask.most(), order.size());
  const auto last = order.begin() + static_cast<std::ptrdiff_t>(n);
  std::nth_element(order.begin(), last, order.end());
  std::sort(order.begin(), last);
  auto* heat = reply->mutable_heat();
  for (std::size_t k = 0; k < n; ++k) {
    const std::uint32_t block = m.engine().state(order[k].second).block;
    heat->add_block(block);
    heat->add_probability(static_cast<float>(m.ProbabilityOf(order[k].second, windows)));
    heat->add_accesses(-order[k].first);
    heat->add_writes(static_cast<float>(m.ExpectedWrites(block)));
  }
  return Ok();
}

void Worker::StartLearning() {
  if (aside_ != nullptr || options_.update_minutes == 0) return;
  // From the one after the last on, and around.
  auto at = volumes_.upper_bound(last_learner_);
  for (std::size_t i = 0; i < volumes_.size(); ++i, ++at) {
    if (at == volumes_.end()) at = volumes_.begin();
    auto started = at->second->StartLearning();
    if (!started.ok() || *started == nullptr) continue;  // no process: when it is due again
    aside_ = std::move(*started);
    learner_ = last_learner_ = at->first;
    return;
  }
}

Status Worker::TakeLesson(bool wait) {
  if (aside_ == nullptr) return Ok();
  const auto said = aside_->Take(wait);
  if (!said) return Ok();
  aside_.reset();
  const auto volume = volumes_.find(std::exchange(learner_, ""));
  return volume == volumes_.end() ? Ok() : volume->second->TakeLesson(*said);
}

Status Worker::Train(const std::string& name) {
  SHADOW_TRY(Find(name));
  (void)TakeLesson(true).ok();  // of whoever learns now
  SHADOW_ASSIGN(LiveModel* const volume, Find(name));
  const Update what = volume->model().trained() ? Update::kTune : Update::kAnew;
  SHADOW_ASSIGN(const bool learned, volume->LearnAndWait(what));
  (void)learned;  // nothing better was found: what is in use stays
  return Ok();
}

Status Worker::Describe(const std::string& name, ::pam::v1::Reply* reply) {
  SHADOW_ASSIGN(LiveModel* const volume, Find(name));
  const AccessModel& m = volume->model();
  auto* s = reply->mutable_status();
  s->set_trained(m.trained());
  s->set_restored(volume->restored());
  for (int j = 0; j < kHazards; ++j) s->add_ruler(RulerName(m.ruler(j)));
  for (const double l : m.Prequential(0)) s->add_log_loss(l);
  s->set_known_blocks(m.known());
  s->set_state_bytes(m.StateBytes());
  s->set_other_bytes(m.OtherBytes());
  s->set_learning(learner_ == name);
  return Ok();
}

Status Worker::Drop(const std::string& name) {
  if (!GoodName(name)) {
    return MakeError(Code::kInvalidArgument,
                     "the name of the volume is not 1 to 64 of [A-Za-z0-9_.-]");
  }
  if (learner_ == name) learner_.clear();
  volumes_.erase(name);
  LiveModel::Forget(options_.state_dir, name);
  return Ok();
}

Status Worker::Serve(const ::pam::v1::Request& request, ::pam::v1::Reply* reply) {
  switch (request.kind_case()) {
    case ::pam::v1::Request::kOpen:
      return Open(request.open());
    case ::pam::v1::Request::kWindow:
      return CloseWindow(request.window(), reply);
    case ::pam::v1::Request::kHeat:
      return Heat(request.heat(), reply);
    case ::pam::v1::Request::kTrain:
      return Train(request.train().volume());
    case ::pam::v1::Request::kSave: {
      SHADOW_ASSIGN(LiveModel* const volume, Find(request.save().volume()));
      return volume->Save();
    }
    case ::pam::v1::Request::kStatus:
      return Describe(request.status().volume(), reply);
    case ::pam::v1::Request::kDrop:
      return Drop(request.drop().volume());
    case ::pam::v1::Request::kClose: {
      const std::string& name = request.close().volume();
      SHADOW_ASSIGN(LiveModel* const volume, Find(name));
      const Status saved = options_.state_dir.empty() ? Ok() : volume->Save();
      if (learner_ == name) learner_.clear();
      volumes_.erase(name);
      return saved;
    }
    case ::pam::v1::Request::KIND_NOT_SET:
      break;
  }
  return MakeError(Code::kInvalidArgument, "the request asks for nothing this worker knows");
}

std::string Worker::Handle(const std::string& frame) {
  ::pam::v1::Request request;
  ::pam::v1::Reply reply;
  std::string out;
  if (!request.ParseFromString(frame)) {
    reply.set_error("the frame is no request");
    reply.SerializeToString(&out);
    return out;
  }
  reply.set_id(request.id());
  const Status status = Serve(request, &reply);
  if (!status.ok()) reply.set_error(status.error().ToString().substr(0, 1024));
  reply.SerializeToString(&out);
  return out;
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
    pollfd ready[2] = {{fd, POLLIN, 0}, {-1, POLLIN, 0}};
    if (poll(ready, 1, 0) == 0) worker.StartLearning();
    ready[1].fd = worker.LearningFd();
    if (poll(ready, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return 1;
    }
    // Killed, or nothing better: what is in use stays, and it is tried again when it is due.
    if (ready[1].fd >= 0 && ready[1].revents != 0) (void)worker.TakeLesson(false).ok();
    if (ready[0].revents == 0) continue;
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
