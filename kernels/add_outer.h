// Adds a few outer products to a weight in one pass: SwitchLoRA's switches move what they take from the factors into W.
//
//   W ← W + scale · Σₖ uₖ vₖᵀ        W (out, in)   u (k, out)   v (k, in)
//
// W: fp32, or bf16, rounded stochastically with the stream as stochastic_round does · u, v: fp32 · all contiguous, on one device,
// not aliased. In place, without temporaries of W's size. Sums are in fp32: W first, then the products in order.
// Deterministic: a pure function of the tensors and the stream, independent of threads.
#pragma once

#include <ATen/ATen.h>

#include "core/base/rng.h"

namespace tersor::kernels {

void add_outer(at::Tensor& w, const at::Tensor& u, const at::Tensor& v, double scale, const RandomStream& random);

}  // namespace tersor::kernels
