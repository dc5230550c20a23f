// What every `.cu` file begins with. Such a file includes nothing of LibTorch; nvcc compiles it for GPUs, and, with the stand-ins in
// tests/support/simt for CUDA's headers, a C++ compiler for the CPU, where tests run it.
//
// Sizes are int64_t, and every loop goes on in strides of the grid, so no size is too large. Sums are in fp32 in a fixed order.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <stdexcept>
#include <string>

#include "kernels/gpu.h"

namespace tersor::kernels::gpu {

using bf16 = __nv_bfloat16;

inline constexpr unsigned kAllLanes = 0xffffffffU;
inline constexpr unsigned kLanes = 32;
inline constexpr int64_t kMostBlocks = 1 << 20;

inline void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("a kernel could not be launched: ") + cudaGetErrorString(error));
}

struct Grid {
  int64_t blocks;
  unsigned threads;
  size_t shared_bytes = 0;  // beyond what the kernel declares
};

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), const Grid& grid, Stream stream, const Arguments&... arguments) {
  constexpr size_t kWithoutAsking = 48 << 10;
  if (grid.blocks <= 0) return;
  if (grid.shared_bytes > kWithoutAsking)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(grid.shared_bytes)));
  const auto blocks = static_cast<unsigned>(grid.blocks < kMostBlocks ? grid.blocks : kMostBlocks);
  const cudaLaunchConfig_t config{dim3(blocks), dim3(grid.threads), grid.shared_bytes, stream};
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...));
}

// The memory that Grid::shared_bytes asks for.
extern __shared__ __align__(128) unsigned char dynamic_shared_bytes[];
template <class T>
__device__ T* shared_memory() {
  return reinterpret_cast<T*>(dynamic_shared_bytes);
}

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// ---- numbers ----

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void store(float& out, float x) { out = x; }
__device__ __forceinline__ void store(bf16& out, float x) { out = __float2bfloat16_rn(x); }
template <class T>
__device__ __forceinline__ float rounded(float x) {  // as T holds it
  T out;
  store(out, x);
  return to_float(out);
}

template <class T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));

// N numbers that are read and written at once, or kPack of them at a time.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T x[N];
};
template <int N, class T>
__device__ __forceinline__ void load_pack(const T* from, float (&to)[N]) {
  constexpr int kAtOnce = N < kPack<T> ? N : kPack<T>;
  for (int first = 0; first < N; first += kAtOnce) {
    const auto pack = *reinterpret_cast<const Pack<T, kAtOnce>*>(from + first);
    for (int i = 0; i < kAtOnce; ++i) to[first + i] = to_float(pack.x[i]);
  }
}
template <int N, class T>
__device__ __forceinline__ void store_pack(T* to, const float (&from)[N]) {
  constexpr int kAtOnce = N < kPack<T> ? N : kPack<T>;
  for (int first = 0; first < N; first += kAtOnce) {
    Pack<T, kAtOnce> pack;
    for (int i = 0; i < kAtOnce; ++i) store(pack.x[i], from[first + i]);
    *reinterpret_cast<Pack<T, kAtOnce>*>(to + first) = pack;
  }
}

