#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {
namespace {

template <int N>
__global__ void __launch_bounds__(kThreadsByPack) add(AddScaled a) {
  const int64_t size = a.rows * a.columns;
  for_each_pack<N>(size, [&](int64_t i) {
    float w[N];
    float x[N];
    load_pack(a.w + i, w);
    load_pack(a.x + i, x);
    const float* gain = a.form == Gain::kOne ? a.gain : a.form == Gain::kByRow ? a.gain + i / a.columns : a.gain + i % a.columns;
    for (int j = 0; j < N; ++j) w[j] = a.keep * w[j] + (gain == nullptr ? a.rate : gain[a.form == Gain::kByColumn ? j : 0]) * x[j];
    store_pack(a.w + i, w);
  });
}

}  // namespace

void add_scaled(const AddScaled& a, Stream stream) {
  const bool packs = in_packs<float>(a.columns, a.w, a.x);
  launch(packs ? add<kPack<float>> : add<1>,
         by_pack(a.rows * a.columns, packs ? kPack<float> : 1), stream, a);
}

}  // namespace tersor::kernels::gpu
