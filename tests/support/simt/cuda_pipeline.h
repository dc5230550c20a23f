// Stands in for CUDA's header of this name when a kernel is compiled for the CPU: asynchronous copies into shared memory. Here nothing
// arrives before it is waited for.
#pragma once

#include "tests/support/simt/cuda_runtime.h"

inline void __pipeline_memcpy_async(void* to, const void* from, size_t bytes, size_t zeros = 0, const SimtPlace& where = SimtPlace::current()) {
  simt::copy_later(to, from, bytes, zeros, where);
}
inline void __pipeline_commit() { simt::commit_copies(); }
inline void __pipeline_wait_prior(size_t groups) { simt::finish_copies(groups); }
