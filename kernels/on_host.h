// Tensors of the meta device have shapes and no numbers. A plan takes training steps on them to count the memory of real ones
// (core/train/step_memory.h), so kernels for host memory take them too: they allocate what they would, and compute nothing.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

[[nodiscard]] inline bool on_host(const at::Tensor& x) { return x.is_cpu() || x.is_meta(); }

// What a 0-dim tensor holds, for which the host waits. Any finite number does where there is none.
[[nodiscard]] inline double number_in(const at::Tensor& x) { return x.is_meta() ? 1 : x.item<double>(); }

}  // namespace tersor::kernels
