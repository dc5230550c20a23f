#include "tests/support/simt/executor.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tests/support/simt/copies.h"
#include "tests/support/simt/fiber.h"
#include "tests/support/simt/memory_watch.h"

#ifdef __SANITIZE_ADDRESS__
// A refused kernel abandons its fibers, and with them the message that they were about to report.
extern "C" const char* __lsan_default_suppressions() { return "leak:simt::fail\nleak:simt::stop\nleak:simt::copy_later\nleak:simt::check_lane\nleak:simt::note_access\n"; }
#endif

namespace tersor::kernels::gpu {
extern thread_local unsigned char dynamic_shared_bytes[simt::kMostShared];
}

namespace simt {
namespace {

using Values = std::array<uint64_t, kWarp>;

struct Thread {
  enum class State : uint8_t { kNew, kReady, kAtBarrier, kMeeting, kDone };
  State state = State::kNew;
  Position position;
  uint32_t in_grid = 0;
  uint32_t in_block = 0;
  std::optional<size_t> stack;
  Context context;
  std::source_location where;
  uint32_t mask = 0;
  uint64_t value = 0;
  bool orders_memory = false;
  Values met{};
  Copies copies;
};

std::string at(const std::source_location& where) { return std::string(where.file_name()) + ":" + std::to_string(where.line()); }
bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() && std::string_view(a.file_name()) == b.file_name();
}
std::string name_of(const Thread& t) {
  const auto text = [](const Dim3& d) { return std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z); };
  return "thread (" + text(t.position.thread) + ") of block (" + text(t.position.block) + ")";
}

class Grid;
thread_local Grid* running = nullptr;

class Grid {
 public:
  Grid(Dim3 grid, Dim3 block, size_t shared, const Body& body)
      : grid_(grid), block_(block), shared_size_(shared), body_(body), threads_(block.count()),
        watch_(shared, static_cast<uint32_t>(threads_.size()),
               {range_of_stacks(), own_stack(), {reinterpret_cast<uintptr_t>(threads_.data()), reinterpret_cast<uintptr_t>(threads_.data() + threads_.size())}}) {
    for (size_t i = kMostThreads; i > 0; --i) spare_.push_back(i - 1);
  }

  void run() {
    uint32_t index = 0;
    for (unsigned z = 0; z < grid_.z; ++z)
      for (unsigned y = 0; y < grid_.y; ++y)
        for (unsigned x = 0; x < grid_.x; ++x) run_block({x, y, z}, index++);
  }

  Thread& current() { return *current_; }

  void wait(Thread::State state) {
    Thread& t = *current_;
    t.state = state;
    switch_to(t.context, host_);
  }

  [[noreturn]] void fail(const std::string& what) {
    failure_ = what;
    Context& me = current_->context;
    switch_to(me, host_, true);
    std::abort();
  }

  void note(uintptr_t address, size_t size, bool writes, bool atomic) {
    if (current_ == nullptr) return;
    const Thread& t = *current_;
    const Access now{.thread = t.in_grid + 1, .block_time = block_time_, .warp_time = warp_times_[t.in_block / kWarp], .atomic = atomic};
    if (const auto wrong = watch_.note(address, size, writes, now)) fail(wrong->before + name_of(t) + wrong->after);
  }

 private:
  static void enter() {
    entered();
    running->work();
  }

  // The body of a fiber: runs the thread it was made for and, as long as none waits, those after it, which then need no fiber of their own.
  void work() {
    Thread* owner = current_;
    for (;;) {
      body_();
      current_->state = Thread::State::kDone;
      const size_t next = current_->in_block + 1;
      if (owner != current_ || next >= threads_.size() || threads_[next].state != Thread::State::kNew) break;
      threads_[next].stack = std::exchange(owner->stack, std::nullopt);
      threads_[next].state = Thread::State::kReady;
      threads_[next].context = owner->context;
      owner = current_ = &threads_[next];
    }
    switch_to(owner->context, host_, true);
    std::abort();
  }

