// AdamW in one pass.    Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2; Dettmers et al. 2022 for the 8-bit form
//
//   g ← grad_scale·g    m ← m + (1−β₁)(g − m)    v ← β₂v + (1−β₂)g²    n = m / (√v + ε)
//   w ← (1 − lr·λ)·w − lr·gain·n
//
// grad, w, m, v: fp32, contiguous, one shape; with 8-bit state m and v are codes and scales as quantize_blockwise makes
// them. `gain` and ε hold the bias correction: see AdamCoefficients. In place; deterministic.
#pragma once

#include <ATen/ATen.h>

#include <span>

namespace tersor::kernels {

struct AdamCoefficients {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;  // added to √v as it is, not to its corrected form
  double gain = 1;        // √(1−β₂ᵗ) / (1−β₁ᵗ)
};

struct AdamStep {
  double grad_scale = 1;
  double lr = 0;
  double weight_decay = 0;
};

// Updates m and v and writes n.
void adam_direction(const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v, const AdamCoefficients& c, at::Tensor& n);
// Updates m, v and w.
void adamw_step(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v,
                const AdamCoefficients& c, const AdamStep& step);
// The same with m and v in 8 bits: {codes, scales} each.
void adamw_step_int8(const at::Tensor& weight, const at::Tensor& grad, std::span<const at::Tensor> m,
                     std::span<const at::Tensor> v, const AdamCoefficients& c, const AdamStep& step);

}  // namespace tersor::kernels
