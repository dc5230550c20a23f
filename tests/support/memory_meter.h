// The bytes of tensors beyond those there were at first, by the ledger.
#pragma once

#include "core/memory/ledger.h"

namespace tersor::testing {

class MemoryMeter {
 public:
  MemoryMeter() : first_(memory_now().total) { reset_memory_peak(); }
  [[nodiscard]] int64_t now() const { return memory_now().total - first_; }
  [[nodiscard]] int64_t peak() const { return memory_peak().total - first_; }
  void restart_peak() { reset_memory_peak(); }

 private:
  int64_t first_;
};

}  // namespace tersor::testing
