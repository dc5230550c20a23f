#include "kernels/tile.cuh"

namespace tersor::kernels::gpu {
namespace {

// The positions and values of the blocks. Neither a tile nor a step along k crosses a block's edge, so each lies in one row, or column,
// of blocks.
template <class T>
struct Weight {
  Blocked b;
  const T* values;

  __device__ int64_t side() const { return int64_t{1} << b.shift; }
  // The values of a row of blocks.
  __device__ Matrix<T> row(int64_t i) const {
    const int64_t rows = b.out - (i << b.shift);
    return {values + b.offsets[i], rows < side() ? rows : side(), b.lengths[i]};
  }
  // The matrix column of the kth present column in a row of blocks.
  __device__ int64_t column(int64_t i, int64_t k) const { return (int64_t{b.columns[b.row_starts[i] + (k >> b.shift)]} << b.shift) + (k & (side() - 1)); }
};

// y[t, j] = Σ_k x[t, column k]·v[j, k] over the columns that are present
template <class Tile, class T = typename Tile::Element>
__global__ void __launch_bounds__(Tile::kThreads) multiply(Weight<T> w, Matrix<T> x, bool packed, T* y) {
  auto& memory = Tile::memory();
  for_each_tile<Tile>(x.rows, w.b.out, [&](int64_t token, int64_t row) {
    const int64_t i = row >> w.b.shift;
    const Matrix<T> v = w.row(i);
    const int64_t first = row - (i << w.b.shift);
    tile_product<Tile, true, true>(
        v.columns, packed, [&](int64_t k) { return x.from(token, w.column(i, k)); }, [&](int64_t k) { return v.from(first, k); }, memory);
    write_tile<Tile>(memory, y + token * w.b.out + row, w.b.out, x.rows - token, w.b.out - row, packed);
  });
}

// dx[t, j] = Σ_k dy[t, k]·v[k, j] over the rows of all blocks in a column of blocks, block after block
template <class Tile, class T = typename Tile::Element>
__global__ void __launch_bounds__(Tile::kThreads) multiply_transposed(Weight<T> w, Matrix<T> dy, bool packed, T* dx) {
  auto& memory = Tile::memory();
  for_each_tile<Tile>(dy.rows, w.b.in, [&](int64_t token, int64_t column) {
    const int64_t j = column >> w.b.shift;
    const int64_t first = column - (j << w.b.shift);
    const int32_t start = w.b.column_starts[j];
    const int64_t mask = w.side() - 1;
    tile_product<Tile, true, false>(
        int64_t{w.b.column_starts[j + 1] - start} << w.b.shift, packed,
        [&](int64_t k) { return dy.from(token, (int64_t{w.b.rows[start + (k >> w.b.shift)]} << w.b.shift) + (k & mask)); },
        [&](int64_t k) {
          const int64_t block = start + (k >> w.b.shift);
          const int64_t i = w.b.rows[block];
          return w.row(i).from(k & mask, (int64_t{w.b.places[block] - w.b.row_starts[i]} << w.b.shift) + first);
        },
        memory);
    write_tile<Tile>(memory, dx + token * w.b.in + column, w.b.in, dy.rows - token, w.b.in - column, packed);
  });
}

// dv[i, j] = Σ_t dy[t, i]·x[t, j] within a block
template <class Tile, class T = typename Tile::Element>
__global__ void __launch_bounds__(Tile::kThreads) sample(Weight<T> w, Matrix<T> dy, Matrix<T> x, bool packed, T* dv) {
  auto& memory = Tile::memory();
  const int64_t across = w.side() / Tile::kColumns;
  const int64_t tiles = w.side() / Tile::kRows * across;
  for (int64_t tile = blockIdx.x; tile < w.b.blocks * tiles; tile += gridDim.x) {
    const int64_t block = tile / tiles;
    const int64_t i = w.b.rows[block];
    const int32_t place = w.b.places[block];
    const int64_t row = tile % tiles / across * Tile::kRows;
    const int64_t column = tile % across * Tile::kColumns;
    const int64_t dy_column = (i << w.b.shift) + row;
    const int64_t x_column = (int64_t{w.b.columns[place]} << w.b.shift) + column;
    tile_product<Tile, false, false>(
        dy.rows, packed, [&](int64_t t) { return dy.from(t, dy_column); }, [&](int64_t t) { return x.from(t, x_column); }, memory);
    const Matrix<T> v = w.row(i);
    const int64_t v_column = (int64_t{place - w.b.row_starts[i]} << w.b.shift) + column;
    write_tile<Tile>(memory, dv + w.b.offsets[i] + row * v.columns + v_column, v.columns, v.rows - row, v.columns - v_column, packed);
  }
}

// Calls f with the tile for numbers of this type and blocks of this size: kRows × 64 for bf16 blocks of 64.
template <int kRows, class F>
void with_tile(const Blocked& b, F f) {
  if (b.type == Number::kFp32)
    f(Tile<float, 64, 64>{});
  else if (b.shift >= 7)
    f(Tile<bf16, 128, 128>{});
  else
    f(Tile<bf16, kRows, 64>{});
}

template <class T>
bool all_in_packs(const Blocked& b, const void* one, const void* other, const void* third) {
  return in_packs<T>(b.in, one, other, third) && in_packs<T>(b.out);
}

}  // namespace

void block_sparse(const Blocked& b, const void* x, const void* values, int64_t tokens, void* y, Stream stream) {
  with_tile<128>(b, [&]<class Tile>(Tile) {
    using T = typename Tile::Element;
    launch(multiply<Tile>, Tile::grid(Tile::tiles_of(tokens, b.out)), stream, Weight<T>{b, static_cast<const T*>(values)},
           Matrix<T>{static_cast<const T*>(x), tokens, b.in}, all_in_packs<T>(b, x, values, y), static_cast<T*>(y));
  });
}

void block_sparse_transposed(const Blocked& b, const void* dy, const void* values, int64_t tokens, void* dx, Stream stream) {
  with_tile<128>(b, [&]<class Tile>(Tile) {
    using T = typename Tile::Element;
    launch(multiply_transposed<Tile>, Tile::grid(Tile::tiles_of(tokens, b.in)), stream, Weight<T>{b, static_cast<const T*>(values)},
           Matrix<T>{static_cast<const T*>(dy), tokens, b.out}, all_in_packs<T>(b, dy, values, dx), static_cast<T*>(dx));
  });
}

void block_sparse_sampled(const Blocked& b, const void* dy, const void* x, int64_t tokens, void* d_values, Stream stream) {
  with_tile<64>(b, [&]<class Tile>(Tile) {
    using T = typename Tile::Element;
    const int64_t side = int64_t{1} << b.shift;
    launch(sample<Tile>, Tile::grid(b.blocks * Tile::tiles_of(side, side)), stream, Weight<T>{b, static_cast<const T*>(d_values)},
           Matrix<T>{static_cast<const T*>(dy), tokens, b.out}, Matrix<T>{static_cast<const T*>(x), tokens, b.in}, all_in_packs<T>(b, dy, x, d_values),
           static_cast<T*>(d_values));
  });
}

}  // namespace tersor::kernels::gpu
