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

TERSOR_VECTORIZED void draw(uint64_t key, uint64_t first, uint64_t count, uint64_t* draws) {
  const RandomStream random(key);
  for (uint64_t g = 0; g < count; ++g) draws[g] = random.bits(first + g);
}

}  // namespace

const uint16_t* RoundingDraws::from(int64_t first, int64_t size) {
  static_assert(std::endian::native == std::endian::little, "the first draw of a number is its lowest 16 bits");
  constexpr int64_t kNumbers = kMost / kRoundingDraws + 1;
  uint64_t draws[kNumbers];
  const int64_t count = (first % kRoundingDraws + size + kRoundingDraws - 1) / kRoundingDraws;
  TERSOR_CHECK(count <= kNumbers, "draws for {} numbers", size);
  draw(key_, static_cast<uint64_t>(first / kRoundingDraws), static_cast<uint64_t>(count), draws);
  std::memcpy(draws_.data(), draws, static_cast<size_t>(count) * sizeof(uint64_t));
  return draws_.data() + first % kRoundingDraws;
}

TERSOR_VECTORIZED void round_by(const float* x, const uint16_t* draws, int64_t size, uint16_t* out) {
  for (int64_t i = 0; i < size; ++i) out[i] = rounded_up_or_down(x[i], draws[i]);
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
    for (int64_t i = begin * kChunk; i < std::min(n, end * kChunk); i += kChunk) {
      const int64_t size = std::min(kChunk, n - i);
      round_by(in + i, draws.from(first + i, size), size, out + i);
    }
  });
}

}  // namespace tersor::kernels
