// Loops over a matrix in blocks of 256 numbers of a row that share a scale: one warp per block, eight neighbors per lane.
#pragma once

#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {

inline constexpr int kEachOfWarp = 8;
inline constexpr int64_t kWarpBlock = int64_t{kEachOfWarp} * kLanes;

struct WarpPlace {
  int64_t block;   // of 256, counted over all rows
  int64_t row;
  int64_t column;  // of the lane's first number
  int there;       // how many of the lane's numbers are in the row
};

// Launches no more thread blocks than keep a GPU busy: each processes many blocks of numbers, for which it can prepare once.
inline Grid by_warp(int64_t rows, int64_t columns) {
  constexpr int64_t kMost = 2048;
  const int64_t blocks = divide_up(rows * divide_up(columns, kWarpBlock), kThreadsByPack / kLanes);
  return {.blocks = blocks < kMost ? blocks : kMost, .threads = kThreadsByPack};
}

template <class Each>
__device__ __forceinline__ void for_each_warp_block(int64_t rows, int64_t columns, Each each) {
  constexpr int64_t kWarps = kThreadsByPack / kLanes;
  const int64_t in_row = divide_up(columns, kWarpBlock);
  for (int64_t block = int64_t{blockIdx.x} * kWarps + threadIdx.x / kLanes; block < rows * in_row; block += int64_t{gridDim.x} * kWarps) {
    const int64_t column = block % in_row * kWarpBlock + int64_t{threadIdx.x % kLanes} * kEachOfWarp;
    const int64_t left = columns - column;
    each(WarpPlace{block, block / in_row, column, left < 0 ? 0 : left < kEachOfWarp ? static_cast<int>(left) : kEachOfWarp});
  }
}

// These read and write a lane's share, of which the first `there` numbers exist. `packed`: all or none exist, and they are aligned.

template <class T>
__device__ __forceinline__ void load_own(const T* from, int there, bool packed, float (&to)[kEachOfWarp]) {
  if (packed && there > 0) return load_pack(from, to);
  for (int i = 0; i < kEachOfWarp; ++i) to[i] = i < there ? to_float(from[i]) : 0;
}
template <class T>
__device__ __forceinline__ void store_own(T* to, int there, bool packed, const float (&from)[kEachOfWarp]) {
  if (packed && there > 0) return store_pack(to, from);
  for (int i = 0; i < kEachOfWarp; ++i)
    if (i < there) store(to[i], from[i]);
}

template <int N>
__device__ __forceinline__ Pack<uint8_t, N> load_bytes(const uint8_t* from, int there, bool packed) {
  if (packed && there > 0) return load_whole<N>(from);
  Pack<uint8_t, N> bytes{};
  for (int i = 0; i < N; ++i)
    if (i < there) bytes.x[i] = from[i];
  return bytes;
}
template <int N>
__device__ __forceinline__ void store_bytes(uint8_t* to, int there, bool packed, const Pack<uint8_t, N>& bytes) {
  if (packed && there > 0) return store_whole(to, bytes);
  for (int i = 0; i < N; ++i)
    if (i < there) to[i] = bytes.x[i];
}

}  // namespace tersor::kernels::gpu
