#include "core/base/rng.h"
#include "kernels/launch.h"

namespace tersor::kernels::gpu {
namespace {

constexpr int kDraws = 4;  // 16-bit draws that one 64-bit number gives

__device__ uint16_t rounded_up_or_down(float x, uint32_t draw) {
  constexpr uint32_t kInfinity = 0x7f800000;
  const uint32_t bits = __float_as_uint(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t rounded = bits + (magnitude < kInfinity ? draw : 0U);
  // A NaN whose payload sits in the low half must not become infinity.
  return static_cast<uint16_t>((rounded | (magnitude > kInfinity ? 0x00400000U : 0U)) >> 16);
}

__global__ void __launch_bounds__(kThreadsByPack) round_all(const float* x, int64_t size, uint64_t key, uint16_t* y) {
  const RandomStream random(key);
  for_each_pack<kDraws>(size, [&](int64_t first) {
    uint64_t draws = random.bits(static_cast<uint64_t>(first / kDraws));
    for (int64_t i = first; i < first + kDraws && i < size; ++i, draws >>= 16) y[i] = rounded_up_or_down(x[i], static_cast<uint32_t>(draws & 0xffff));
  });
}

}  // namespace

void stochastic_round(const float* x, int64_t size, uint64_t key, uint16_t* y, Stream stream) {
  launch(round_all, by_pack(size, kDraws), stream, x, size, key, y);
}

}  // namespace tersor::kernels::gpu
