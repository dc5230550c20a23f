// Approximates the nearest semi-orthogonal matrix by matrix products alone.    Jordan et al. 2024 (Muon)
//
//   X₀ = G / ‖G‖      X ← aX + (bA + cA²)X,  A = XXᵀ       (a, b, c) = (3.4445, −4.7750, 2.0315)
//
// grad: fp32 (rows, columns) · result: the same shape; every singular value ends in about [0.7, 1.2], a zero stays zero.
// Works on the short side. Deterministic.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

[[nodiscard]] at::Tensor newton_schulz(const at::Tensor& grad, int64_t iterations);

}  // namespace tersor::kernels
