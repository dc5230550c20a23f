// Finding the entries of a row-compressed pattern on a GPU.
#pragma once

#include "kernels/tile.cuh"

namespace tersor::kernels::gpu {

__device__ __forceinline__ int64_t column_of(const Entries& at, int64_t entry) {
  return at.narrow ? static_cast<const uint16_t*>(at.columns)[entry] : static_cast<const uint32_t*>(at.columns)[entry];
}

// The first entry of a row whose column is not below `column`; columns ascend within a row.
__device__ __forceinline__ int64_t first_entry(const Entries& at, int64_t row, int64_t column) {
  int64_t low = at.row_starts[row];
  int64_t high = at.row_starts[row + 1];
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (column_of(at, middle) < column)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// Calls f with the tile to use for the entries of a matrix of this size: a larger one, which reads less, if the type is bf16 and there
// are enough such tiles to keep a GPU busy.
template <class T, class F>
void with_entry_tile(const Entries& at, F f) {
  constexpr int64_t kEnough = 264;  // two for each of an H100's multiprocessors
  using Large = Tile<T, 128, 128>;
  if constexpr (std::is_same_v<T, bf16>)
    if (Large::tiles_of(at.out, at.in) >= kEnough) return f(Large{});
  f(Tile<T, 64, 64>{});
}

// Calls each(entry, place of its number in the tile's product) for the entries in the tile that begins at (row, column). Two threads
// share a row: each searches for one end of its entries and then takes every other one.
template <class Tile, class Each>
__device__ void for_each_entry(const Entries& at, int64_t row, int64_t column, Each each) {
  static_assert(Tile::kThreads == 2 * Tile::kRows);
  const int i = static_cast<int>(threadIdx.x) / 2;
  const bool second = threadIdx.x % 2 == 1;
  const int64_t mine = row + i < at.out ? first_entry(at, row + i, second ? column + Tile::kColumns : column) : 0;
  const int64_t other = __shfl_xor_sync(kAllLanes, mine, 1);
  const int64_t end = second ? mine : other;
  for (int64_t entry = second ? other + 1 : mine; entry < end; entry += 2)
    each(entry, i * Tile::kProductRow + static_cast<int>(column_of(at, entry) - column));
}

}  // namespace tersor::kernels::gpu
