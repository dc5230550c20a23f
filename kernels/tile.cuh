// Matrix products that are needed a tile at a time: a thread block computes kRows × kColumns numbers of a product and
// leaves them in shared memory in fp32 for the rest of the kernel.
//
//   C[i, j] = Σ_k A(i, k) · B(k, j)         A and B anywhere: functions tell where the part for a step along k lies
//
// bf16 goes through tensor cores, with sums in fp32; fp32 stays fp32. The order of summation depends only on the sizes. The next
// steps along k are prefetched from memory while the current one is multiplied.
#pragma once

#include <cuda_pipeline.h>
#include <mma.h>

#include <type_traits>

#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {

// Part of a matrix in memory, row by row; all zero beyond its rows and columns.
template <class T>
struct Window {
  const T* at;
  int64_t stride;  // from row to row
  int rows;
  int columns;
};

template <class T>
struct Matrix {
  const T* at;
  int64_t rows;
  int64_t columns;
  // All of the matrix from (row, column) on, or more of it than any tile takes.
  __device__ Window<T> from(int64_t row, int64_t column) const { return {at + row * columns + column, columns, some_of(rows - row), some_of(columns - column)}; }

 private:
  static constexpr int kMoreThanTiles = 1024;
  __device__ static int some_of(int64_t left) { return left < kMoreThanTiles ? static_cast<int>(left) : kMoreThanTiles; }
};

template <class T, int kRows_, int kColumns_>
struct Tile {
  using Element = T;
  static constexpr int kRows = kRows_;
  static constexpr int kColumns = kColumns_;
  static constexpr unsigned kThreads = kRows * kColumns > 4096 ? 256 : 128;
  static constexpr int kDepth = 64 / static_cast<int>(sizeof(T));  // of one step along k
  static constexpr int kStages = 4;                                // steps in shared memory at a time
  static constexpr int kProductRow = kColumns + 4;                 // of C in shared memory

  // A row in shared memory; its padding keeps rows in different banks and packs aligned.
  static constexpr int row_length(bool along_k, int lines) { return (along_k ? kDepth : lines) + kPack<T>; }
  static constexpr int stage_size(int lines) {
    const int along = lines * row_length(true, lines);
    const int across = kDepth * row_length(false, lines);
    return along > across ? along : across;
  }
  union Memory {
    struct {
      T left[kStages][stage_size(kRows)];
      T right[kStages][stage_size(kColumns)];
    } operands;
    float product[kRows * kProductRow];
  };

  static Grid grid(int64_t tiles) { return {.blocks = tiles, .threads = kThreads, .shared_bytes = sizeof(Memory)}; }
  static int64_t tiles_of(int64_t rows, int64_t columns) { return divide_up(rows, kRows) * divide_up(columns, kColumns); }
  __device__ static Memory& memory() { return *shared_memory<Memory>(); }
};

// load_matrix_sync for bf16 in shared memory, for which nvcc emits slower loads that work for any memory.
template <class Use, class Layout>
__device__ __forceinline__ void load_operand(nvcuda::wmma::fragment<Use, 16, 16, 16, bf16, Layout>& to, const bf16* from, unsigned stride) {
#ifdef __CUDA_ARCH__
#define TERSOR_LOAD(use, layout)                                                                                            \
  asm volatile("wmma.load." use ".sync.aligned." layout ".m16n16k16.shared.bf16 {%0, %1, %2, %3}, [%4], %5;"                \
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])                                                             \
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(from))), "r"(stride)                                    \
               : "memory")
  static_assert(sizeof(to.x) == 16);
  auto* x = reinterpret_cast<unsigned*>(to.x);
  constexpr bool kLeft = std::is_same_v<Use, nvcuda::wmma::matrix_a>;
  constexpr bool kByRow = std::is_same_v<Layout, nvcuda::wmma::row_major>;
  if constexpr (kLeft && kByRow)
    TERSOR_LOAD("a", "row");
  else if constexpr (kLeft)
    TERSOR_LOAD("a", "col");
  else if constexpr (kByRow)
    TERSOR_LOAD("b", "row");
  else
    TERSOR_LOAD("b", "col");
#undef TERSOR_LOAD
#else
  load_matrix_sync(to, from, stride);
#endif
}

// The part of C that one thread or one warp accumulates. "Along k" means that neighbors in memory are neighbors along k.
template <class Tile, bool kLeftAlongK, bool kRightAlongK, class T = typename Tile::Element>
class TileSums;

