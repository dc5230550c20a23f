// Stochastic rounding of one number to bf16 on a GPU: see stochastic_round.h.
#pragma once

#include "kernels/launch.h"
#include "kernels/rounding.h"

namespace tersor::kernels::gpu {

// The draw of number i of a tensor.
__device__ __forceinline__ uint32_t draw_of(const Rounding& rounding, int64_t i) {
  const int64_t index = rounding.first + i;
  const uint64_t draws = RandomStream(rounding.key).bits(static_cast<uint64_t>(index / kRoundingDraws));
  return static_cast<uint32_t>(draws >> (16 * (index % kRoundingDraws)) & 0xffff);
}

// A weight as it rests: fp32 as it is.
__device__ __forceinline__ void store_rounded(float& to, float x, const Rounding&, int64_t) { to = x; }
__device__ __forceinline__ void store_rounded(bf16& to, float x, const Rounding& rounding, int64_t i) {
  to = __ushort_as_bfloat16(rounded_up_or_down(x, draw_of(rounding, i)));
}

}  // namespace tersor::kernels::gpu
