// Rotary position embedding, rotate-half form.    Su et al. 2021, arXiv:2104.09864, as in Hugging Face's LLaMA
//
//   x ← x ⊙ cos + rotate_half(x) ⊙ sin      θ_j = base^(−2j/d),  angle = position · θ_j;  tables in fp32, cast to x's type
#pragma once

#include <ATen/ATen.h>

namespace tersor {

struct RotaryTables {
  at::Tensor cos;  // (length, d)
  at::Tensor sin;  // (length, d)
};

[[nodiscard]] RotaryTables rotary_tables(int64_t length, int64_t head_width, double base, const at::TensorOptions& options);

[[nodiscard]] at::Tensor apply_rotary(const at::Tensor& x /* (B, heads, length, d) */, const RotaryTables& tables);

}  // namespace tersor
