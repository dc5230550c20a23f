#include "kernels/stochastic_round.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/rounding.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr uint64_t kGroups = RoundingDraws::kMost / 4 + 1;  // numbers of 64 bits at a time

TERSOR_VECTORIZED void draw(uint64_t key, uint64_t first, uint64_t* draws) {
  const RandomStream random(key);
  for (uint64_t g = 0; g < kGroups; ++g) draws[g] = random.bits(first + g);
}

}  // namespace

const uint16_t* RoundingDraws::from(int64_t first) {
  static_assert(std::endian::native == std::endian::little, "the first draw of a number is its lowest 16 bits");
  uint64_t draws[kGroups];
  draw(key_, static_cast<uint64_t>(first / kDraws), draws);
  static_assert(sizeof(draws) == sizeof(draws_));
  std::memcpy(draws_.data(), draws, sizeof(draws));
  return draws_.data() + first % kDraws;
}

TERSOR_VECTORIZED void round_by(const float* x, const uint16_t* draws, int64_t size, uint16_t* out) {
  constexpr uint32_t kInfinity = 0x7f800000;
  for (int64_t i = 0; i < size; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t magnitude = bits & 0x7fffffff;
    const uint32_t rounded = bits + (magnitude < kInfinity ? draws[i] : 0U);
    // A NaN whose payload sits in the low half must not become infinity.
    out[i] = static_cast<uint16_t>((rounded | (magnitude > kInfinity ? 0x00400000U : 0U)) >> 16);
  }
}

void stochastic_round(const at::Tensor& x, at::Tensor& y, const RandomStream& random, int64_t first) {
  TERSOR_CHECK(x.scalar_type() == at::kFloat && y.scalar_type() == at::kBFloat16, "fp32 to bf16 only");
  TERSOR_CHECK(x.is_contiguous() && y.is_contiguous() && x.sizes() == y.sizes(), "contiguous tensors of one shape");
  if (x.is_meta()) return;
  const float* in = x.const_data_ptr<float>();
  auto* out = reinterpret_cast<uint16_t*>(y.data_ptr<at::BFloat16>());
  const int64_t n = x.numel();
  if (!on_host(x)) return gpu::stochastic_round(in, n, {random.key(), first}, out, gpu::stream_of(x));
  constexpr int64_t kChunk = RoundingDraws::kMost;
  at::parallel_for(0, (n + kChunk - 1) / kChunk, 16, [&](int64_t begin, int64_t end) {
    RoundingDraws draws(random);
    for (int64_t i = begin * kChunk; i < std::min(n, end * kChunk); i += kChunk) round_by(in + i, draws.from(first + i), std::min(kChunk, n - i), out + i);
  });
}

}  // namespace tersor::kernels
