// Stacks for the threads of a block, and leaving one for another.
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

// Of this thread of the host: stacks for kMostThreads fibers, one after another.
[[nodiscard]] void* base_of_stack(size_t i);
[[nodiscard]] Range range_of_stacks();
// The stack that the host's thread itself runs on.
[[nodiscard]] const Range& own_stack();

struct Context {
  void* stack_pointer = nullptr;
  const void* stack = nullptr;
  size_t stack_size = 0;
};

// Makes `context` one that runs `entry` on stack i from its beginning; `entry` never returns.
void prepare(Context& context, size_t i, void (*entry)());
// To be called first by `entry`.
void entered();
// `from` goes on when somebody switches back to it; not at all with `for_good`.
void switch_to(Context& from, Context& to, bool for_good = false);

}  // namespace simt
