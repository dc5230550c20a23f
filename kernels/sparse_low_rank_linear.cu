#include "kernels/sparse_entries.h"
#include "kernels/tile.h"

namespace tersor::kernels::gpu {
namespace {

// A block computes a tile of b·a, adds the entries that lie in it, and writes W once.
template <class T>
__global__ void __launch_bounds__(kTileThreads) compose_tiles(Compose c) {
  __shared__ TileMemory<T> memory;
  const Entries& at = c.at;
  const T* b = static_cast<const T*>(c.b);
  const T* a = static_cast<const T*>(c.a);
  const int64_t columns = divide_up(at.in, kTile);
  const int64_t tiles = divide_up(at.out, kTile) * columns;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const int64_t row = tile / columns * kTile;
    const int64_t column = tile % columns * kTile;
    T none;
    store(none, 0);
    tile_product<T, true>(
        c.rank, [&](int i, int64_t k) { return row + i < at.out ? b[(row + i) * c.rank + k] : none; },
        [&](int64_t k, int j) { return column + j < at.in ? a[k * at.in + column + j] : none; }, memory);
    // The product is rounded before an entry is added, as it is where both are done one after the other.
    for (int place = static_cast<int>(threadIdx.x); place < kTile * kTile; place += static_cast<int>(kTileThreads)) {
      float& sum = memory.product[place / kTile * kTileRow + place % kTile];
      sum = rounded<T>(c.scale * sum);
    }
    __syncthreads();
    const int i = static_cast<int>(threadIdx.x) / 2;
    if (row + i < at.out) {
      const int64_t end = first_entry(at, row + i, column + kTile);
      for (int64_t k = first_entry(at, row + i, column) + static_cast<int64_t>(threadIdx.x % 2); k < end; k += 2)
        memory.product[i * kTileRow + static_cast<int>(column_of(at, k) - column)] += to_float(static_cast<const T*>(c.values)[k]);
    }
    __syncthreads();
    for (int place = static_cast<int>(threadIdx.x); place < kTile * kTile; place += static_cast<int>(kTileThreads)) {
      const int64_t r = row + place / kTile;
      const int64_t q = column + place % kTile;
      if (r < at.out && q < at.in) store(static_cast<T*>(c.w)[r * at.in + q], memory.product[place / kTile * kTileRow + place % kTile]);
    }
  }
}

}  // namespace

void compose(const Compose& c, Stream stream) {
  dispatch(c.type, [&](auto number) {
    launch(compose_tiles<decltype(number)>, {.blocks = divide_up(c.at.out, kTile) * divide_up(c.at.in, kTile), .threads = kTileThreads}, stream, c);
  });
}

}  // namespace tersor::kernels::gpu
