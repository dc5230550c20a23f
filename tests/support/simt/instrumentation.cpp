#include <string>

#include "tests/support/simt/executor.h"

// What the compiler's instrumentation calls. In a build with AddressSanitizer, kernels carry its checks instead.
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

// UndefinedBehaviorSanitizer's report of an array index out of bounds.
struct SourceLocation {
  const char* file;
  uint32_t line;
  uint32_t column;
};
void __ubsan_handle_out_of_bounds(SourceLocation* where, uintptr_t index) {
  const std::string what = std::string(where->file) + ":" + std::to_string(where->line) + ": an array has no element " +
                           std::to_string(static_cast<intptr_t>(index));
  simt::stop(what);
}
}
#endif
