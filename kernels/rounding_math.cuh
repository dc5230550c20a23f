// Stochastic rounding of one number to bf16 on a GPU: see stochastic_round.h.
#pragma once

#include "kernels/launch.cuh"
#include "kernels/rounding.h"

namespace tersor::kernels::gpu {

// The draw of number i of a tensor.
__device__ __forceinline__ uint32_t draw_of(const Rounding& rounding, int64_t i) {
  const int64_t index = rounding.first + i;
  const uint64_t draws = RandomStream(rounding.key).bits(static_cast<uint64_t>(index / kRoundingDraws));
  return static_cast<uint32_t>(draws >> (16 * (index % kRoundingDraws)) & 0xffff);
}

// Stores weights from number i of a tensor on: fp32 as is, bf16 rounded stochastically.
template <int N>
__device__ __forceinline__ void store_rounded(float* to, const float (&x)[N], const Rounding&, int64_t) {
  store_pack(to, x);
}
template <int N>
__device__ __forceinline__ void store_rounded(bf16* to, const float (&x)[N], const Rounding& rounding, int64_t i) {
  Pack<uint16_t, N> pack;
  if (N % kRoundingDraws == 0 && (rounding.first + i) % kRoundingDraws == 0) {  // one 64-bit number serves four
    for (int j = 0; j < N; j += kRoundingDraws) {
      const uint64_t draws = RandomStream(rounding.key).bits(static_cast<uint64_t>((rounding.first + i + j) / kRoundingDraws));
      for (int n = 0; n < kRoundingDraws && n < N; ++n) pack.x[j + n] = rounded_up_or_down(x[j + n], static_cast<uint32_t>(draws >> (16 * n) & 0xffff));
    }
  } else {
    for (int j = 0; j < N; ++j) pack.x[j] = rounded_up_or_down(x[j], draw_of(rounding, i + j));
  }
  store_whole(reinterpret_cast<uint16_t*>(to), pack);
}

}  // namespace tersor::kernels::gpu
