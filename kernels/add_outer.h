// A few outer products added to a weight in one pass over it: what SwitchLoRA's switches take from the factors and give to W.
//
//   W ← W + scale · Σₖ uₖ vₖᵀ        W (out, in)   u (k, out)   v (k, in)
//
// W: fp32, or bf16, and then rounded stochastically by the stream as stochastic_round does · u, v: fp32 · all contiguous, on one
// device, not aliased. In place, with nothing of W's size beside it. Sums are in fp32, W first and the products in their order.
// Deterministic: a pure function of the tensors and the stream, independent of threads.
#pragma once

#include <ATen/ATen.h>

#include "core/base/rng.h"

namespace tersor::kernels {

void add_outer(at::Tensor& w, const at::Tensor& u, const at::Tensor& v, double scale, const RandomStream& random);

}  // namespace tersor::kernels
