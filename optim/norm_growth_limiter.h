// Fira's norm-growth limiter, also used by APOLLO: from one step to the next, the norm of the step may grow by at most a factor γ
// and may fall freely.    Chen et al. 2024, arXiv:2410.01623, equation 8
//
//   k = max(‖S‖ / q, γ) / γ        S ← S / k        q ← ‖S‖          no limit while q = 0, at the start
//
// Departs from the authors' code: q keeps its value where S is zero, as after a zero gradient, and never falls below a thousandth of
// itself in one step. Theirs would limit the next thousands of steps to 1 % growth each.
#pragma once

#include "optim/slots.h"

namespace tersor {

inline constexpr double kNormEpsilon = 1e-8;

// Returns 1/k, 0-dim fp64: the factor for a step of squared norm `square` (0-dim fp64). `norm` is q, a 0-dim slot of kind kExact.
[[nodiscard]] inline at::Tensor limit_norm_growth(const at::Tensor& square, const at::Tensor& norm, double gamma) {
  constexpr double kSteepestFall = 1e-3;
  const at::Tensor size = square.sqrt();
  const at::Tensor growth = (size / (norm.to(at::kDouble) + kNormEpsilon)).clamp_min(gamma) / gamma;
  const at::Tensor shrink = at::where(norm > 0, growth, at::ones_like(growth));
  norm.copy_(at::where(size == 0, norm.to(at::kDouble), at::maximum(size / shrink, norm.to(at::kDouble) * kSteepestFall)));
  return shrink.reciprocal();
}

}  // namespace tersor
