#include "kernels/rounding_math.h"

namespace tersor::kernels::gpu {
namespace {

__global__ void __launch_bounds__(kThreadsByPack) round_all(const float* x, int64_t size, Rounding rounding, uint16_t* y) {
  for_each_pack<kRoundingDraws>(size, [&](int64_t first) {
    for (int64_t i = first; i < first + kRoundingDraws && i < size; ++i) y[i] = rounded_up_or_down(x[i], draw_of(rounding, i));
  });
}

}  // namespace

void stochastic_round(const float* x, int64_t size, const Rounding& rounding, uint16_t* y, Stream stream) {
  launch(round_all, by_pack(size, kRoundingDraws), stream, x, size, rounding, y);
}

}  // namespace tersor::kernels::gpu
