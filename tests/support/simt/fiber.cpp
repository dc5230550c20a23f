#include "tests/support/simt/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <memory>
#include <new>

#include "tests/support/simt/executor.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Leaves one stack for another: saves the callee-saved registers on the old stack, and its stack pointer in *from. (swapcontext
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

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 512 << 10;
#else
constexpr size_t kStack = 64 << 10;
#endif

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

Range stack_of_host_thread() {
  pthread_attr_t attributes;
  void* base = nullptr;
  size_t size = 0;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &base, &size);
  pthread_attr_destroy(&attributes);
  return {reinterpret_cast<uintptr_t>(base), reinterpret_cast<uintptr_t>(base) + size};
}

}  // namespace

void* base_of_stack(size_t i) { return stacks().base(i); }
Range range_of_stacks() { return stacks().range(); }

const Range& own_stack() {
  thread_local const Range range = stack_of_host_thread();
  return range;
}

void prepare(Context& context, size_t i, void (*entry)()) {
  context.stack = base_of_stack(i);
  context.stack_size = kStack;
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(static_cast<char*>(base_of_stack(i)) + 4096, kStack - 4096);  // frames that were never returned to
#endif
  // As simt_switch leaves a stack: six registers and the address to resume at; above them, no caller to return to.
  auto** top = static_cast<void**>(base_of_stack(i)) + kStack / sizeof(void*);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  context.stack_pointer = top;
}

void entered() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

void switch_to(Context& from, Context& to, [[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, to.stack, to.stack_size);
  simt_switch(&from.stack_pointer, to.stack_pointer);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
  simt_switch(&from.stack_pointer, to.stack_pointer);
#endif
}

}  // namespace simt
