#include "tests/support/simt/executor.h"

#include <link.h>
#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace tersor::kernels::gpu {
alignas(128) thread_local unsigned char dynamic_shared_bytes[simt::kMostShared];
}

// Leaves one stack for another: keeps the registers that a call must keep, and where its own stack ends in *from. (swapcontext
// would make a system call each time.)
extern "C" void simt_switch(void** from, void* to);
asm(R"(
.text
.globl simt_switch
.type simt_switch, @function
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size simt_switch, .-simt_switch
)");

namespace simt {
namespace {

using Values = std::array<uint64_t, kWarp>;

struct Range {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  [[nodiscard]] bool has(uintptr_t address) const { return address >= begin && address < end; }
};

// ---- fibers ----

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 512 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif

// Stacks for all threads of a block, one after another.
class Stacks {
 public:
  Stacks() : memory_(mmap(nullptr, kMostThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    for (size_t i = 0; i < kMostThreads; ++i) mprotect(base(i), 4096, PROT_NONE);
  }
  ~Stacks() { munmap(memory_, kMostThreads * kStack); }
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  [[nodiscard]] void* base(size_t i) const { return static_cast<char*>(memory_) + i * kStack; }
  [[nodiscard]] Range range() const { return {reinterpret_cast<uintptr_t>(memory_), reinterpret_cast<uintptr_t>(memory_) + kMostThreads * kStack}; }

 private:
  void* memory_;
};
Stacks& stacks() {
  thread_local const auto own = std::make_unique<Stacks>();
  return *own;
}

struct Context {
  void* stack_pointer = nullptr;
  const void* stack = nullptr;
  size_t stack_size = 0;
};

// `from` goes on when somebody switches back to it; not at all with `for_good`.
void switch_to(Context& from, Context& to, [[maybe_unused]] bool for_good = false) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, to.stack, to.stack_size);
  simt_switch(&from.stack_pointer, to.stack_pointer);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  simt_switch(&from.stack_pointer, to.stack_pointer);
#endif
}

Range stack_of_host_thread() {
  pthread_attr_t attributes;
  void* base = nullptr;
  size_t size = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &base, &size);
  pthread_attr_destroy(&attributes);
  return {reinterpret_cast<uintptr_t>(base), reinterpret_cast<uintptr_t>(base) + size};
}

const Range& own_stack() {
  thread_local const Range range = stack_of_host_thread();
  return range;
}

// Where this program's code and data lie, and this thread's variables of `thread_local` kind: shared memory is made of those.
struct Image {
  Range program;
  Range thread_locals;
};
Image image_of_program() {
  Image image;
  dl_iterate_phdr([](dl_phdr_info* info, size_t, void* result) {
    auto& out = *static_cast<Image*>(result);
    out.program.begin = UINTPTR_MAX;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& header = info->dlpi_phdr[i];
      const uintptr_t begin = info->dlpi_addr + header.p_vaddr;
      if (header.p_type == PT_LOAD) {
        out.program.begin = std::min(out.program.begin, begin);
        out.program.end = std::max(out.program.end, begin + header.p_memsz);
      } else if (header.p_type == PT_TLS) {
        out.thread_locals.begin = reinterpret_cast<uintptr_t>(info->dlpi_tls_data);
        out.thread_locals.end = out.thread_locals.begin + header.p_memsz;
      }
    }
    return 1;  // the first is the program itself
  }, &image);
  return image;
}

// ---- what is touched ----

struct Access {
  uint32_t thread = 0;  // in the grid, from 1 on; 0: nobody
  uint32_t block_time = 0;
  uint32_t warp_time = 0;
  bool atomic = false;
};

struct Cell {  // of a byte
  Access write;
  Access read;
  bool several_reads = false;
};

constexpr uintptr_t kLine = 32;
using Line = std::array<Cell, kLine>;

struct Allocations {
  std::mutex mutex;
  std::map<uintptr_t, size_t> all;
};
Allocations& allocations() {
  static auto* one = new Allocations;
  return *one;
}

