#include "kernels/stochastic_round.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include <bit>
#include <cmath>

#include "core/base/error.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kDraws = 4;  // 16-bit draws that one 64-bit number gives

uint16_t round_one(float x, uint64_t draw) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t rounded = std::isfinite(x) ? bits + static_cast<uint32_t>(draw & 0xffff) : bits;
  // A NaN whose payload sits in the low half must not become infinity.
  const uint32_t quiet = std::isnan(x) ? 0x00400000u : 0u;
  return static_cast<uint16_t>((rounded | quiet) >> 16);
}

}  // namespace

void stochastic_round(const at::Tensor& x, at::Tensor& y, const RandomStream& random) {
  TERSOR_CHECK(x.scalar_type() == at::kFloat && y.scalar_type() == at::kBFloat16, "fp32 to bf16 only");
  TERSOR_CHECK(x.is_contiguous() && y.is_contiguous() && x.sizes() == y.sizes(), "contiguous tensors of one shape");
  TERSOR_CHECK(x.is_cpu() && y.is_cpu(), "stochastic rounding runs on the CPU only");
  const float* in = x.const_data_ptr<float>();
  auto* out = reinterpret_cast<uint16_t*>(y.data_ptr<at::BFloat16>());
  const int64_t n = x.numel();
  const int64_t groups = (n + kDraws - 1) / kDraws;
  at::parallel_for(0, groups, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t g = begin; g < end; ++g) {
      uint64_t draw = random.bits(static_cast<uint64_t>(g));
      const int64_t last = std::min(n, (g + 1) * kDraws);
      for (int64_t i = g * kDraws; i < last; ++i, draw >>= 16) out[i] = round_one(in[i], draw);
    }
  });
}

}  // namespace tersor::kernels
