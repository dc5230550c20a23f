// Watches every memory access of a running kernel: refuses races, accesses beyond what was allocated, and reads of shared memory that
// the block has not written.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tests/support/simt/fiber.h"

namespace simt {

// Who touches memory, and when: threads are numbered from 1 in the grid, and times advance at barriers of the block and of the warp.
struct Access {
  uint32_t thread = 0;  // 0: none
  uint32_t block_time = 0;
  uint32_t warp_time = 0;
  bool atomic = false;
};

class MemoryWatch {
 public:
  // `apart`: the executor's own memory, which is not watched.
  MemoryWatch(size_t shared_size, uint32_t block_size, std::vector<Range> apart);

  // A message on what is wrong: the thread's name goes between the two parts.
  struct Complaint {
    std::string before;
    std::string after;
  };
  [[nodiscard]] std::optional<Complaint> note(uintptr_t address, size_t size, bool writes, const Access& now);

 private:
  struct Cell {  // of a byte
    Access write;
    Access read;
    bool several_reads = false;
  };
  static constexpr uintptr_t kLine = 32;
  using Line = std::array<Cell, kLine>;

  [[nodiscard]] std::optional<Complaint> check_bounds(uintptr_t address, size_t size);
  [[nodiscard]] std::optional<Complaint> touch(uintptr_t address, const Access& now, bool writes, bool shared);
  [[nodiscard]] bool ordered(const Access& before, const Access& now, bool shared) const;
  [[nodiscard]] Complaint race(const Access& before, const Access& now, bool writes, bool wrote, bool shared) const;

  size_t shared_size_;
  uint32_t block_size_;
  std::vector<Range> apart_;
  Range program_;        // its code and data
  Range thread_locals_;  // of this thread; they hold shared memory
  Range dynamic_;        // shared memory requested at launch
  Range known_;          // the allocation touched last
  bool bounded_ = false;
  std::unordered_map<uintptr_t, Line> lines_;
  Line* last_ = nullptr;
  uintptr_t last_key_ = 0;
};

}  // namespace simt
