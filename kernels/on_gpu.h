// What an op needs to hand its work to the `.cu` file beside it.
#pragma once

#include <ATen/ATen.h>

#include "kernels/gpu.h"

namespace tersor::kernels::gpu {

// The stream that work on this tensor's device goes to now. UserError where this build has no kernels for GPUs.
[[nodiscard]] Stream stream_of(const at::Tensor& x);
// UserError for what kernels on GPUs do not compute in.
[[nodiscard]] Number number_of(const at::Tensor& x);

}  // namespace tersor::kernels::gpu
