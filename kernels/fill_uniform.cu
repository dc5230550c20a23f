#include "core/base/rng.h"
#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreadsByPack) draw(T* x, int64_t size, double bound, uint64_t key) {
  const RandomStream random(key);
  for_each_pack<1>(size, [&](int64_t i) { store(x[i], static_cast<float>(bound * (2 * random.uniform(static_cast<uint64_t>(i)) - 1))); });
}

}  // namespace

void fill_uniform(Number type, void* x, int64_t size, double bound, uint64_t key, Stream stream) {
  dispatch(type, [&](auto number) { launch(draw<decltype(number)>, by_pack(size, 1), stream, static_cast<decltype(number)*>(x), size, bound, key); });
}

}  // namespace tersor::kernels::gpu