// Each warp holds kDown × 32 numbers.
template <class Tile, bool kLeftAlongK, bool kRightAlongK>
class TileSums<Tile, kLeftAlongK, kRightAlongK, bf16> {
 public:
  __device__ TileSums() {
    for (auto& row : sums_)
      for (auto& sum : row) nvcuda::wmma::fill_fragment(sum, 0.0f);
  }
  __device__ void add(const bf16* left, const bf16* right) {
    using namespace nvcuda::wmma;
    constexpr int kLeft = Tile::row_length(kLeftAlongK, Tile::kRows);
    constexpr int kRight = Tile::row_length(kRightAlongK, Tile::kColumns);
    for (int k = 0; k < Tile::kDepth; k += 16) {
      fragment<matrix_a, 16, 16, 16, bf16, std::conditional_t<kLeftAlongK, row_major, col_major>> a[kDown / 16];
      fragment<matrix_b, 16, 16, 16, bf16, std::conditional_t<kRightAlongK, col_major, row_major>> b[2];
      for (int i = 0; i < kDown / 16; ++i) {
        const int at = row() + 16 * i;
        load_operand(a[i], left + (kLeftAlongK ? at * kLeft + k : k * kLeft + at), kLeft);
      }
      for (int j = 0; j < 2; ++j) {
        const int at = column() + 16 * j;
        load_operand(b[j], right + (kRightAlongK ? at * kRight + k : k * kRight + at), kRight);
      }
      for (int i = 0; i < kDown / 16; ++i)
        for (int j = 0; j < 2; ++j) mma_sync(sums_[i][j], a[i], b[j], sums_[i][j]);
    }
  }
  __device__ void write(float* product) const {
    for (int i = 0; i < kDown / 16; ++i)
      for (int j = 0; j < 2; ++j)
        nvcuda::wmma::store_matrix_sync(product + (row() + 16 * i) * Tile::kProductRow + column() + 16 * j, sums_[i][j], Tile::kProductRow,
                                        nvcuda::wmma::mem_row_major);
  }

 private:
  static constexpr int kAcross = Tile::kColumns / 32;  // warps side by side
  static constexpr int kDown = Tile::kRows / (static_cast<int>(Tile::kThreads / kLanes) / kAcross);
  __device__ static int row() { return static_cast<int>(threadIdx.x / kLanes) / kAcross * kDown; }
  __device__ static int column() { return static_cast<int>(threadIdx.x / kLanes) % kAcross * 32; }

  nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> sums_[kDown / 16][2];
};

// Each thread holds kDown × 4 numbers.
template <class Tile, bool kLeftAlongK, bool kRightAlongK>
class TileSums<Tile, kLeftAlongK, kRightAlongK, float> {
 public:
  __device__ void add(const float* left, const float* right) {
    constexpr int kLeft = Tile::row_length(kLeftAlongK, Tile::kRows);
    constexpr int kRight = Tile::row_length(kRightAlongK, Tile::kColumns);
    for (int k = 0; k < Tile::kDepth; ++k)
      for (int i = 0; i < kDown; ++i)
        for (int j = 0; j < 4; ++j)
          sums_[i][j] += left[kLeftAlongK ? (row() + i) * kLeft + k : k * kLeft + row() + i] *
                         right[kRightAlongK ? column(j) * kRight + k : k * kRight + column(j)];
  }
  __device__ void write(float* product) const {
    for (int i = 0; i < kDown; ++i)
      for (int j = 0; j < 4; ++j) product[(row() + i) * Tile::kProductRow + column(j)] = sums_[i][j];
  }

 private:
  static constexpr int kAcross = Tile::kColumns / 4;
  static constexpr int kDown = Tile::kRows / (static_cast<int>(Tile::kThreads) / kAcross);
  __device__ static int row() { return static_cast<int>(threadIdx.x) / kAcross * kDown; }
  // Neighboring threads take neighboring columns, so that they read different banks.
  __device__ static int column(int j) { return static_cast<int>(threadIdx.x) % kAcross + kAcross * j; }

  float sums_[kDown][4] = {};
};