// ---- a block ----

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
      : grid_(grid), block_(block), shared_size_(shared), body_(body), image_(image_of_program()), host_stack_(own_stack()),
        threads_(block.count()) {
    const auto base = reinterpret_cast<uintptr_t>(tersor::kernels::gpu::dynamic_shared_bytes);
    for (size_t i = kMostThreads; i > 0; --i) spare_.push_back(i - 1);
    own_ = {reinterpret_cast<uintptr_t>(threads_.data()), reinterpret_cast<uintptr_t>(threads_.data() + threads_.size())};
    dynamic_ = {base, base + sizeof(tersor::kernels::gpu::dynamic_shared_bytes)};
    const std::lock_guard lock(allocations().mutex);
    bounded_ = !allocations().all.empty();
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
    if (stacks_.range().has(address) || host_stack_.has(address) || own_.has(address)) return;
    const bool shared = image_.thread_locals.has(address);
    if (shared) {
      if (dynamic_.has(address) && address + size > dynamic_.begin + shared_size_)
        fail(name_of(t) + " touches byte " + std::to_string(address - dynamic_.begin) + " of " + std::to_string(shared_size_) +
             " bytes of shared memory");
    } else {
      if (image_.program.has(address)) return;  // constants
      if (bounded_) check_bounds(address, size);
    }
    const Access now{.thread = t.in_grid + 1, .block_time = block_time_, .warp_time = warp_times_[t.in_block / kWarp], .atomic = atomic};
    for (size_t i = 0; i < size; ++i) touch(address + i, now, writes, shared);
  }

 private:
  static void enter() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    running->work();
  }

  // A fiber: runs the thread it was made for, and, as long as nobody waits, those after it, which then need no fiber of their own.
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
    t.context.stack = stacks_.base(*t.stack);
    t.context.stack_size = kStack;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(static_cast<char*>(stacks_.base(*t.stack)) + 4096, kStack - 4096);  // frames that nobody came back to
#endif
    // As simt_switch leaves a stack: six registers, and where to go on; above it nobody to return to.
    auto** top = static_cast<void**>(stacks_.base(*t.stack)) + kStack / sizeof(void*);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&Grid::enter);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    t.context.stack_pointer = top;
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
        }
#if defined(__SANITIZE_ADDRESS__)
    host_.stack = reinterpret_cast<const void*>(host_stack_.begin);
    host_.stack_size = host_stack_.end - host_stack_.begin;
#endif
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

  // Lets go on whoever has waited for all it waits for. False when all threads are done.
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

  void check_bounds(uintptr_t address, size_t size) {
    if (known_.has(address) && address + size <= known_.end) return;
    {
      Allocations& a = allocations();
      const std::lock_guard lock(a.mutex);
      auto after = a.all.upper_bound(address);
      if (after != a.all.begin()) {
        --after;
        known_ = {after->first, after->first + after->second};
      }
    }
    if (known_.has(address) && address + size <= known_.end) return;
    const auto where = known_.begin <= address ? ", " + std::to_string(address - known_.begin) + " bytes into one of " +
                                                     std::to_string(known_.end - known_.begin) : std::string();
    fail(name_of(*current_) + " touches global memory that was not allocated" + where);
  }

  [[nodiscard]] bool ordered(const Access& before, const Access& now, bool shared) const {
    if (before.thread == 0 || before.thread == now.thread) return true;
    const auto size = static_cast<uint32_t>(threads_.size());
    if ((before.thread - 1) / size != (now.thread - 1) / size) return shared;
    if (before.block_time != now.block_time) return true;
    const bool one_warp = (before.thread - 1) % size / kWarp == (now.thread - 1) % size / kWarp;
    return one_warp && before.warp_time != now.warp_time;
  }

  void touch(uintptr_t address, const Access& now, bool writes, bool shared) {
    const uintptr_t key = address / kLine;
    if (key != last_key_ || last_ == nullptr) {
      last_ = &lines_[key];
      last_key_ = key;
    }
    Cell& cell = (*last_)[address % kLine];
    if (!ordered(cell.write, now, shared) && !(cell.write.atomic && now.atomic)) race(cell.write, now, writes, true, shared);
    if (writes) {
      if (!ordered(cell.read, now, shared) || (cell.several_reads && cell.read.block_time == now.block_time && cell.read.warp_time == now.warp_time))
        race(cell.read, now, writes, false, shared);
      cell.write = now;
      return;
    }
    if (shared) {
      const auto size = static_cast<uint32_t>(threads_.size());
      if (cell.write.thread == 0 || (cell.write.thread - 1) / size != (now.thread - 1) / size)
        fail(name_of(*current_) + " reads shared memory that its block has not written");
    }
    cell.several_reads = (cell.several_reads && cell.read.block_time == now.block_time) || (cell.read.thread != 0 && !ordered(cell.read, now, shared));
    cell.read = now;
  }

  void race(const Access& before, const Access& now, bool writes, bool wrote, bool shared) {
    const auto size = static_cast<uint32_t>(threads_.size());
    fail(std::string("a race in ") + (shared ? "shared" : "global") + " memory: " + name_of(*current_) + (writes ? " writes" : " reads") + " what thread " +
         std::to_string((before.thread - 1) % size) + " of block " + std::to_string((before.thread - 1) / size) + (wrote ? " wrote" : " read") +
         (before.thread == now.thread ? ", among others" : "") + ", with no barrier in between");
  }

  Dim3 grid_;
  Dim3 block_;
  size_t shared_size_;
  const Body& body_;
  Image image_;
  Range host_stack_;
  Range own_;  // where threads find their place and what other lanes hold
  Range dynamic_;
  Range known_;
  bool bounded_ = false;
  std::vector<Thread> threads_;
  Stacks& stacks_ = stacks();
  std::vector<size_t> spare_;
  std::vector<uint32_t> warp_times_;
  uint32_t block_time_ = 0;
  Thread* current_ = nullptr;
  Context host_;
  std::optional<std::string> failure_;
  std::unordered_map<uintptr_t, Line> lines_;
  Line* last_ = nullptr;
  uintptr_t last_key_ = 0;
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

