#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {
namespace {

template <class T, int N>
__global__ void __launch_bounds__(kThreadsByPack) forward(const T* gate, const T* up, int64_t size, T* y) {
  for_each_pack<N>(size, [&](int64_t i) {
    float g[N];
    float u[N];
    load_pack(gate + i, g);
    load_pack(up + i, u);
    for (int j = 0; j < N; ++j) u[j] *= g[j] / (1 + expf(-g[j]));
    store_pack(y + i, u);
  });
}

template <class T, int N>
__global__ void __launch_bounds__(kThreadsByPack) backward(const T* dy, int64_t size, T* gate, T* up) {
  for_each_pack<N>(size, [&](int64_t i) {
    float g[N];
    float u[N];
    float d[N];
    load_pack(gate + i, g);
    load_pack(up + i, u);
    load_pack(dy + i, d);
    for (int j = 0; j < N; ++j) {
      const float sigma = 1 / (1 + expf(-g[j]));
      const float d_gate = d[j] * u[j] * (sigma * (1 + g[j] * (1 - sigma)));
      u[j] = d[j] * (g[j] * sigma);
      g[j] = d_gate;
    }
    store_pack(gate + i, g);
    store_pack(up + i, u);
  });
}

}  // namespace

void swiglu(Number type, const void* gate, const void* up, int64_t size, void* y, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    const bool packs = in_packs<T>(size, gate, up, y);
    launch(packs ? forward<T, kPack<T>> : forward<T, 1>, by_pack(size, packs ? kPack<T> : 1),
           stream, static_cast<const T*>(gate), static_cast<const T*>(up), size, static_cast<T*>(y));
  });
}

void swiglu_backward(Number type, const void* dy, int64_t size, void* gate, void* up, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    const bool packs = in_packs<T>(size, dy, gate, up);
    launch(packs ? backward<T, kPack<T>> : backward<T, 1>, by_pack(size, packs ? kPack<T> : 1),
           stream, static_cast<const T*>(dy), size, static_cast<T*>(gate), static_cast<T*>(up));
  });
}

}  // namespace tersor::kernels::gpu
