// Rotary position embedding, rotate-half form.    Su et al. 2021, arXiv:2104.09864, as in Hugging Face's LLaMA
//
//   y = x ⊙ cos + rotate_half(x) ⊙ sin,   rotate_half(x) = (−x[d/2:], x[:d/2])        dx: the same with −sin
//
// x: (B, length, heads, d), contiguous · cos, sin: (length, d), both halves equal, of x's type. bf16 is computed in fp32 and
// rounded once. Nothing of x is kept. Deterministic.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

[[nodiscard]] at::Tensor rotary(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin);

}  // namespace tersor::kernels
