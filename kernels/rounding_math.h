// Stochastic rounding of one number to bf16 on a GPU: see stochastic_round.h.
#pragma once

#include "core/base/rng.h"
#include "kernels/launch.h"

namespace tersor::kernels::gpu {

// The draw of number i of a tensor.
__device__ __forceinline__ uint32_t draw_of(const Rounding& rounding, int64_t i) {
  const int64_t index = rounding.first + i;
  return static_cast<uint32_t>(RandomStream(rounding.key).bits(static_cast<uint64_t>(index / 4)) >> (16 * (index % 4)) & 0xffff);
}

__device__ __forceinline__ uint16_t rounded_up_or_down(float x, uint32_t draw) {
  constexpr uint32_t kInfinity = 0x7f800000;
  const uint32_t bits = __float_as_uint(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t rounded = bits + (magnitude < kInfinity ? draw : 0U);
  // A NaN whose payload sits in the low half must not become infinity.
  return static_cast<uint16_t>((rounded | (magnitude > kInfinity ? 0x00400000U : 0U)) >> 16);
}

// A weight as it rests: fp32 as it is.
__device__ __forceinline__ void store_rounded(float& to, float x, const Rounding&, int64_t) { to = x; }
__device__ __forceinline__ void store_rounded(bf16& to, float x, const Rounding& rounding, int64_t i) {
  to = __ushort_as_bfloat16(rounded_up_or_down(x, draw_of(rounding, i)));
}

}  // namespace tersor::kernels::gpu