  void start(Thread& t) {
    t.stack = spare_.back();
    spare_.pop_back();
    prepare(t.context, *t.stack, &Grid::enter);
    t.state = Thread::State::kReady;
  }

  void run_block(Dim3 place, uint32_t index) {
    ++block_time_;
    warp_times_.assign((threads_.size() + kWarp - 1) / kWarp, 0);
    std::fill_n(tersor::kernels::gpu::dynamic_shared_bytes, shared_size_, static_cast<unsigned char>(0xff));
    uint32_t i = 0;
    for (unsigned z = 0; z < block_.z; ++z)
      for (unsigned y = 0; y < block_.y; ++y)
        for (unsigned x = 0; x < block_.x; ++x, ++i) {
          Thread& t = threads_[i];
          t.position = {.thread = {x, y, z}, .block = place, .block_size = block_, .grid_size = grid_, .lane = i % kWarp};
          t.in_block = i;
          t.in_grid = index * static_cast<uint32_t>(threads_.size()) + i;
          t.state = Thread::State::kNew;
          t.copies = {};
        }
    host_.stack = reinterpret_cast<const void*>(own_stack().begin);
    host_.stack_size = own_stack().end - own_stack().begin;
    do {
      for (Thread& t : threads_) {
        if (t.state == Thread::State::kNew) start(t);
        if (t.state != Thread::State::kReady) continue;
        current_ = &t;
        switch_to(host_, t.context);
        current_ = nullptr;
        if (failure_) throw Error(*failure_);
      }
      for (Thread& t : threads_)
        if (t.state == Thread::State::kDone && t.stack) spare_.push_back(*std::exchange(t.stack, std::nullopt));
    } while (release());
  }

  // Resumes the threads whose waiting is over. Returns false when all threads are done.
  bool release() {
    bool some = false;
    bool all_done = true;
    for (Thread& t : threads_) {
      all_done = all_done && t.state == Thread::State::kDone;
      if (t.state == Thread::State::kMeeting) some = release_lanes(t) || some;
      if (t.state == Thread::State::kReady) some = true;
    }
    if (all_done) return false;
    if (!some) release_block();
    return true;
  }

  bool release_lanes(Thread& first) {
    const uint32_t warp = first.in_block / kWarp * kWarp;
    Values values{};
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      if ((first.mask >> lane & 1U) == 0) continue;
      const auto asks = [&] { return name_of(first) + " waits at " + at(first.where) + " for lane " + std::to_string(lane); };
      if (warp + lane >= threads_.size()) throw Error(asks() + ", which the block does not have");
      const Thread& t = threads_[warp + lane];
      if (t.state == Thread::State::kDone) throw Error(asks() + ", which has left the kernel");
      if (t.state == Thread::State::kAtBarrier) throw Error(asks() + ", which waits for the block at " + at(t.where));
      if (t.state != Thread::State::kMeeting) return false;
      if (!same_place(t.where, first.where)) throw Error(asks() + ", which is at " + at(t.where));
      if (t.mask != first.mask) throw Error(asks() + ", which waits for other lanes");
      values[lane] = t.value;
    }
    if (first.orders_memory) ++warp_times_[warp / kWarp];
    for (uint32_t lane = 0; lane < kWarp; ++lane) {
      if ((first.mask >> lane & 1U) == 0) continue;
      threads_[warp + lane].met = values;
      threads_[warp + lane].state = Thread::State::kReady;
    }
    return true;
  }

  void release_block() {
    const Thread& first = *std::find_if(threads_.begin(), threads_.end(), [](const Thread& t) { return t.state == Thread::State::kAtBarrier; });
    for (const Thread& t : threads_) {
      if (t.state == Thread::State::kDone) throw Error(name_of(first) + " waits for the block at " + at(first.where) + ", and " + name_of(t) + " has left the kernel");
      if (!same_place(t.where, first.where))
        throw Error(name_of(first) + " waits for the block at " + at(first.where) + ", and " + name_of(t) + " at " + at(t.where));
    }
    for (Thread& t : threads_) t.state = Thread::State::kReady;
    ++block_time_;
  }

  Dim3 grid_;
  Dim3 block_;
  size_t shared_size_;
  const Body& body_;
  std::vector<Thread> threads_;  // hold their positions and the other lanes' values
  MemoryWatch watch_;
  std::vector<size_t> spare_;
  std::vector<uint32_t> warp_times_;
  uint32_t block_time_ = 0;
  Thread* current_ = nullptr;
  Context host_;
  std::optional<std::string> failure_;
};

