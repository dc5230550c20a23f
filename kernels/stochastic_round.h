// Stochastic rounding of fp32 to bf16: x goes to one of its two bf16 neighbors, with probabilities that make the
// expectation x.
//
//   y = truncate_16(bits(x) + u),   u uniform in [0, 2¹⁶), drawn from `random` at the element's index, counted from `first`
//
// x: fp32, any shape, contiguous · y: bf16, same shape, contiguous · not aliased · deterministic: a pure function of x
// and the stream, independent of threads. Non-finite values and values that bf16 holds exactly are kept.
#pragma once

#include <ATen/ATen.h>

#include "core/base/rng.h"

namespace tersor::kernels {

void stochastic_round(const at::Tensor& x, at::Tensor& y, const RandomStream& random, int64_t first = 0);

}  // namespace tersor::kernels
