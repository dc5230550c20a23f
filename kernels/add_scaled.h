// The last pass of a step: decays a weight and adds a direction to it, scaled as a whole, by row or by column.
//
//   w ← keep·w + rate·gain ⊙ x         gain: undefined (1), 0-dim, (rows, 1) or (1, columns)
//
// w, x: one shape, fp32; gain: fp32 or fp64. In place; x must not alias w. Deterministic. Tensors that are not
// contiguous fp32, and other forms of gain, go through LibTorch's ops.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

void add_scaled(at::Tensor& w, double keep, const at::Tensor& x, const at::Tensor& gain, double rate);

}  // namespace tersor::kernels