std::atomic<int64_t> launched = 0;
std::atomic<bool> unchecked = false;

}  // namespace

const Position& here() { return running->current().position; }

void run(Dim3 grid, Dim3 block, size_t dynamic_shared, const Body& body) {
  if (block.count() == 0 || block.count() > kMostThreads) throw Error("a block of " + std::to_string(block.count()) + " threads");
  if (grid.count() == 0) throw Error("a grid without blocks");
  if (dynamic_shared > kMostShared) throw Error(std::to_string(dynamic_shared) + " bytes of shared memory");
  if (running != nullptr) throw Error("a kernel launches a kernel");
  ++launched;
  const auto whole = std::make_unique<Grid>(grid, block, dynamic_shared, body);
  running = whole.get();
  const std::unique_ptr<Grid*, void (*)(Grid**)> reset(&running, [](Grid** r) { *r = nullptr; });
  whole->run();
}

void wait_for_block(const std::source_location& where) {
  running->current().where = where;
  running->wait(Thread::State::kAtBarrier);
}

const Values& meet(uint32_t mask, uint64_t value, bool orders_memory, const std::source_location& where) {
  Thread& t = running->current();
  if ((mask >> t.position.lane & 1U) == 0) fail("lane " + std::to_string(t.position.lane) + " is not in its own mask", where);
  t.where = where;
  t.mask = mask;
  t.value = value;
  t.orders_memory = orders_memory;
  running->wait(Thread::State::kMeeting);
  return running->current().met;
}

void fail(const std::string& what, const std::source_location& where) {
  running->fail(name_of(running->current()) + " at " + at(where) + ": " + what);
}

void stop(const std::string& what) {
  if (running == nullptr) throw Error(what);
  running->fail(what);
}

void check_lane(unsigned lane, uint32_t mask, const std::source_location& where) {
  if (lane >= kWarp || (mask >> lane & 1U) == 0) fail("lane " + std::to_string(lane) + " is read from and does not take part", where);
}

void note_access(const volatile void* address, size_t size, bool writes, bool atomic) {
  if (running != nullptr && !unchecked) running->note(reinterpret_cast<uintptr_t>(address), size, writes, atomic);
}

void copy_later(void* to, const void* from, size_t bytes, size_t zeros, const std::source_location& where) {
  if (bytes != 4 && bytes != 8 && bytes != 16) fail("a copy of " + std::to_string(bytes) + " bytes; 4, 8 or 16 can be", where);
  if (reinterpret_cast<uintptr_t>(to) % bytes != 0 || reinterpret_cast<uintptr_t>(from) % bytes != 0)
    fail("a copy of " + std::to_string(bytes) + " bytes from or to an address that is not aligned to them", where);
  running->current().copies.add({to, from, bytes, zeros});
}

void commit_copies() { running->current().copies.commit(); }

void finish_copies(size_t groups_left) {
  running->current().copies.finish(groups_left, [](const Copies::Copy& copy) {
    note_access(copy.from, copy.bytes - copy.zeros, false);
    note_access(copy.to, copy.bytes, true);
  });
}

void set_unchecked(bool value) { unchecked = value; }

int64_t launches() { return launched; }

}  // namespace simt
