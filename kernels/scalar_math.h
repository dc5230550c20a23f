// Scalar operations for the inner loops of kernels, in a form that the compiler vectorizes when they are inlined into a
// TERSOR_VECTORIZED function. bf16 is computed in fp32 and rounded once, to nearest even.
#pragma once

#include <c10/util/BFloat16.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#define TERSOR_INLINE inline __attribute__((always_inline))

namespace tersor::kernels {

template <class T>
using Exact = std::conditional_t<std::is_same_v<T, double>, double, float>;  // what T is computed in

TERSOR_INLINE double to_exact(double x) { return x; }
TERSOR_INLINE float to_exact(float x) { return x; }
TERSOR_INLINE float to_exact(c10::BFloat16 x) { return std::bit_cast<float>(static_cast<uint32_t>(x.x) << 16); }

TERSOR_INLINE void store(double& out, double x) { out = x; }
TERSOR_INLINE void store(float& out, float x) { out = x; }
TERSOR_INLINE void store(c10::BFloat16& out, float x) {
  constexpr uint16_t kNan = 0x7fc0;
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto rounded = static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
  out.x = x != x ? kNan : rounded;
}

// eˣ to a relative error of 2⁻²³; beyond fp32's range, the nearest power within it. NaN stays NaN.
TERSOR_INLINE float exponential(float x) {
  constexpr float kLargest = 88.0f;
  constexpr float kSmallest = -87.3f;
  constexpr float kRounds = 0x1.8p23f;  // added to a number, it leaves an integer in the lowest bits
  constexpr float kLn2High = 0x1.62e4p-1f;
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  x = x > kLargest ? kLargest : x;
  x = x < kSmallest ? kSmallest : x;
  const float shifted = x * 1.44269504f + kRounds;
  const float octave = shifted - kRounds;
  const float r = (x - octave * kLn2High) - octave * kLn2Low;
  float sum = 1.0f / 5040;
  sum = sum * r + 1.0f / 720;
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1;
  sum = sum * r + 1;
  return sum * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000U);
}
TERSOR_INLINE double exponential(double x) { return std::exp(x); }

// Σ f(i) over [0, size), in an order that does not depend on the processor.
template <class Sum, class F>
TERSOR_INLINE Sum lane_sum(int64_t size, F f) {
  constexpr int64_t kLanes = 64;
  Sum lanes[kLanes] = {};
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += f(i + lane);
  for (int64_t i = whole; i < size; ++i) lanes[i - whole] += f(i);
  Sum sum = 0;
  for (const Sum lane : lanes) sum += lane;
  return sum;
}

// The largest f(i), or −∞ if there is none; NaN is skipped.
template <class Number, class F>
TERSOR_INLINE Number lane_max(int64_t size, F f) {
  constexpr int64_t kLanes = 64;
  constexpr Number kNone = -std::numeric_limits<Number>::infinity();
  Number lanes[kLanes];
  for (Number& lane : lanes) lane = kNone;
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] = f(i + lane) > lanes[lane] ? f(i + lane) : lanes[lane];
  for (int64_t i = whole; i < size; ++i) lanes[i - whole] = f(i) > lanes[i - whole] ? f(i) : lanes[i - whole];
  Number largest = kNone;
  for (const Number lane : lanes) largest = lane > largest ? lane : largest;
  return largest;
}

}  // namespace tersor::kernels
