// SPDX-License-Identifier: GPL-2.0-only
// Coroutines as the simulator's threads.
//
// A Task starts when it is called and runs until it has to wait; who calls it co_awaits it, or
// gives it to Machine::Spawn(). Frames come from free lists: after the first runs nothing is
// allocated. One machine, one real thread.
//
// Keep co_await a statement of its own or an initialiser: g++ 12 miscompiles it inside larger
// expressions.
#ifndef TESTS_SIM_TASK_H
#define TESTS_SIM_TASK_H

#include <array>
#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <utility>

namespace sim {

/// Memory of coroutine frames, by size class.
class Frames {
 public:
  static void* Take(std::size_t size) {
    Node*& list = Free(size);
    if (!list) return std::malloc((size + kUnit - 1) / kUnit * kUnit);
    return std::exchange(list, list->next);
  }
  static void Give(void* p, std::size_t size) {
    Node*& list = Free(size);
    list = new (p) Node{list};
  }

 private:
  struct Node {
    Node* next;
  };
  static constexpr std::size_t kUnit = 64, kClasses = 64;
  static inline std::array<Node*, kClasses> free_{};
  static Node*& Free(std::size_t size) {
    const std::size_t c = (size + kUnit - 1) / kUnit;
    if (c >= kClasses) std::abort();
    return free_[c];
  }
};

namespace internal {
struct PromiseBase {
  std::coroutine_handle<> continuation;

  static void* operator new(std::size_t size) { return Frames::Take(size); }
  static void operator delete(void* p, std::size_t size) { Frames::Give(p, size); }

  struct Final {
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) const noexcept {
      const auto next = h.promise().continuation;
      return next ? next : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  std::suspend_never initial_suspend() noexcept { return {}; }
  Final final_suspend() noexcept { return {}; }
  void unhandled_exception() { std::abort(); }
};
}  // namespace internal

template <class T = void>
class [[nodiscard]] Task {
 public:
  struct promise_type : internal::PromiseBase {
    T value{};
    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    void return_value(T v) { value = v; }
  };
  explicit Task(std::coroutine_handle<promise_type> h) : h_(h) {}
  Task(Task&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  ~Task() {
    if (h_) h_.destroy();
  }

  bool await_ready() const noexcept { return h_.done(); }
  void await_suspend(std::coroutine_handle<> h) noexcept { h_.promise().continuation = h; }
  T await_resume() const noexcept { return h_.promise().value; }

 private:
  std::coroutine_handle<promise_type> h_;
};

template <>
class [[nodiscard]] Task<void> {
 public:
  struct promise_type : internal::PromiseBase {
    Task get_return_object() {
      return Task(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    void return_void() {}
  };
  Task() = default;
  explicit Task(std::coroutine_handle<promise_type> h) : h_(h) {}
  Task(Task&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
  Task& operator=(Task&& o) noexcept {
    if (h_) h_.destroy();
    h_ = std::exchange(o.h_, nullptr);
    return *this;
  }
  ~Task() {
    if (h_) h_.destroy();
  }
  [[nodiscard]] bool done() const { return h_.done(); }

  bool await_ready() const noexcept { return h_.done(); }
  void await_suspend(std::coroutine_handle<> h) noexcept { h_.promise().continuation = h; }
  void await_resume() const noexcept {}

 private:
  std::coroutine_handle<promise_type> h_;
};

}  // namespace sim

#endif  // TESTS_SIM_TASK_H