// Requests one step along k of an operand of kLines lines, of which only `deep` numbers along k exist.
template <class Tile, bool kAlongK, int kLines, class T = typename Tile::Element>
__device__ void fetch(T* to, const Window<T>& from, int deep, bool packed) {
  constexpr int kN = kPack<T>;
  constexpr int kPacks = (kAlongK ? Tile::kDepth : kLines) / kN;
  constexpr int kRowsThere = kAlongK ? kLines : Tile::kDepth;
  constexpr int kRowsAtOnce = static_cast<int>(Tile::kThreads) / kPacks;
  static_assert(Tile::kThreads % kPacks == 0, "a thread stays in its column");
  const int rows = !kAlongK && deep < from.rows ? deep : from.rows;
  const int columns = kAlongK && deep < from.columns ? deep : from.columns;
  const int column = static_cast<int>(threadIdx.x) % kPacks * kN;
  for (int row = static_cast<int>(threadIdx.x) / kPacks; row < kRowsThere; row += kRowsAtOnce) {
    const T* source = from.at + row * from.stride + column;
    T* there = to + row * Tile::row_length(kAlongK, kLines) + column;
    if (packed && row < rows && column + kN <= columns) {
      __pipeline_memcpy_async(there, source, sizeof(T) * kN);
      continue;
    }
    for (int i = 0; i < kN; ++i)
      if (row < rows && column + i < columns)
        there[i] = source[i];
      else
        store(there[i], 0);
  }
}

// Leaves the tile in memory.product, which all threads of the block may read afterwards. `left(k)` and `right(k)` return the Window of
// the step that begins at k: the tile's lines × k if neighbors in memory lie along k, else k × lines. `packed`: all packs are aligned.
template <class Tile, bool kLeftAlongK, bool kRightAlongK, class Left, class Right>
__device__ void tile_product(int64_t depth, bool packed, Left left, Right right, typename Tile::Memory& memory) {
  auto& operands = memory.operands;
  const int64_t steps = divide_up(depth, Tile::kDepth);
  const auto ask = [&](int64_t step) {
    if (step < steps) {
      const int64_t stage = step % Tile::kStages;
      const int64_t k = step * Tile::kDepth;
      const int deep = depth - k < Tile::kDepth ? static_cast<int>(depth - k) : Tile::kDepth;
      fetch<Tile, kLeftAlongK, Tile::kRows>(operands.left[stage], left(k), deep, packed);
      fetch<Tile, kRightAlongK, Tile::kColumns>(operands.right[stage], right(k), deep, packed);
    }
    __pipeline_commit();
  };
  TileSums<Tile, kLeftAlongK, kRightAlongK> sums;
  __syncthreads();  // all are done with the old contents of `memory`
  for (int step = 0; step < Tile::kStages - 1; ++step) ask(step);
  for (int64_t step = 0; step < steps; ++step) {
    __pipeline_wait_prior(Tile::kStages - 2);
    __syncthreads();  // what all threads fetched has arrived, and the stage used last is free
    ask(step + Tile::kStages - 1);
    sums.add(operands.left[step % Tile::kStages], operands.right[step % Tile::kStages]);
  }
  __pipeline_wait_prior(0);
  __syncthreads();
  sums.write(memory.product);
  __syncthreads();
}

// Calls each(i, j, number) for all numbers of the tile in shared memory.
template <class Tile, class Each>
__device__ void for_each_number(typename Tile::Memory& memory, Each each) {
  for (int place = static_cast<int>(threadIdx.x); place < Tile::kRows * Tile::kColumns; place += static_cast<int>(Tile::kThreads))
    each(place / Tile::kColumns, place % Tile::kColumns, memory.product[place / Tile::kColumns * Tile::kProductRow + place % Tile::kColumns]);
}

// Writes the tile, at most `rows` × `columns` of it, to a matrix that begins at `to` and whose rows are `stride` apart.
template <class Tile, class T>
__device__ void write_tile(const typename Tile::Memory& memory, T* to, int64_t stride, int64_t rows, int64_t columns, bool packed) {
  constexpr int kN = kPack<T>;
  constexpr int kPacks = Tile::kColumns / kN;
  for (int place = static_cast<int>(threadIdx.x); place < Tile::kRows * kPacks; place += static_cast<int>(Tile::kThreads)) {
    const int i = place / kPacks;
    const int j = place % kPacks * kN;
    if (i >= rows || j >= columns) continue;
    float numbers[kN];
    for (int n = 0; n < kN; ++n) numbers[n] = memory.product[i * Tile::kProductRow + j + n];
    if (packed && j + kN <= columns)
      store_pack(to + i * stride + j, numbers);
    else
      for (int n = 0; n < kN && j + n < columns; ++n) store(to[i * stride + j + n], numbers[n]);
  }
}

// Calls each(row, column) for this block's tiles of a matrix, with the place of each tile's first number.
template <class Tile, class Each>
__device__ void for_each_tile(int64_t rows, int64_t columns, Each each) {
  const int64_t across = divide_up(columns, Tile::kColumns);
  for (int64_t tile = blockIdx.x; tile < divide_up(rows, Tile::kRows) * across; tile += gridDim.x)
    each(tile / across * Tile::kRows, tile % across * Tile::kColumns);
}

}  // namespace tersor::kernels::gpu
