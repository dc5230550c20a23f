// The last pass of a step: a weight decays and a direction, scaled as a whole, by row or by column, is added to it.
//
//   w ← keep·w + rate·gain ⊙ x         gain: undefined (1), 0-dim, (rows, 1) or (1, columns)
//
// w, x: one shape, fp32; gain: fp32 or fp64. In place; x may not alias w. Deterministic. What is not contiguous or has
// another form of gain goes through LibTorch's ops.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

void add_scaled(at::Tensor& w, double keep, const at::Tensor& x, const at::Tensor& gain, double rate);

}  // namespace tersor::kernels
