// Fira's norm-growth limiter, also APOLLO's: the norm of a step may grow by a factor γ at most from one step to the next,
// and may fall freely.    Chen et al. 2024, arXiv:2410.01623, equation 8
//
//   k = max(‖S‖ / q, γ) / γ        S ← S / k        q ← ‖S‖          nothing is limited while q = 0, at the start
//
// Departs from the authors' code: q never falls below a thousandth of itself in one step, so that one vanishing gradient
// does not hold the next thousands of steps at 1 % growth each.
#pragma once

#include "optim/slots.h"

namespace tersor {

inline constexpr double kNormEpsilon = 1e-8;

// Scales `step` in place. `norm` is a slot of kind kExact, 0-dim.
inline void limit_norm_growth(at::Tensor& step, const at::Tensor& norm, double gamma) {
  constexpr double kSteepestFall = 1e-3;
  const at::Tensor size = at::linalg_vector_norm(step);
  const at::Tensor growth = (size / (norm + kNormEpsilon)).clamp_min(gamma) / gamma;
  const at::Tensor shrink = at::where(norm > 0, growth, at::ones_like(growth));
  step.div_(shrink);
  norm.copy_(at::maximum(size / shrink, norm * kSteepestFall));
}

}  // namespace tersor
