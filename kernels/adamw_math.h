// One number's step of AdamW on a GPU, for the kernels that keep moments in fp32 and in 8 bits.
#pragma once

#include "kernels/launch.h"

namespace tersor::kernels::gpu {

// The direction n; g is scaled already.
__device__ __forceinline__ float adam_direction_of(float g, float& m, float& v, const AdamNumbers& a) {
  m += a.new1 * (g - m);
  v = a.keep2 * v + a.new2 * g * g;
  return m / (sqrtf(v) + a.epsilon);
}
__device__ __forceinline__ float adamw_weight(float w, float g, float& m, float& v, const AdamNumbers& a) {
  return a.decay * w - a.rate * adam_direction_of(a.grad_scale * g, m, v, a);
}

}  // namespace tersor::kernels::gpu
