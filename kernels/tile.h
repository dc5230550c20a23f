// Products of matrices that are needed a tile at a time: a block of 128 threads computes 64 × 64 numbers of a product and leaves
// them in shared memory in fp32, for whatever the kernel does with them there.
//
//   C[i, j] = Σ_k A(i, k) · B(k, j)         A and B anywhere, given by functions; zero beyond their edges
//
// bf16 goes through tensor cores, with sums in fp32; fp32 stays fp32. The order of sums depends on the sizes alone.
#pragma once

#include <mma.h>

#include "kernels/launch.h"

namespace tersor::kernels::gpu {

inline constexpr int kTile = 64;
inline constexpr unsigned kTileThreads = 128;

template <class T>
struct TileShape;
template <>
struct TileShape<bf16> {
  static constexpr int kDepth = 32;           // of one step along k
  static constexpr int kLeft = kDepth + 8;    // a row of A in shared memory: the rest keeps rows in different banks
  static constexpr int kRight = kTile + 8;
};
template <>
struct TileShape<float> {
  static constexpr int kDepth = 16;
  static constexpr int kLeft = kDepth + 1;
  static constexpr int kRight = kTile + 4;
};
inline constexpr int kTileRow = kTile + 4;  // of C in shared memory

template <class T>
struct TileMemory {
  alignas(128) T left[kTile * TileShape<T>::kLeft];
  alignas(128) T right[TileShape<T>::kDepth * TileShape<T>::kRight];
  alignas(128) float product[kTile * kTileRow];
};

// What one thread, or one warp, keeps of C while it is summed up.
template <class T>
class TileSums;

// Each of four warps holds 32 × 32 numbers.
template <>
class TileSums<bf16> {
 public:
  __device__ TileSums() {
    for (auto& row : sums_)
      for (auto& sum : row) nvcuda::wmma::fill_fragment(sum, 0.0f);
  }
  __device__ void add(const TileMemory<bf16>& memory) {
    using namespace nvcuda::wmma;
    using Shape = TileShape<bf16>;
    for (int k = 0; k < Shape::kDepth; k += 16) {
      fragment<matrix_a, 16, 16, 16, bf16, row_major> a[2];
      fragment<matrix_b, 16, 16, 16, bf16, row_major> b[2];
      for (int i = 0; i < 2; ++i) {
        load_matrix_sync(a[i], memory.left + (row() + 16 * i) * Shape::kLeft + k, Shape::kLeft);
        load_matrix_sync(b[i], memory.right + k * Shape::kRight + column() + 16 * i, Shape::kRight);
      }
      for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) mma_sync(sums_[i][j], a[i], b[j], sums_[i][j]);
    }
  }
  __device__ void write(float* product) const {
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 2; ++j)
        nvcuda::wmma::store_matrix_sync(product + (row() + 16 * i) * kTileRow + column() + 16 * j, sums_[i][j], kTileRow, nvcuda::wmma::mem_row_major);
  }

 private:
  __device__ static int row() { return static_cast<int>(threadIdx.x / kLanes / 2) * 32; }
  __device__ static int column() { return static_cast<int>(threadIdx.x / kLanes % 2) * 32; }

  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> sums_[2][2];
};

// Each thread holds 8 × 4 numbers.
template <>
class TileSums<float> {
 public:
  __device__ void add(const TileMemory<float>& memory) {
    using Shape = TileShape<float>;
    for (int k = 0; k < Shape::kDepth; ++k)
      for (int i = 0; i < 8; ++i)
        for (int j = 0; j < 4; ++j)
          sums_[i][j] += memory.left[(row() + i) * Shape::kLeft + k] * memory.right[k * Shape::kRight + column() + j];
  }
  __device__ void write(float* product) const {
    for (int i = 0; i < 8; ++i)
      for (int j = 0; j < 4; ++j) product[(row() + i) * kTileRow + column() + j] = sums_[i][j];
  }

 private:
  __device__ static int row() { return static_cast<int>(threadIdx.x / 16) * 8; }
  __device__ static int column() { return static_cast<int>(threadIdx.x % 16) * 4; }

  float sums_[8][4] = {};
};

// Calls each(row, column) with the first numbers of the tiles of a matrix that are this block's.
template <class Each>
__device__ void for_each_tile(int64_t rows, int64_t columns, Each each) {
  const int64_t across = divide_up(columns, kTile);
  for (int64_t tile = blockIdx.x; tile < divide_up(rows, kTile) * across; tile += gridDim.x) each(tile / across * kTile, tile % across * kTile);
}
inline Grid tiles_of(int64_t rows, int64_t columns) { return {.blocks = divide_up(rows, kTile) * divide_up(columns, kTile), .threads = kTileThreads}; }

// Leaves the tile in memory.product, which all threads of the block may read afterwards. `left(i, k)` and `right(k, j)` give
// elements, i and j counted within the tile; both are called with any k below `depth`, neighbouring threads with
// neighbouring k of `left` where kLeftAlongK, else with neighbouring i; and with neighbouring j of `right`.
template <class T, bool kLeftAlongK, class Left, class Right>
__device__ void tile_product(int64_t depth, Left left, Right right, TileMemory<T>& memory) {
  using Shape = TileShape<T>;
  TileSums<T> sums;
  for (int64_t begin = 0; begin < depth; begin += Shape::kDepth) {
    __syncthreads();  // all have used what lies there
    for (int place = static_cast<int>(threadIdx.x); place < kTile * Shape::kDepth; place += static_cast<int>(kTileThreads)) {
      const int i = kLeftAlongK ? place / Shape::kDepth : place % kTile;
      const int k = kLeftAlongK ? place % Shape::kDepth : place / kTile;
      T element;
      store(element, 0);
      memory.left[i * Shape::kLeft + k] = begin + k < depth ? left(i, begin + k) : element;
    }
    for (int place = static_cast<int>(threadIdx.x); place < kTile * Shape::kDepth; place += static_cast<int>(kTileThreads)) {
      const int k = place / kTile;
      const int j = place % kTile;
      T element;
      store(element, 0);
      memory.right[k * Shape::kRight + j] = begin + k < depth ? right(begin + k, j) : element;
    }
    __syncthreads();
    sums.add(memory);
  }
  __syncthreads();
  sums.write(memory.product);
  __syncthreads();
}

}  // namespace tersor::kernels::gpu
