// The tables of kernels/rotary.h: cosine and sine of position · θ_j, θ_j = base^(−2j/d), computed in fp32, or fp64 where that is asked for, and cast.
#pragma once

#include <ATen/ATen.h>

namespace tersor {

struct RotaryTables {
  at::Tensor cos;  // (length, d)
  at::Tensor sin;  // (length, d)
};

[[nodiscard]] RotaryTables rotary_tables(int64_t length, int64_t head_width, double base, const at::TensorOptions& options);

}  // namespace tersor
