#include "kernels/rounding_math.cuh"

namespace tersor::kernels::gpu {
namespace {

template <int N>
__global__ void __launch_bounds__(kThreadsByPack) round_all(const float* x, int64_t size, Rounding rounding, bf16* y) {
  for_each_pack<N>(size, [&](int64_t i) {
    float values[N];
    load_pack(x + i, values);
    store_rounded(y + i, values, rounding, i);
  });
}

}  // namespace

void stochastic_round(const float* x, int64_t size, const Rounding& rounding, uint16_t* y, Stream stream) {
  constexpr int kN = 8;
  const bool packs = size % kN == 0 && in_packs<float>(size, x, y);
  launch(packs ? round_all<kN> : round_all<1>, by_pack(size, packs ? kN : 1), stream, x, size, rounding, reinterpret_cast<bf16*>(y));
}

}  // namespace tersor::kernels::gpu
