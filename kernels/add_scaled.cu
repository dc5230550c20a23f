#include "kernels/launch.h"

namespace tersor::kernels::gpu {
namespace {

constexpr unsigned kThreads = 256;

template <int N>
__global__ void __launch_bounds__(kThreads) add(AddScaled a) {
  const int64_t size = a.rows * a.columns;
  const int64_t stride = int64_t{gridDim.x} * kThreads * N;
  for (int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N; i < size; i += stride) {
    float w[N];
    float x[N];
    load_pack(a.w + i, w);
    load_pack(a.x + i, x);
    const float* gain = a.form == Gain::kOne ? a.gain : a.form == Gain::kByRow ? a.gain + i / a.columns : a.gain + i % a.columns;
    for (int j = 0; j < N; ++j) w[j] = a.keep * w[j] + gain[a.form == Gain::kByColumn ? j : 0] * x[j];
    store_pack(a.w + i, w);
  }
}

}  // namespace

void add_scaled(const AddScaled& a, Stream stream) {
  const bool packs = in_packs<float>(a.columns, a.w, a.x);
  launch(packs ? add<kPack<float>> : add<1>,
         {.blocks = divide_up(a.rows * a.columns, int64_t{kThreads} * (packs ? kPack<float> : 1)), .threads = kThreads}, stream, a);
}

}  // namespace tersor::kernels::gpu
