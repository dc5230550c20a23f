// RMSNorm.    Zhang and Sennrich 2019, arXiv:1910.07467
//
//   y = gain ⊙ cast(x · s),   s = 1 / √(mean(x²) + ε)      cast to the type of x before the gain, as Hugging Face does
//
//   dx = s · (n − x·s · mean(n ⊙ x·s)) + d around,   n = gain ⊙ dy        d gain = Σ_rows dy ⊙ x·s
//
// x: (…, d), gain: (d), of one type; statistics and sums in fp32 (fp64 for fp64). Kept for the backward pass: x and one number
// per row. Deterministic.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

[[nodiscard]] at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps);

// The start of a residual branch: `around` bypasses it and `normed` enters it. One pass computes and adds the gradients of both.
struct ResidualNorm {
  at::Tensor around;  // x, not a copy
  at::Tensor normed;
};
[[nodiscard]] ResidualNorm residual_rms_norm(const at::Tensor& x, const at::Tensor& gain, double eps);

}  // namespace tersor::kernels
