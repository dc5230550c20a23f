#include "kernels/rounding_math.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr int kRowsAtOnce = 4;

// A thread computes N columns of four rows, so that it reads v once for all four.
template <class T, int N>
__global__ void __launch_bounds__(kThreadsByPack) add(AddOuter a) {
  T* w = static_cast<T*>(a.w);
  for_each_pack<N>(divide_up(a.out, kRowsAtOnce) * a.in, [&](int64_t place) {
    const int64_t first = place / a.in * kRowsAtOnce;
    const int64_t column = place % a.in;
    const int rows = a.out - first < kRowsAtOnce ? static_cast<int>(a.out - first) : kRowsAtOnce;
    float sums[kRowsAtOnce][N] = {};  // in registers, as all loops over them are unrolled
    TERSOR_UNROLL
    for (int i = 0; i < kRowsAtOnce; ++i)
      if (i < rows) load_pack(w + (first + i) * a.in + column, sums[i]);
    for (int64_t k = 0; k < a.count; ++k) {
      float v[N];
      load_pack(a.v + k * a.in + column, v);
      TERSOR_UNROLL
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const float factor = i < rows ? a.scale * a.u[k * a.out + first + i] : 0.0f;
        TERSOR_UNROLL
        for (int j = 0; j < N; ++j) sums[i][j] += factor * v[j];
      }
    }
    TERSOR_UNROLL
    for (int i = 0; i < kRowsAtOnce; ++i) {
      const int64_t at = (first + i) * a.in + column;
      if (i < rows) store_rounded(w + at, sums[i], a.rounding, at);
    }
  });
}

}  // namespace

void add_outer(const AddOuter& a, Stream stream) {
  dispatch(a.type, [&](auto number) {
    using T = decltype(number);
    constexpr int kN = kPack<T>;
    const bool packs = in_packs<T>(a.in, a.w, a.v);
    launch(packs ? add<T, kN> : add<T, 1>, by_pack(divide_up(a.out, kRowsAtOnce) * a.in, packs ? kN : 1), stream, a);
  });
}

}  // namespace tersor::kernels::gpu
