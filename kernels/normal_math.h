// The math of normal draws, in double, the same on the CPU and on a GPU: series instead of library functions.
#pragma once

#include <bit>
#include <cstdint>
#include <numbers>

namespace tersor::kernels {

// The value of RandomStream::uniform for these bits. Not every processor has a vector instruction from 64-bit integers to
// double, so the halves go into the mantissas of 2⁸⁴ and 2⁵², whose sum is exact.
constexpr double to_unit(uint64_t bits) {
  const uint64_t draw = bits >> 11;
  const double high = std::bit_cast<double>((draw >> 32) | 0x4530000000000000ULL) - 0x1.00000001p+84;
  const double low = std::bit_cast<double>((draw & 0xffffffffULL) | 0x4330000000000000ULL);
  return (high + low) * 0x1.0p-53;
}

// Unrolled by the compiler: a loop inside would keep the loop around it from being vectorized.
template <class... Rest>
constexpr double series(double z, double sum, Rest... next) {  // ((first·z + second)·z + …)
  ((sum = sum * z + next), ...);
  return sum;
}
template <class... Steps>
constexpr double nested(double z, Steps... steps) {  // 1 − z/last·(… (1 − z/first))
  double product = 1;
  ((product = 1 - product * z * (1 / steps)), ...);
  return product;
}

// ln x for x in [2⁻⁵³, 1], to a relative error of 2⁻⁵¹: 2·artanh((m − 1)/(m + 1)) with m in [√½, √2].
constexpr double log_of(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  const uint64_t shifted = bits - 0x3fe6a09e667f3bcdULL;  // √½ begins an octave
  const double exponent =
      std::bit_cast<double>((((shifted >> 52) ^ 0x800ULL) & 0xfffULL) | 0x4330000000000000ULL) - (0x1.0p52 + 2048);
  const double m = std::bit_cast<double>((shifted & 0x000fffffffffffffULL) + 0x3fe6a09e667f3bcdULL);
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  const double sum = series(z, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9, 1.0 / 7, 1.0 / 5, 1.0 / 3);
  return exponent * std::numbers::ln2 + 2 * (s + s * z * sum);
}

// Cosine and sine of 2πu, u in [0, 1), by their series within an eighth of a turn of the nearest quarter.
constexpr void turn(double u, double& cosine, double& sine) {
  const double shifted = 4 * u + 0x1.8p52;  // rounds to an integer, which then lies in the lowest bits
  const auto quarter = std::bit_cast<uint64_t>(shifted);
  const double angle = 2 * std::numbers::pi * (u - 0.25 * (shifted - 0x1.8p52));
  const double z = angle * angle;
  const double s = angle * nested(z, 16. * 17, 14. * 15, 12. * 13, 10. * 11, 8. * 9, 6. * 7, 4. * 5, 2. * 3);
  const double c = nested(z, 15. * 16, 13. * 14, 11. * 12, 9. * 10, 7. * 8, 5. * 6, 3. * 4, 1. * 2);
  const bool odd = (quarter & 1) != 0;
  const double a = odd ? s : c;
  const double b = odd ? c : s;
  cosine = ((quarter + 1) & 2) != 0 ? -a : a;
  sine = (quarter & 2) != 0 ? -b : b;
}

}  // namespace tersor::kernels