void check_lane(unsigned lane, uint32_t mask, const std::source_location& where) {
  if (lane >= kWarp || (mask >> lane & 1U) == 0) fail("lane " + std::to_string(lane) + " is read from and does not take part", where);
}

void note_access(const volatile void* address, size_t size, bool writes, bool atomic) {
  if (running != nullptr && !unchecked) running->note(reinterpret_cast<uintptr_t>(address), size, writes, atomic);
}

void allow(const void* address, size_t size) {
  const std::lock_guard lock(allocations().mutex);
  allocations().all[reinterpret_cast<uintptr_t>(address)] = size;
}

void forbid(const void* address) {
  const std::lock_guard lock(allocations().mutex);
  allocations().all.erase(reinterpret_cast<uintptr_t>(address));
}

void set_unchecked(bool value) { unchecked = value; }

int64_t launches() { return launched; }

}  // namespace simt

// What the compiler's instrumentation calls. In a build with AddressSanitizer kernels carry its checks instead.
#if !defined(__SANITIZE_ADDRESS__)
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
#define SIMT_ACCESSES(SIZE)                                                          \
  void __tsan_read##SIZE(void* p) { simt::note_access(p, SIZE, false); }             \
  void __tsan_write##SIZE(void* p) { simt::note_access(p, SIZE, true); }             \
  void __tsan_unaligned_read##SIZE(void* p) { simt::note_access(p, SIZE, false); }   \
  void __tsan_unaligned_write##SIZE(void* p) { simt::note_access(p, SIZE, true); }
SIMT_ACCESSES(1)
SIMT_ACCESSES(2)
SIMT_ACCESSES(4)
SIMT_ACCESSES(8)
SIMT_ACCESSES(16)
#undef SIMT_ACCESSES
void __tsan_read_range(void* p, size_t size) { simt::note_access(p, size, false); }
void __tsan_write_range(void* p, size_t size) { simt::note_access(p, size, true); }

// Of UndefinedBehaviorSanitizer: an index that an array does not have.
struct SourceLocation {
  const char* file;
  uint32_t line;
  uint32_t column;
};
void __ubsan_handle_out_of_bounds(SourceLocation* where, uintptr_t index) {
  const std::string what = std::string(where->file) + ":" + std::to_string(where->line) + ": an array has no element " +
                           std::to_string(static_cast<intptr_t>(index));
  if (simt::running == nullptr) throw simt::Error(what);
  simt::running->fail(what);
}
}
#endif
