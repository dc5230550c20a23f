// The gated activation of the MLP.    Shazeer 2020, arXiv:2002.05202
//
//   y = silu(gate) ⊙ up,   silu(g) = g·σ(g),  σ(g) = 1 / (1 + e^−g)
//
//   d gate = dy ⊙ up ⊙ σ(gate)·(1 + gate·(1 − σ(gate)))        d up = dy ⊙ silu(gate)
//
// gate, up: one shape and type. bf16 is computed in fp32 and rounded once. Deterministic.
//
// Only gate and up are kept, and the backward pass overwrites them with their gradients: they must be results that nothing
// else reads, such as those of two matrix products, and the backward pass may run only once.
#pragma once

#include <ATen/ATen.h>

namespace tersor::kernels {

[[nodiscard]] at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace tersor::kernels
