// What an op needs to hand its work to the `.cu` file beside it.
#pragma once

#include <ATen/ATen.h>

#include "kernels/gpu.h"

namespace tersor::kernels::gpu {

// The stream that work on this tensor's device goes to now. UserError where this build has no kernels for GPUs.
[[nodiscard]] Stream stream_of(const at::Tensor& x);
// UserError for what kernels on GPUs do not compute in.
[[nodiscard]] Number number_of(const at::Tensor& x);

// Has x written by write(y), y a contiguous tensor like it: x itself where it is one.
template <class Write>
void write_in_a_row(const at::Tensor& x, Write write) {
  if (x.is_contiguous()) return write(x);
  const at::Tensor y = at::empty_like(x, at::MemoryFormat::Contiguous);
  write(y);
  x.copy_(y);
}

}  // namespace tersor::kernels::gpu
