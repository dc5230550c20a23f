// AdamW's step for one number on a GPU, shared by the kernels with fp32 and with 8-bit moments.
#pragma once

#include "kernels/rounding_math.cuh"

namespace tersor::kernels::gpu {

// The numbers of a step, with gain and ε from device memory if they are there.
__device__ __forceinline__ AdamNumbers corrected(AdamNumbers a) {
  if (a.corrections != nullptr) {
    a.gain = a.corrections[0];
    a.epsilon = a.corrections[1];
  }
  return a;
}
// Returns the direction n; g is already scaled.
__device__ __forceinline__ float adam_direction_of(float g, float& m, float& v, const AdamNumbers& a) {
  m += a.new1 * (g - m);
  v = a.keep2 * v + a.new2 * g * g;
  return m / (sqrtf(v) + a.epsilon);
}
__device__ __forceinline__ float adamw_weight(float w, float g, float& m, float& v, const AdamNumbers& a) {
  return a.decay * w - a.lr * a.gain * adam_direction_of(a.grad_scale * g, m, v, a);
}

// Calls f(weight, gradient) with numbers of their types: both bf16, both fp32, or a bf16 weight with an fp32 gradient.
template <class F>
void with_types(const Weights& w, F f) {
  if (w.type == Number::kFp32)
    f(float{}, float{});
  else if (w.grad_type == Number::kFp32)
    f(bf16{}, float{});
  else
    f(bf16{}, bf16{});
}

}  // namespace tersor::kernels::gpu
