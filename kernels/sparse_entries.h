// Finding the entries of a row-compressed pattern on a GPU.
#pragma once

#include "kernels/launch.h"

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

}  // namespace tersor::kernels::gpu
