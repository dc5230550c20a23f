#include "kernels/stochastic_round.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kDraws = 4;     // 16-bit draws that one 64-bit number gives
constexpr int64_t kGroups = 256;  // numbers of 64 bits at a time
constexpr int64_t kChunk = kGroups * kDraws;

TERSOR_VECTORIZED void draw(uint64_t key, uint64_t first, uint64_t* draws) {
  const RandomStream random(key);
  for (uint64_t g = 0; g < kGroups; ++g) draws[g] = random.bits(first + g);
}

TERSOR_VECTORIZED void round_all(const float* x, const uint16_t* draws, int64_t size, uint16_t* out) {
  constexpr uint32_t kInfinity = 0x7f800000;
  for (int64_t i = 0; i < size; ++i) {
    const auto bits = std::bit_cast<uint32_t>(x[i]);
    const uint32_t magnitude = bits & 0x7fffffff;
    const uint32_t rounded = bits + (magnitude < kInfinity ? draws[i] : 0U);
    // A NaN whose payload sits in the low half must not become infinity.
    out[i] = static_cast<uint16_t>((rounded | (magnitude > kInfinity ? 0x00400000U : 0U)) >> 16);
  }
}

}  // namespace

void stochastic_round(const at::Tensor& x, at::Tensor& y, const RandomStream& random) {
  TERSOR_CHECK(x.scalar_type() == at::kFloat && y.scalar_type() == at::kBFloat16, "fp32 to bf16 only");
  TERSOR_CHECK(x.is_contiguous() && y.is_contiguous() && x.sizes() == y.sizes(), "contiguous tensors of one shape");
  if (x.is_meta()) return;
  if (!on_host(x)) {
    gpu::stochastic_round(x.const_data_ptr<float>(), x.numel(), random.key(), reinterpret_cast<uint16_t*>(y.data_ptr<at::BFloat16>()), gpu::stream_of(x));
    return;
  }
  const float* in = x.const_data_ptr<float>();
  auto* out = reinterpret_cast<uint16_t*>(y.data_ptr<at::BFloat16>());
  const int64_t n = x.numel();
  static_assert(std::endian::native == std::endian::little, "the first draw of a number is its lowest 16 bits");
  at::parallel_for(0, (n + kChunk - 1) / kChunk, 16, [&](int64_t begin, int64_t end) {
    uint64_t draws[kGroups];
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      draw(random.key(), static_cast<uint64_t>(chunk * kGroups), draws);
      uint16_t parts[kChunk];
      std::memcpy(parts, draws, sizeof(draws));
      const int64_t first = chunk * kChunk;
      round_all(in + first, parts, std::min(kChunk, n - first), out + first);
    }
  });
}

}  // namespace tersor::kernels
