// SPDX-License-Identifier: GPL-2.0-only
// Helpers of the library's own tests: a fresh machine, functions run on fibers, a volume.
#ifndef KERNEL_USER_TESTING_H
#define KERNEL_USER_TESTING_H

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <string>

#include "kernel/user/sim.h"

namespace user {

/// A machine that was just switched on, without faults.
class MachineTest : public ::testing::Test {
 protected:
  MachineTest() { sim_reset(); }
  ~MachineTest() override {
    sim_reset();  // fibers and disks of this test
  }

  /// Starts @f on a fiber; Run() or RunAll() lets it go on.
  static void Start(std::function<void()> f, bool atomic = false, const char* name = "test") {
    auto* copy = new std::function<void()>(std::move(f));
    sim_spawn(
        name,
        [](void* p) {
          auto* mine = static_cast<std::function<void()>*>(p);
          (*mine)();
          delete mine;
        },
        copy, atomic);
  }
  /// Until nothing can go on. False: something was reported.
  static bool RunAll(u64 seed = 1) { return sim_run(seed, 200000); }
  static bool Run(std::function<void()> f, u64 seed = 1) {
    Start(std::move(f));
    return RunAll(seed);
  }
};

/// A request, and what came of it.
struct Request {
  sim_io io{};
  std::array<u32, 64> data{};
  bool over = false;

  Request(mapped_device* md, sim_io_op op, u32 first, u32 cells) {
    io.md = md;
    io.op = op;
    io.first = first;
    io.cells = cells;
    io.data = data.data();
    io.who = this;
    io.done = [](sim_io* i) {
      auto* r = static_cast<Request*>(i->who);
      r->over = true;
      sim_wake(&r->over);
    };
  }
  /// In a fiber: sends it and waits. The status.
  u8 Do() {
    sim_dm_submit(&io);
    while (!over) sim_block(&over);
    return io.status;
  }
};

}  // namespace user

#endif  // KERNEL_USER_TESTING_H