// Whether rows of `width` numbers at these addresses may be read in packs.
template <class T, class... Pointers>
bool in_packs(int64_t width, const Pointers*... pointers) {
  return width % kPack<T> == 0 && ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// ---- number by number ----

inline constexpr unsigned kThreadsByPack = 256;

// The grid of a kernel that goes over `size` numbers with for_each_pack.
inline Grid by_pack(int64_t size, int64_t pack) { return {.blocks = divide_up(size, kThreadsByPack * pack), .threads = kThreadsByPack}; }
// Calls each(i) for i = 0, N, 2 N, … below size, over all threads of the grid.
template <int N, class Each>
__device__ __forceinline__ void for_each_pack(int64_t size, Each each) {
  const int64_t stride = int64_t{gridDim.x} * kThreadsByPack * N;
  for (int64_t i = (int64_t{blockIdx.x} * kThreadsByPack + threadIdx.x) * N; i < size; i += stride) each(i);
}

// The same for what goes over all in strides of 256 numbers of a row, a warp each. Blocks stay for more than one, for whatever they
// prepare for them.
struct WarpPlace {
  int64_t block;   // the place of what is kept once for 256 numbers
  int64_t row;
  int64_t column;  // of the lane's first number
  int there;       // how many of its numbers are in the row
};
inline constexpr int kEachOfWarp = 8;
inline constexpr int64_t kWarpBlock = int64_t{kEachOfWarp} * kLanes;

inline Grid by_warp(int64_t rows, int64_t columns) {
  constexpr int64_t kStaying = 2048;
  const int64_t blocks = divide_up(rows * divide_up(columns, kWarpBlock), kThreadsByPack / kLanes);
  return {.blocks = blocks < kStaying ? blocks : kStaying, .threads = kThreadsByPack};
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
// The lane's numbers, zeros for those that are not there. `packed`: all or none are, and they may be read in packs.
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
__device__ __forceinline__ void load_own(const uint8_t* from, int there, bool packed, uint8_t (&to)[kEachOfWarp]) {
  Pack<uint8_t, kEachOfWarp> codes{};
  if (packed && there > 0)
    codes = *reinterpret_cast<const Pack<uint8_t, kEachOfWarp>*>(from);
  else
    for (int i = 0; i < kEachOfWarp; ++i)
      if (i < there) codes.x[i] = from[i];
  for (int i = 0; i < kEachOfWarp; ++i) to[i] = codes.x[i];
}
__device__ __forceinline__ void store_own(uint8_t* to, int there, bool packed, const uint8_t (&from)[kEachOfWarp]) {
  Pack<uint8_t, kEachOfWarp> codes;
  for (int i = 0; i < kEachOfWarp; ++i) codes.x[i] = from[i];
  if (packed && there > 0)
    *reinterpret_cast<Pack<uint8_t, kEachOfWarp>*>(to) = codes;
  else
    for (int i = 0; i < kEachOfWarp; ++i)
      if (i < there) to[i] = codes.x[i];
}

// Calls f with a number of the type.
template <class F>
void dispatch(Number type, F f) {
  if (type == Number::kFp32)
    f(float{});
  else
    f(bf16{});
}

// ---- sums over threads ----

template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  for (int other = kLanes / 2; other > 0; other /= 2) x += __shfl_xor_sync(kAllLanes, x, other);
  return x;
}
__device__ __forceinline__ float warp_max(float x) {
  for (int other = kLanes / 2; other > 0; other /= 2) x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, other));
  return x;
}
__device__ __forceinline__ int32_t warp_max(int32_t x) {
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) {
    const int32_t other = __shfl_xor_sync(kAllLanes, x, lanes);
    if (other > x) x = other;
  }
  return x;
}

// Over the whole block, the same on all its threads, all of which must call it. `of_warp` and `of_two` put numbers together.
template <int kThreads, class T, class OfWarp, class OfTwo>
__device__ T over_block(T x, OfWarp of_warp, OfTwo of_two) {
  __shared__ T parts[kThreads / kLanes];
  x = of_warp(x);
  __syncthreads();  // of an earlier call
  if (threadIdx.x % kLanes == 0) parts[threadIdx.x / kLanes] = x;
  __syncthreads();
  T all = parts[0];
  for (unsigned i = 1; i < kThreads / kLanes; ++i) all = of_two(all, parts[i]);
  return all;
}
template <int kThreads, class T>
__device__ T block_sum(T x) {
  return over_block<kThreads>(x, [](T y) { return warp_sum(y); }, [](T a, T b) { return a + b; });
}
template <int kThreads>
__device__ float block_max(float x) {
  return over_block<kThreads>(x, [](float y) { return warp_max(y); }, [](float a, float b) { return fmaxf(a, b); });
}

}  // namespace tersor::kernels::gpu
