// Finding the entries of a row-compressed pattern on a GPU.
#pragma once

#include "kernels/tile.h"

namespace tersor::kernels::gpu {

__device__ __forceinline__ int64_t column_of(const Entries& at, int64_t entry) {
  return at.narrow ? static_cast<const uint16_t*>(at.columns)[entry] : static_cast<const uint32_t*>(at.columns)[entry];
}

// The first entry of a row whose column is not below `column`; columns rise within a row.
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

// The tiles that entries are looked for in.
template <class T>
using EntryTile = Tile<T, 64, 64>;

// Calls each(entry, place of its number in the tile's product) for the entries in the tile that begins there: two threads a row, in
// steps of two.
template <class Tile, class Each>
__device__ void for_each_entry(const Entries& at, int64_t row, int64_t column, Each each) {
  static_assert(Tile::kThreads == 2 * Tile::kRows);
  const int i = static_cast<int>(threadIdx.x) / 2;
  if (row + i >= at.out) return;
  const int64_t end = first_entry(at, row + i, column + Tile::kColumns);
  for (int64_t entry = first_entry(at, row + i, column) + static_cast<int64_t>(threadIdx.x % 2); entry < end; entry += 2)
    each(entry, i * Tile::kProductRow + static_cast<int>(column_of(at, entry) - column));
}

}  // namespace tersor::kernels::gpu
