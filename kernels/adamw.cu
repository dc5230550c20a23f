#include "kernels/adamw_math.h"

namespace tersor::kernels::gpu {
namespace {

// `w` is read and written where the step is whole, else only written: the direction.
template <bool kWhole, int N>
__global__ void __launch_bounds__(kThreadsByPack) step(float* w, const float* grad, float* m, float* v, int64_t size, AdamNumbers a) {
  for_each_pack<N>(size, [&](int64_t i) {
    float weight[N];
    float g[N];
    float first[N];
    float second[N];
    if (kWhole) load_pack(w + i, weight);
    load_pack(grad + i, g);
    load_pack(m + i, first);
    load_pack(v + i, second);
    for (int j = 0; j < N; ++j) weight[j] = kWhole ? adamw_weight(weight[j], g[j], first[j], second[j], a) : adam_direction_of(g[j], first[j], second[j], a);
    store_pack(w + i, weight);
    store_pack(m + i, first);
    store_pack(v + i, second);
  });
}

template <bool kWhole>
void start(float* w, const float* grad, float* m, float* v, int64_t size, const AdamNumbers& a, Stream stream) {
  const bool packs = in_packs<float>(size, w, grad, m, v);
  launch(packs ? step<kWhole, kPack<float>> : step<kWhole, 1>,
         by_pack(size, packs ? kPack<float> : 1), stream, w, grad, m, v, size, a);
}

}  // namespace

void adam_direction(const float* grad, float* m, float* v, float* n, int64_t size, const AdamNumbers& a, Stream stream) {
  start<false>(n, grad, m, v, size, a, stream);
}

void adamw_step(float* w, const float* grad, float* m, float* v, int64_t size, const AdamNumbers& a, Stream stream) {
  start<true>(w, grad, m, v, size, a, stream);
}

}  // namespace tersor::kernels::gpu
