// SPDX-License-Identifier: Apache-2.0
#include "daemon/http/bounded_pool.h"

namespace shadow::http {
namespace {

constexpr std::size_t kStackBytes = std::size_t{512} << 10;
constexpr std::size_t kMostWaiting = 64;

}  // namespace

void BoundedPool::enqueue(std::function<void()> job) {
  std::unique_lock<std::mutex> lock(mutex_);
  room_.wait(lock, [&] { return stop_ || jobs_.size() < kMostWaiting; });
  jobs_.push_back(std::move(job));
  if (idle_ < jobs_.size() && threads_.size() < most_) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kStackBytes);
    pthread_t thread{};
    // Without a thread the job waits for one that is there already.
    if (pthread_create(&thread, &attributes, &BoundedPool::Main, this) == 0)
      threads_.push_back(thread);
    pthread_attr_destroy(&attributes);
  }
  work_.notify_one();
}

void* BoundedPool::Main(void* pool) {
  static_cast<BoundedPool*>(pool)->Work();
  return nullptr;
}

void BoundedPool::Work() {
  while (true) {
    std::function<void()> job;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      ++idle_;
      work_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
      --idle_;
      // What was accepted is served to its end: its socket is closed there.
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    room_.notify_one();
    job();
  }
}

void BoundedPool::shutdown() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  room_.notify_all();
  for (pthread_t thread : threads_) pthread_join(thread, nullptr);
}

}  // namespace shadow::http
