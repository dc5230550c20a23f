// Every `.cu` file begins with this header and includes nothing from LibTorch. nvcc compiles it for GPUs; a C++ compiler, with the
// stand-ins for CUDA's headers in tests/support/simt, compiles it for the CPU, where tests run it.
//
// Sizes are int64_t, and every loop strides over the grid, so no size is too large. Sums run in a fixed order, mostly in fp32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <bit>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/gpu.h"

namespace tersor::kernels::gpu {

using bf16 = __nv_bfloat16;

#ifdef __CUDACC__
#define TERSOR_UNROLL _Pragma("unroll")
#else
#define TERSOR_UNROLL
#endif

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
  constexpr size_t kWithoutAsking = 40 << 10;  // of the 48 KiB that also hold what the kernel declares
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

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T x[N];
};

// kBytes that one instruction loads or stores: nvcc sometimes splits packs that are stored by assignment.
template <size_t kBytes>
using Word = std::conditional_t<kBytes == 16, uint4,
                                std::conditional_t<kBytes == 8, uint2, std::conditional_t<kBytes == 4, uint32_t, std::conditional_t<kBytes == 2, uint16_t, uint8_t>>>>;
template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_whole(const T* from) {
  return std::bit_cast<Pack<T, N>>(*reinterpret_cast<const Word<sizeof(T) * N>*>(from));
}
template <int N, class T>
__device__ __forceinline__ void store_whole(T* to, const Pack<T, N>& pack) {
  __stwb(reinterpret_cast<Word<sizeof(T) * N>*>(to), std::bit_cast<Word<sizeof(T) * N>>(pack));
}

// Reads or writes N numbers at once, or kPack of them at a time.
template <int N, class T>
__device__ __forceinline__ void load_pack(const T* from, float (&to)[N]) {
  constexpr int kAtOnce = N < kPack<T> ? N : kPack<T>;
  for (int first = 0; first < N; first += kAtOnce) {
    const auto pack = load_whole<kAtOnce>(from + first);
    for (int i = 0; i < kAtOnce; ++i) to[first + i] = to_float(pack.x[i]);
  }
}
template <int N, class T>
__device__ __forceinline__ void store_pack(T* to, const float (&from)[N]) {
  constexpr int kAtOnce = N < kPack<T> ? N : kPack<T>;
  for (int first = 0; first < N; first += kAtOnce) {
    Pack<T, kAtOnce> pack;
    for (int i = 0; i < kAtOnce; ++i) store(pack.x[i], from[first + i]);
    store_whole(to + first, pack);
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

// Reduces over the whole block, with the same result on all its threads, all of which must call it. `of_warp` reduces over a warp, and
// `of_two` combines two numbers.
template <int kThreads, class T, class OfWarp, class OfTwo>
__device__ T over_block(T x, OfWarp of_warp, OfTwo of_two) {
  __shared__ T parts[kThreads / kLanes];
  x = of_warp(x);
  __syncthreads();  // all have read the parts of an earlier call
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
