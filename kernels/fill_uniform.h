// Uniform numbers from counter-based randomness: the same stream gives the same numbers with any number of threads.
//
//   x[i] = bound · (2uᵢ − 1),   uᵢ uniform in [0, 1)
//
// x: any shape and floating-point type; a lower precision rounds the fp32 draw. Deterministic, and the same on every device.
#pragma once

#include <ATen/ATen.h>

#include "core/base/rng.h"

namespace tersor::kernels {

void fill_uniform(const at::Tensor& x, double bound, const RandomStream& random);

}  // namespace tersor::kernels
