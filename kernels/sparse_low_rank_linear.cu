#include "kernels/sparse_entries.h"

namespace tersor::kernels::gpu {
namespace {

// Calls each(i, j, number) for all numbers of the tile in shared memory.
template <class Each>
__device__ void for_each_number(float* product, Each each) {
  for (int place = static_cast<int>(threadIdx.x); place < kTile * kTile; place += static_cast<int>(kTileThreads))
    each(place / kTile, place % kTile, product[place / kTile * kTileRow + place % kTile]);
}

// A block computes a tile of b·a, adds the entries that lie in it, and writes W once.
template <class T>
__global__ void __launch_bounds__(kTileThreads) compose_tiles(Compose c) {
  __shared__ TileMemory<T> memory;
  const Entries& at = c.at;
  const T* b = static_cast<const T*>(c.b);
  const T* a = static_cast<const T*>(c.a);
  const T* values = static_cast<const T*>(c.values);
  T* w = static_cast<T*>(c.w);
  T none;
  store(none, 0);
  for_each_tile(at.out, at.in, [&](int64_t row, int64_t column) {
    tile_product<T, true>(
        c.rank, [&](int i, int64_t k) { return row + i < at.out ? b[(row + i) * c.rank + k] : none; },
        [&](int64_t k, int j) { return column + j < at.in ? a[k * at.in + column + j] : none; }, memory);
    // Rounded before an entry is added, as where both are done one after the other.
    for_each_number(memory.product, [&](int, int, float& sum) { sum = rounded<T>(c.scale * sum); });
    __syncthreads();
    for_each_entry(at, row, column, [&](int64_t entry, int place) { memory.product[place] += to_float(values[entry]); });
    __syncthreads();
    for_each_number(memory.product, [&](int i, int j, float sum) {
      if (row + i < at.out && column + j < at.in) store(w[(row + i) * at.in + column + j], sum);
    });
  });
}

}  // namespace

void compose(const Compose& c, Stream stream) {
  dispatch(c.type, [&](auto number) { launch(compose_tiles<decltype(number)>, tiles_of(c.at.out, c.at.in), stream, c); });
}

}  // namespace tersor::kernels::gpu
