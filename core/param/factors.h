// Two factors of a matrix.    W (out, in) = B·A        B (out, r)   A (r, in)
#pragma once

#include <ATen/ATen.h>

namespace tersor {

struct Factors {
  at::Tensor b, a;
};

// Returns balanced factors of the rank-r matrix nearest to w: B = U√Σ, A = √ΣVᵀ of the truncated SVD, so that BᵀB = AAᵀ. In
// double; r is at most the short side.
[[nodiscard]] Factors truncated_factors(const at::Tensor& w, int64_t r);

// Replaces the factors by balanced ones with the same product. Returns false, with nothing changed, if the product is zero. In double,
// by thin QR of both, B = Q_B R_B and Aᵀ = Q_A R_A, and an SVD of R_B R_Aᵀ (r, r): O((out + in)·r²), and W is never formed.
bool balance(const at::Tensor& b, const at::Tensor& a);

}  // namespace tersor
