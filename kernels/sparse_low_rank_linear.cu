#include "kernels/sparse_entries.cuh"

namespace tersor::kernels::gpu {
namespace {

// A block computes a tile of b·a, adds the entries that lie in it, and writes W once.
template <class Tile, class T = typename Tile::Element>
__global__ void __launch_bounds__(Tile::kThreads) compose_tiles(Compose c, bool packed) {
  auto& memory = Tile::memory();
  const Entries& at = c.at;
  const Matrix<T> b{static_cast<const T*>(c.b), at.out, c.rank};
  const Matrix<T> a{static_cast<const T*>(c.a), c.rank, at.in};
  const T* values = static_cast<const T*>(c.values);
  T* w = static_cast<T*>(c.w);
  for_each_tile<Tile>(at.out, at.in, [&](int64_t row, int64_t column) {
    tile_product<Tile, true, false>(
        c.rank, packed, [&](int64_t k) { return b.from(row, k); }, [&](int64_t k) { return a.from(k, column); }, memory);
    // Rounded before an entry is added, as when the two are done one after the other.
    for_each_number<Tile>(memory, [&](int, int, float& sum) { sum = rounded<T>(c.scale * sum); });
    __syncthreads();
    for_each_entry<Tile>(at, row, column, [&](int64_t entry, int place) { memory.product[place] += to_float(values[entry]); });
    __syncthreads();
    write_tile<Tile>(memory, w + row * at.in + column, at.in, at.out - row, at.in - column, packed);
  });
}

}  // namespace

void compose(const Compose& c, Stream stream) {
  dispatch(c.type, [&](auto number) {
    using T = decltype(number);
    with_entry_tile<T>(c.at, [&]<class Tile>(Tile) {
      launch(compose_tiles<Tile>, Tile::grid(Tile::tiles_of(c.at.out, c.at.in)), stream, c, in_packs<T>(c.rank, c.b) && in_packs<T>(c.at.in, c.a, c.w));
    });
  });
}

}  // namespace tersor::kernels::gpu
