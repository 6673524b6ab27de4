// SPDX-License-Identifier: Apache-2.0
// Threads for connections: made when they are needed, with small stacks, at most so many.
//
// A connection beyond them waits; when many wait, accepting itself waits, and the kernel's backlog
// and then the client do. Nothing is dropped half way and memory stays bounded. enqueue() is called
// by the accepting thread, shutdown() once by whoever stops the server.
#pragma once

#include <httplib.h>
#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

namespace shadow::http {

class BoundedPool final : public httplib::TaskQueue {
 public:
  explicit BoundedPool(std::size_t most) : most_(most) {}
  BoundedPool(const BoundedPool&) = delete;
  BoundedPool& operator=(const BoundedPool&) = delete;
  ~BoundedPool() override = default;

  void enqueue(std::function<void()> job) override;
  void shutdown() override;

 private:
  static void* Main(void* pool);
  void Work();

  const std::size_t most_;
  std::mutex mutex_;
  std::condition_variable work_, room_;
  std::deque<std::function<void()>> jobs_;
  std::vector<pthread_t> threads_;
  std::size_t idle_ = 0;
  bool stop_ = false;
};

}  // namespace shadow::http
