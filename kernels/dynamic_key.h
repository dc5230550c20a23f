// The part of a number that narrows down its code on a dynamic map, the same on the CPU and on a GPU: see quantize_blockwise.h.
#pragma once

#include <bit>
#include <cstdint>

namespace tersor::kernels {

inline constexpr int32_t kLowestDynamicKey = (127 - 23) << 7;  // the key of 2⁻²³, below every boundary
inline constexpr int32_t kDynamicKeys = (23 << 7) + 1;         // per sign, up to the key of 1

// Sign, exponent and 7 mantissa bits of x in [−1, 1]; the keys of negative numbers come second.
constexpr int32_t dynamic_key(float x) {
  const int32_t magnitude = ((std::bit_cast<int32_t>(x) & 0x7fffffff) >> 16) - kLowestDynamicKey;
  const int32_t key = magnitude < 0 ? 0 : magnitude < kDynamicKeys ? magnitude : kDynamicKeys - 1;
  return key + (x < 0 ? kDynamicKeys : 0);
}

}  // namespace tersor::kernels
