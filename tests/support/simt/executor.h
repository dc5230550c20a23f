// Runs CUDA kernels on the CPU: the stand-ins for CUDA's headers beside this file are built on it.
//
// The threads of a block are fibers that take turns on one host thread, and blocks run one after another. A fiber runs until it
// waits for others, at a barrier of its block or for lanes of its warp. A kernel is refused, with a message that names
// the thread and the line, when
//   - threads of a block wait at different barriers, or some have left the kernel (divergence),
//   - a lane waits for one that is elsewhere or has left, or reads from one that does not take part,
//   - two threads touch the same byte, one of them writing, and nothing orders them (a race; in shared and in global memory),
//   - a block reads shared memory that it has not written, or touches memory beyond what was allocated.
// The last two see memory as ThreadSanitizer does: kernels are compiled with its instrumentation, whose calls end up here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <stdexcept>
#include <string>

namespace simt {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Dim3 {
  unsigned x = 1;
  unsigned y = 1;
  unsigned z = 1;
  constexpr Dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}  // a number is a size, as in CUDA
  [[nodiscard]] constexpr size_t count() const { return size_t{x} * y * z; }
};

// Where the calling thread of the GPU is.
struct Position {
  Dim3 thread;
  Dim3 block;
  Dim3 block_size;
  Dim3 grid_size;
  unsigned lane = 0;
};
[[nodiscard]] const Position& here();

inline constexpr unsigned kWarp = 32;
inline constexpr unsigned kMostThreads = 1024;
inline constexpr size_t kMostShared = 232448;  // 227 KiB, of sm_90 and sm_100

// What every thread runs. It lies on the launcher's stack, which kernels may read, as they read their arguments.
class Body {
 public:
  template <class F>
  explicit Body(const F& f) : f_(&f), call_([](const void* g) { (*static_cast<const F*>(g))(); }) {}
  void operator()() const { call_(f_); }

 private:
  const void* f_;
  void (*call_)(const void*);
};
// Runs `body` as every thread of a grid. Throws Error if it does anything forbidden.
void run(Dim3 grid, Dim3 block, size_t dynamic_shared, const Body& body);

// Returns when all threads of the block have reached the same call.
void wait_for_block(const std::source_location& where);
// Returns the values of the lanes in `mask` when all of them have reached the same call.
[[nodiscard]] const std::array<uint64_t, kWarp>& meet(uint32_t mask, uint64_t value, bool orders_memory, const std::source_location& where);

// Ends the kernel with an Error. Never returns.
[[noreturn]] void fail(const std::string& what, const std::source_location& where);

// The same without a place in the kernel, for what the compiler's instrumentation finds.
[[noreturn]] void stop(const std::string& what);

// Fails if a lane that is read from does not take part.
void check_lane(unsigned lane, uint32_t mask, const std::source_location& where);

// An access that the instrumentation does not see.
void note_access(const volatile void* address, size_t size, bool writes, bool atomic = false);

// Asynchronous copies of the calling thread into shared memory. `copy_later` adds one to a group, `commit_copies` closes the
// group, and `finish_copies` completes all but the latest `groups_left` groups; until then nobody sees them.
void copy_later(void* to, const void* from, size_t bytes, size_t zeros, const std::source_location& where);
void commit_copies();
void finish_copies(size_t groups_left);

// Global memory that kernels may touch. Unless some has been allowed, global memory is not checked for bounds.
void allow(const void* address, size_t size);
void forbid(const void* address);

// Unchecked kernels are not watched for races and bounds, and run several times as fast.
void set_unchecked(bool unchecked);

// The number of kernels launched so far.
[[nodiscard]] int64_t launches();

}  // namespace simt
