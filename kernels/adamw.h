// AdamW in one pass.    Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2; Dettmers et al. 2022 for the 8-bit form
//
//   g ← grad_scale·g    m ← m + (1−β₁)(g − m)    v ← β₂v + (1−β₂)g²    n = m / (√v + ε)
//   w ← (1 − lr·λ)·w − lr·gain·n
//
// w: fp32, or bf16, and then rounded stochastically · grad: of w's type, or fp32 · m, v: fp32, or, with 8-bit state, codes and scales as
// quantize_blockwise makes them · contiguous, one shape. `gain` and ε hold the bias correction: see AdamCoefficients. In place;
// deterministic.
#pragma once

#include <ATen/ATen.h>

#include <span>

#include "core/base/rng.h"

namespace tersor::kernels {

struct AdamCoefficients {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;   // added to √v as it is, not to its corrected form
  double gain = 1;         // √(1−β₂ᵗ) / (1−β₁ᵗ)
  at::Tensor corrections;  // on a GPU, where t is there: gain and ε in fp32 (2), in the place of those here

  // The gain, 0-dim, where `x` is.
  [[nodiscard]] at::Tensor gain_beside(const at::Tensor& x) const;
};

struct AdamStep {
  double grad_scale = 1;
  double lr = 0;
  double weight_decay = 0;
  RandomStream rounding{0};    // of weights in bf16
  int64_t first = 0;           // the index of the first number among its draws
};

// t ← t + 1, and the coefficients of that step: gain, and ε for the root as it is, of `c`, whose ε is added to the corrected root or, where
// not `epsilon_corrected`, to the root as it is. t: 0-dim fp32, on any device, which is not waited for
[[nodiscard]] AdamCoefficients next_coefficients(const at::Tensor& t, AdamCoefficients c, bool epsilon_corrected);
// Its part on a GPU: t ← t + 1, and AdamCoefficients::corrections.
[[nodiscard]] at::Tensor adam_corrections(const at::Tensor& t, double beta1, double beta2, double epsilon, bool epsilon_corrected);

// Updates m and v and writes n, all in fp32.
void adam_direction(const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v, const AdamCoefficients& c, at::Tensor& n);
// Updates m, v and w.
void adamw_step(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v,
                const AdamCoefficients& c, const AdamStep& step);
// The same with m and v in 8 bits: {codes, scales} each.
void adamw_step_int8(const at::Tensor& weight, const at::Tensor& grad, std::span<const at::Tensor> m,
                     std::span<const at::Tensor> v, const AdamCoefficients& c, const AdamStep& step);

}  // namespace tersor::kernels
