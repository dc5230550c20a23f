#include "kernels/sparse_entries.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kLanes;

// A warp takes a row, whose entries are all in different columns.
template <class T, bool kScatter>
__global__ void __launch_bounds__(kThreads) move(Entries at, const T* from, T* to) {
  const int64_t stride = int64_t{gridDim.x} * kWarps;
  for (int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / kLanes; row < at.out; row += stride)
    for (int64_t k = at.row_starts[row] + static_cast<int64_t>(threadIdx.x % kLanes), end = at.row_starts[row + 1]; k < end; k += kLanes) {
      const int64_t place = row * at.in + column_of(at, k);
      if (kScatter)
        store(to[place], to_float(to[place]) + to_float(from[k]));
      else
        to[k] = from[place];
    }
}

// A block computes a tile of dyᵀ·x and keeps only the pattern's entries of it.
template <class Tile, class T = typename Tile::Element>
__global__ void __launch_bounds__(Tile::kThreads) sample(Entries at, Matrix<T> dy, Matrix<T> x, bool packed, float* values) {
  auto& memory = Tile::memory();
  for_each_tile<Tile>(at.out, at.in, [&](int64_t row, int64_t column) {
    tile_product<Tile, false, false>(
        dy.rows, packed, [&](int64_t t) { return dy.from(t, row); }, [&](int64_t t) { return x.from(t, column); }, memory);
    for_each_entry<Tile>(at, row, column, [&](int64_t entry, int place) { values[entry] = memory.product[place]; });
  });
}

Grid rows_by_warps(const Entries& at) { return {.blocks = divide_up(at.out, kWarps), .threads = kThreads}; }

}  // namespace

void scatter_add(Number type, const Entries& at, const void* values, void* w, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    launch(move<T, true>, rows_by_warps(at), stream, at, static_cast<const T*>(values), static_cast<T*>(w));
  });
}

void gather(Number type, const Entries& at, const void* w, void* values, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    launch(move<T, false>, rows_by_warps(at), stream, at, static_cast<const T*>(w), static_cast<T*>(values));
  });
}

void sampled_product(Number type, const Entries& at, const void* dy, const void* x, int64_t tokens, float* values, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    const Matrix<T> left{static_cast<const T*>(dy), tokens, at.out};
    const Matrix<T> right{static_cast<const T*>(x), tokens, at.in};
    with_entry_tile<T>(at, [&]<class Tile>(Tile) {
      launch(sample<Tile>, Tile::grid(Tile::tiles_of(at.out, at.in)), stream, at, left, right, in_packs<T>(at.out, dy) && in_packs<T>(at.in, x), values);
    });
  });
}

}  // namespace tersor::kernels::gpu
