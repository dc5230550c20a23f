// Normal numbers from counter-based randomness: the same stream gives the same numbers with any number of threads.
//
//   x[i] = std · √(−2 ln(1 − u₂ⱼ)) · cos or sin (2π u₂ⱼ₊₁),   j = ⌊i / 2⌋       Box and Muller 1958
//
// x: any shape and floating-point type; a lower precision rounds the fp32 draw. Deterministic, and the same on every device.
#pragma once

#include <ATen/ATen.h>

#include "core/base/rng.h"

namespace tersor::kernels {

void fill_normal(const at::Tensor& x, double std, const RandomStream& random);

}  // namespace tersor::kernels
