#include "core/base/rng.h"
#include "kernels/launch.cuh"
#include "kernels/normal_math.h"

namespace tersor::kernels::gpu {
namespace {

// A thread draws two numbers at a time.
template <class T>
__global__ void __launch_bounds__(kThreadsByPack) draw(T* x, int64_t size, double std, uint64_t key) {
  const RandomStream random(key);
  for_each_pack<2>(size, [&](int64_t first) {
    const auto index = static_cast<uint64_t>(first);
    const double radius = std * sqrt(-2 * log_of(1 - to_unit(random.bits(index))));
    double cosine = 0;
    double sine = 0;
    turn(to_unit(random.bits(index + 1)), cosine, sine);
    store(x[first], static_cast<float>(radius * cosine));
    if (first + 1 < size) store(x[first + 1], static_cast<float>(radius * sine));
  });
}

}  // namespace

void fill_normal(Number type, void* x, int64_t size, double std, uint64_t key, Stream stream) {
  dispatch(type, [&](auto number) { launch(draw<decltype(number)>, by_pack(size, 2), stream, static_cast<decltype(number)*>(x), size, std, key); });
}

}  // namespace tersor::kernels::gpu
