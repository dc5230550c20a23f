// Tensors of the meta device have shapes but no data. A plan takes training steps on them to count the memory of real ones
// (core/train/step_memory.h), so kernels for host memory accept them too: they allocate what they would, and compute nothing.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

[[nodiscard]] inline bool on_host(const at::Tensor& x) { return x.is_cpu() || x.is_meta(); }

// The value of a 0-dim tensor; the host waits for it. A meta tensor has none, and any finite number will do.
[[nodiscard]] inline double number_in(const at::Tensor& x) { return x.is_meta() ? 1 : x.item<double>(); }

}  // namespace tersor::kernels
