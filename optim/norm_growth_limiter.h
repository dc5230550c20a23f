// Fira's norm-growth limiter, also APOLLO's: the norm of a step may grow by a factor γ at most from one step to the next,
// and may fall freely.    Chen et al. 2024, arXiv:2410.01623, equation 8
//
//   k = max(‖S‖ / q, γ) / γ        S ← S / k        q ← ‖S‖          nothing is limited while q = 0, at the start
//
// Departs from the authors' code: q stays where S is zero, as after a gradient of zero, and never falls below a thousandth of itself
// in one step. Theirs would hold the next thousands of steps at 1 % growth each.
#pragma once

#include "optim/slots.h"

namespace tersor {

inline constexpr double kNormEpsilon = 1e-8;

// What a step of squared norm `square` (0-dim fp64) is multiplied by: 1/k, 0-dim fp64. `norm` is a slot of kind kExact, 0-dim.
[[nodiscard]] inline at::Tensor limit_norm_growth(const at::Tensor& square, const at::Tensor& norm, double gamma) {
  constexpr double kSteepestFall = 1e-3;
  const at::Tensor size = square.sqrt();
  const at::Tensor growth = (size / (norm.to(at::kDouble) + kNormEpsilon)).clamp_min(gamma) / gamma;
  const at::Tensor shrink = at::where(norm > 0, growth, at::ones_like(growth));
  norm.copy_(at::where(size == 0, norm.to(at::kDouble), at::maximum(size / shrink, norm.to(at::kDouble) * kSteepestFall)));
  return shrink.reciprocal();
}

}  // namespace tersor
