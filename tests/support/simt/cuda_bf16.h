// Stands in for CUDA's header of this name when a kernel is compiled for the CPU: the part of it that tersor's kernels use.
#pragma once

#include <bit>
#include <cstdint>

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }
// To the nearest, ties to even; NaN stays NaN.
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  __nv_bfloat16 result;
  result.bits = x != x ? uint16_t{0x7fff} : static_cast<uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16);
  return result;
}
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
  __nv_bfloat16 result;
  result.bits = bits;
  return result;
}
