// The head and the loss in one op, so that the logits of all tokens never exist at once.
//
//   loss = scale · Σ_n  −log softmax(H[n]·Wᵀ)[target[n]]        over n with target[n] ≥ 0
//
// hidden H: (N, d) · weight W: (V, d), same dtype · targets: (N) int64, −100 is ignored · loss: 0-dim, fp32 (fp64 for fp64)
//
// With soft targets q (N, V), probabilities at a temperature T, the loss of a row with a target ≥ 0 is instead
//
//   (1 − w)·(−log softmax(z)[target]) + w·T²·Σ_v q[v]·log(q[v] / softmax(z/T)[v]),  z its logits        Hinton et al. 2015, arXiv:1503.02531
//
// Works on `chunk` rows at a time. If gradients are wanted, they are computed in the forward pass, chunk by chunk, from
// softmax − one-hot written over the logits: at most chunk × V numbers live at once, besides dH (N, d) and dW (V, d), and
// the backward pass does not repeat the product with W. For bf16 inputs, softmax and sums are in fp32, and logits are
// rounded to bf16 once, as a linear layer would.
// Deterministic. The backward pass may run only once.
#pragma once

#include <ATen/ATen.h>

#include <functional>

namespace tersor::kernels {

struct SoftTargets {
  double weight = 0.5;      // w
  double temperature = 1;   // T
  // q of rows [begin, end), (end − begin, V) in fp32.
  std::function<at::Tensor(int64_t begin, int64_t end)> probabilities;
};

// `soft` may be null.
[[nodiscard]] at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets, double scale,
                                              int64_t chunk, const SoftTargets* soft = nullptr);

}  // namespace tersor::kernels
