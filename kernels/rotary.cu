#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {
namespace {

// A thread rotates N neighboring pairs (i, i + width / 2) of one head.
template <class T, int N>
__global__ void __launch_bounds__(kThreadsByPack) turn(Rotary r) {
  const int64_t half = r.width / 2;
  const int64_t size = r.rows * r.heads * half;
  for_each_pack<N>(size, [&](int64_t place) {
    const int64_t head = place / half;
    const int64_t i = place % half;
    const int64_t table = head / r.heads % r.length * r.width + i;
    const T* x = static_cast<const T*>(r.x) + head * r.width + i;
    T* y = static_cast<T*>(r.y) + head * r.width + i;
    float a[N];
    float b[N];
    float c[N];
    float s[N];
    load_pack(x, a);
    load_pack(x + half, b);
    load_pack(static_cast<const T*>(r.cos) + table, c);
    load_pack(static_cast<const T*>(r.sin) + table, s);
    for (int j = 0; j < N; ++j) {
      const float sine = r.direction * s[j];
      const float turned = a[j] * c[j] - b[j] * sine;
      b[j] = b[j] * c[j] + a[j] * sine;
      a[j] = turned;
    }
    store_pack(y, a);
    store_pack(y + half, b);
  });
}

}  // namespace

void rotary(const Rotary& r, Stream stream) {
  dispatch(r.type, [&](auto number) {
    using T = decltype(number);
    const bool packs = in_packs<T>(r.width / 2, r.x, r.cos, r.sin, r.y);
    const int64_t pairs = r.rows * r.heads * (r.width / 2);
    launch(packs ? turn<T, kPack<T>> : turn<T, 1>, by_pack(pairs, packs ? kPack<T> : 1), stream, r);
  });
}

}  // namespace tersor::kernels::gpu
