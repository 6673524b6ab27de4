// SPDX-License-Identifier: Apache-2.0
#include "daemon/dm/isolated_dm.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "daemon/base/interrupt.h"

namespace shadow {
namespace {

using SteadyClock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

constexpr int kPollMs = 100;
constexpr std::size_t kMostIdle = 4;

// When to stop waiting: at the deadline, or soon after an interruption.
class Patience {
 public:
  Patience(std::int64_t deadline_ms, std::int64_t parting_ms)
      : until_(SteadyClock::now() + Milliseconds(deadline_ms)), parting_(parting_ms) {}
  // Milliseconds to wait now; 0: no longer.
  int Next() {
    const auto now = SteadyClock::now();
    if (!shortened_ && Interrupted()) {
      shortened_ = true;
      until_ = std::min(until_, now + parting_);
    }
    const auto left = std::chrono::duration_cast<Milliseconds>(until_ - now).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, kPollMs));
  }

 private:
  SteadyClock::time_point until_;
  Milliseconds parting_;
  bool shortened_ = false;
};

Error NoAnswer(const std::string& name, const std::string& why) {
  return MakeError(Code::kUnavailable, "The device " + name + " does not answer: " + why + ".",
                   "look for a disk or path under it that does not answer; it is tried again");
}

class IsolatedDeviceMapper final : public DeviceMapper {
 public:
  IsolatedDeviceMapper(DeviceMapper& looks, Isolation& isolation)
      : looks_(looks), isolation_(isolation) {}

  Status CheckControl() override { return looks_.CheckControl(); }
  Result<std::string> TargetVersion() override { return looks_.TargetVersion(); }
  Result<DmTarget> StatusOf(const std::string& name) override { return looks_.StatusOf(name); }
  Result<DmTarget> TableOf(const std::string& name) override { return looks_.TableOf(name); }
  Result<DmInfo> Info(const std::string& name) override { return looks_.Info(name); }
  Result<std::vector<DmInfo>> List(const std::string& prefix) override {
    return looks_.List(prefix);
  }
  Result<bool> WaitEvent(std::int64_t timeout_ms) override { return looks_.WaitEvent(timeout_ms); }

  Status Create(const std::string& name, const std::string& uuid, std::uint64_t sectors,
                const std::string& params) override {
    return Plain({"create", name, uuid, sectors, params});
  }
  Status Load(const std::string& name, std::uint64_t sectors, const std::string& params) override {
    return Plain({"load", name, "", sectors, params});
  }
  Status ClearInactive(const std::string& name) override { return Plain({"clear", name}); }
  Status Suspend(const std::string& name) override { return Plain({"suspend", name}); }
  Status Resume(const std::string& name) override { return Plain({"resume", name}); }
  Status Remove(const std::string& name) override { return Plain({"remove", name}); }
  Result<std::string> Message(const std::string& name, const std::string& text) override {
    return isolation_.Do({"message", name, "", 0, text});
  }

  std::string Unanswered(const std::string& name) override { return isolation_.Unanswered(name); }

 private:
  Status Plain(const DmRequest& request) {
    SHADOW_ASSIGN([[maybe_unused]] const std::string answer, isolation_.Do(request));
    return Ok();
  }

  DeviceMapper& looks_;
  Isolation& isolation_;
};

}  // namespace

Result<std::string> Isolation::Do(const DmRequest& request, int times) {
  Patience patience(options_.deadline_ms * times, options_.parting_ms);
  const std::shared_ptr<Device> device = Find(request.name);
  std::unique_lock<std::timed_mutex> lock(device->change, std::defer_lock);
  while (!lock.try_lock_for(Milliseconds(kPollMs))) {
    if (patience.Next() == 0) return NoAnswer(request.name, "another request is at work on it");
  }
  if (StillHangs(*device)) return NoAnswer(request.name, What(*device));
  SHADOW_ASSIGN(std::unique_ptr<DmHelper> helper, Take());
  SHADOW_TRY(helper->Send(request));
  bool ready = false;
  while (!ready) {
    const int wait = patience.Next();
    if (wait == 0) break;
    ready = helper->Ready(wait);
  }
  if (ready) {
    auto answer = helper->Receive();
    const bool gone = !answer.ok() && answer.error().code == Code::kUnavailable;
    if (!gone) Give(std::move(helper));
    return answer;
  }
  helper->Kill();
  device->op = request.op;
  device->since = SteadyClock::now();
  if (!helper->Ready(static_cast<int>(options_.parting_ms))) device->hanging = std::move(helper);
  const Error error = NoAnswer(request.name, What(*device));
  spdlog::error("{}", error.ToString());
  return error;
}

std::string Isolation::Unanswered(const std::string& name) {
  const std::shared_ptr<Device> device = Find(name);
  const std::unique_lock<std::timed_mutex> lock(device->change, std::try_to_lock);
  if (!lock.owns_lock() || !StillHangs(*device)) return "";
  return What(*device);
}

// The kernel let it go, or its answer came late: the device can be changed again.
bool Isolation::StillHangs(Device& device) {
  if (device.hanging == nullptr) return false;
  if (!device.hanging->Ready(0)) return true;
  spdlog::warn("what device mapper was told of a device, and was given up, is over: {}", device.op);
  device.hanging.reset();
  return false;
}

std::string Isolation::What(const Device& device) {
  const auto s =
      std::chrono::duration_cast<std::chrono::seconds>(SteadyClock::now() - device.since);
  return "'" + device.op + "' was given up" +
         (device.hanging == nullptr
              ? ""
              : " " + std::to_string(s.count()) + " s ago and is still in the kernel");
}

std::shared_ptr<Isolation::Device> Isolation::Find(const std::string& name) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::shared_ptr<Device>& device = devices_[name];
  if (device == nullptr) device = std::make_shared<Device>();
  return device;
}

Result<std::unique_ptr<DmHelper>> Isolation::Take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (!idle_.empty()) {
      std::unique_ptr<DmHelper> helper = std::move(idle_.back());
      idle_.pop_back();
      // One that has something to say without being asked is at its end.
      if (!helper->Ready(0)) return helper;
    }
  }
  return nursery_.Spawn();
}

void Isolation::Give(std::unique_ptr<DmHelper> helper) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (idle_.size() < kMostIdle) idle_.push_back(std::move(helper));
}

std::unique_ptr<DeviceMapper> MakeIsolatedDeviceMapper(DeviceMapper& looks, Isolation& isolation) {
  return std::make_unique<IsolatedDeviceMapper>(looks, isolation);
}

}  // namespace shadow
