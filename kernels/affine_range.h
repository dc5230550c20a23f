// Scale and zero of a quantize_affine.h block from the block's range, the same on the CPU and on a GPU.
#pragma once

namespace tersor::kernels {

struct AffineRange {
  float scale;
  float zero;
};

// For numbers from low ≤ 0 to high ≥ 0 and codes 0 to `levels`. Zero is a code, and both ends lie within the range of the codes:
// nothing saturates.
constexpr AffineRange affine_range(float low, float high, float levels) {
  constexpr float kSmallest = 1e-5f;  // so that the scale of a block of zeros is not 0
  constexpr float kWhole = 0x1.8p23f;  // adding and subtracting it rounds to an integer, halves to even
  const float even = (high - low > kSmallest ? high - low : kSmallest) / levels;
  const float least = low < 0 ? 1.0f : 0.0f;
  const float most = high > 0 ? levels - 1 : levels;
  const float nearest = (-low / even + kWhole) - kWhole;
  const float zero = nearest < least ? least : nearest > most ? most : nearest;
  const float below = low < 0 ? -low / zero : 0.0f;
  const float above = high > 0 ? high / (levels - zero) : 0.0f;
  const float scale = below > above ? below : above;
  return {scale > kSmallest / levels ? scale : kSmallest / levels, zero};
}

}  // namespace tersor::kernels
