// AdamW in one pass.    Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2; Dettmers et al. 2022 for the 8-bit form
//
//   g ← grad_scale·g    m ← m + (1−β₁)(g − m)    v ← β₂v + (1−β₂)g²    n = m / (√v + ε)
//   w ← (1 − lr·λ)·w − lr·gain·n
//
// w: fp32, or bf16 with stochastic rounding · grad: w's type or fp32 · m, v: fp32, or, with 8-bit state, the codes and scales of
// quantize_blockwise · all contiguous and of one shape. `gain` and ε include the bias correction: see AdamCoefficients. In place;
// deterministic.
#pragma once

#include <ATen/ATen.h>

#include <span>

#include "core/base/rng.h"

namespace tersor::kernels {

struct AdamCoefficients {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;   // added to √v itself, not to its bias-corrected form
  double gain = 1;         // √(1−β₂ᵗ) / (1−β₁ᵗ)
  at::Tensor corrections;  // if t is on a GPU: gain and ε there, fp32 (2), in place of the two above

  // The gain as a 0-dim tensor on x's device.
  [[nodiscard]] at::Tensor gain_beside(const at::Tensor& x) const;
};

struct AdamStep {
  double grad_scale = 1;
  double lr = 0;
  double weight_decay = 0;
  RandomStream rounding{0};    // of bf16 weights
  int64_t first = 0;           // the index of the first weight's draw
};

// t ← t + 1; returns `c` with the gain of that step and an ε for √v itself. The given c.epsilon is for the bias-corrected root if
// `epsilon_corrected`, else for √v itself. t: 0-dim fp32 on any device; the host does not wait for it.
[[nodiscard]] AdamCoefficients next_coefficients(const at::Tensor& t, AdamCoefficients c, bool epsilon_corrected);
// The same for t on a GPU: t ← t + 1; returns AdamCoefficients::corrections.
[[nodiscard]] at::Tensor adam_corrections(const at::Tensor& t, double beta1, double beta2, double epsilon, bool epsilon_corrected);

// Updates m and v and writes n, all in fp32.
void adam_direction(const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v, const AdamCoefficients& c, at::Tensor& n);
// Updates m, v and w.
void adamw_step(const at::Tensor& weight, const at::Tensor& grad, const at::Tensor& m, const at::Tensor& v,
                const AdamCoefficients& c, const AdamStep& step);
// The same with 8-bit m and v, each {codes, scales}.
void adamw_step_int8(const at::Tensor& weight, const at::Tensor& grad, std::span<const at::Tensor> m,
                     std::span<const at::Tensor> v, const AdamCoefficients& c, const AdamStep& step);

}  // namespace tersor::kernels
