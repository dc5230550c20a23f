#include "kernels/fill_normal.h"

#include <ATen/Parallel.h>

#include <bit>
#include <cmath>
#include <numbers>

#include "kernels/on_host.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kPairs = 256;  // a chunk

// RandomStream::uniform of 53 bits. There is no vector instruction from 64-bit integers to double everywhere: the halves are
// put into the mantissas of 2⁸⁴ and 2⁵², whose sum is exact.
inline double to_unit(uint64_t bits) {
  const uint64_t draw = bits >> 11;
  const double high = std::bit_cast<double>((draw >> 32) | 0x4530000000000000ULL) - 0x1.00000001p+84;
  const double low = std::bit_cast<double>((draw & 0xffffffffULL) | 0x4330000000000000ULL);
  return (high + low) * 0x1.0p-53;
}

// Written out by the compiler: a loop inside would keep the loop around it from becoming vector instructions.
template <class... Rest>
double series(double z, double sum, Rest... next) {  // ((first·z + second)·z + …)
  ((sum = sum * z + next), ...);
  return sum;
}
template <class... Steps>
double nested(double z, Steps... steps) {  // 1 − z/last·(… (1 − z/first))
  double product = 1;
  ((product = 1 - product * z * (1 / steps)), ...);
  return product;
}

// ln x for x in [2⁻⁵³, 1], to 2⁻⁵¹ of it: 2·artanh((m − 1)/(m + 1)) with m in [√½, √2].
inline double log_of(double x) {
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
inline void turn(double u, double& cosine, double& sine) {
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

TERSOR_VECTORIZED void draw_chunk(uint64_t key, uint64_t first, double std, float* even, float* odd) {
  const RandomStream random(key);
  for (uint64_t i = 0; i < kPairs; ++i) {
    const uint64_t index = 2 * (first + i);
    const double radius = std * std::sqrt(-2 * log_of(1 - to_unit(random.bits(index))));
    double cosine;
    double sine;
    turn(to_unit(random.bits(index + 1)), cosine, sine);
    even[i] = static_cast<float>(radius * cosine);
    odd[i] = static_cast<float>(radius * sine);
  }
}

}  // namespace

void fill_normal(const at::Tensor& x, double std, const RandomStream& random) {
  const at::NoGradGuard no_grad;
  const bool direct = on_host(x) && x.is_contiguous() && x.scalar_type() == at::kFloat;
  const at::Tensor draws = direct ? x : at::empty(x.sizes(), at::TensorOptions(at::kFloat).device(x.is_meta() ? at::kMeta : at::kCPU));
  if (x.is_meta()) return;
  float* out = draws.data_ptr<float>();
  const int64_t n = draws.numel();
  at::parallel_for(0, (n + 2 * kPairs - 1) / (2 * kPairs), 16, [&](int64_t begin, int64_t end) {
    float even[kPairs];
    float odd[kPairs];
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kPairs;
      draw_chunk(random.key(), static_cast<uint64_t>(first), std, even, odd);
      for (int64_t i = 2 * first; i < std::min(n, 2 * (first + kPairs)); ++i) out[i] = (i % 2 == 0 ? even : odd)[i / 2 - first];
    }
  });
  if (!direct) x.copy_(draws);
}

}  // namespace tersor::kernels
