// What an op needs to hand its work to its `.cu` file.
#pragma once

#include <ATen/ATen.h>

#include "kernels/gpu.h"

namespace tersor::kernels::gpu {

// Returns the current stream of this tensor's device. Throws UserError if this build has no kernels for GPUs.
[[nodiscard]] Stream stream_of(const at::Tensor& x);
// Throws UserError for a type that kernels on GPUs do not compute in.
[[nodiscard]] Number number_of(const at::Tensor& x);

// Fills x by write(y), where y is a contiguous tensor like x: x itself if it is contiguous.
template <class Write>
void write_in_a_row(const at::Tensor& x, Write write) {
  if (x.is_contiguous()) return write(x);
  const at::Tensor y = at::empty_like(x, at::MemoryFormat::Contiguous);
  write(y);
  x.copy_(y);
}

}  // namespace tersor::kernels::gpu
