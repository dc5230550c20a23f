// Stacks for the threads of a block, and switching between them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace simt {

// Addresses [begin, end).
struct Range {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  [[nodiscard]] bool has(uintptr_t address) const { return address >= begin && address < end; }
};

// This host thread's stacks for kMostThreads fibers, one after another.
[[nodiscard]] void* base_of_stack(size_t i);
[[nodiscard]] Range range_of_stacks();
// The stack that the host thread itself runs on.
[[nodiscard]] const Range& own_stack();

struct Context {
  void* stack_pointer = nullptr;
  const void* stack = nullptr;
  size_t stack_size = 0;
};

// Prepares `context` to run `entry` from its beginning on stack i; `entry` never returns.
void prepare(Context& context, size_t i, void (*entry)());
// `entry` must call this first.
void entered();
// `from` resumes when something switches back to it; never if `for_good`.
void switch_to(Context& from, Context& to, bool for_good = false);

}  // namespace simt
