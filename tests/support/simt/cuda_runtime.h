// Stands in for CUDA's header of this name when a kernel is compiled for the CPU: the part of it that tersor's kernels use.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "tests/support/simt/executor.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ constinit thread_local  // blocks run one after another on one thread of the host

using dim3 = simt::Dim3;
#define threadIdx (::simt::here().thread)
#define blockIdx (::simt::here().block)
#define blockDim (::simt::here().block_size)
#define gridDim (::simt::here().grid_size)
inline constexpr int warpSize = simt::kWarp;

struct CUstream_st;
using cudaStream_t = CUstream_st*;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
inline const char* cudaGetErrorString(cudaError_t) { return "invalid argument"; }
template <class F>
cudaError_t cudaFuncSetAttribute(F*, cudaFuncAttribute, int bytes) {
  return bytes <= static_cast<int>(simt::kMostShared) ? cudaSuccess : cudaErrorInvalidValue;
}

struct cudaLaunchConfig_t {  // CUDA's names for the first two are macros here
  dim3 grid;
  dim3 block;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  const auto body = [&] { kernel(static_cast<Parameters>(arguments)...); };
  simt::run(config->grid, config->block, config->dynamicSmemBytes, simt::Body(body));
  return cudaSuccess;
}

// ---- barriers and warps ----

using SimtPlace = std::source_location;
inline void __syncthreads(const SimtPlace& where = SimtPlace::current()) { simt::wait_for_block(where); }
inline void __syncwarp(unsigned mask = 0xffffffffU, const SimtPlace& where = SimtPlace::current()) { (void)simt::meet(mask, 0, true, where); }

namespace simt {
template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= sizeof(uint64_t) && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}
template <class T>
T from_lane(const std::array<uint64_t, kWarp>& values, unsigned lane, unsigned mask, const SimtPlace& where) {
  check_lane(lane, mask, where);
  T value;
  std::memcpy(&value, &values[lane], sizeof(T));
  return value;
}
}  // namespace simt

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize, const SimtPlace& where = SimtPlace::current()) {
  const auto& all = simt::meet(mask, simt::to_bits(value), false, where);
  const unsigned first = simt::here().lane / static_cast<unsigned>(width) * static_cast<unsigned>(width);
  return simt::from_lane<T>(all, first + static_cast<unsigned>(lane) % static_cast<unsigned>(width), mask, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = warpSize, const SimtPlace& where = SimtPlace::current()) {
  const auto& all = simt::meet(mask, simt::to_bits(value), false, where);
  const unsigned me = simt::here().lane;
  const unsigned other = me ^ static_cast<unsigned>(lanes);
  return other / static_cast<unsigned>(width) > me / static_cast<unsigned>(width) ? value : simt::from_lane<T>(all, other, mask, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = warpSize, const SimtPlace& where = SimtPlace::current()) {
  const auto& all = simt::meet(mask, simt::to_bits(value), false, where);
  const unsigned me = simt::here().lane;
  return me % static_cast<unsigned>(width) + by >= static_cast<unsigned>(width) ? value : simt::from_lane<T>(all, me + by, mask, where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = warpSize, const SimtPlace& where = SimtPlace::current()) {
  const auto& all = simt::meet(mask, simt::to_bits(value), false, where);
  const unsigned me = simt::here().lane;
  return me % static_cast<unsigned>(width) < by ? value : simt::from_lane<T>(all, me - by, mask, where);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, const SimtPlace& where = SimtPlace::current()) {
  const auto& all = simt::meet(mask, predicate != 0 ? 1 : 0, false, where);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < simt::kWarp; ++lane) votes |= static_cast<unsigned>((mask >> lane & 1U) != 0 && all[lane] != 0) << lane;
  return votes;
}
inline int __any_sync(unsigned mask, int predicate, const SimtPlace& where = SimtPlace::current()) { return __ballot_sync(mask, predicate, where) != 0; }
inline int __all_sync(unsigned mask, int predicate, const SimtPlace& where = SimtPlace::current()) { return __ballot_sync(mask, predicate, where) == mask; }

// ---- atomics ----

namespace simt {
template <class T, class F>
__attribute__((no_sanitize("thread"), noinline)) T atomically(T* address, F next) {
  note_access(address, sizeof(T), true, true);
  const T before = *address;
  *address = next(before);
  return before;
}
}  // namespace simt
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T x) { return static_cast<T>(x + value); });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T x) { return x < value ? value : x; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  return simt::atomically(address, [=](T x) { return x == expected ? value : x; });
}

// ---- numbers ----

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
template <class T>
void __stwb(T* to, T value) { *to = value; }

inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
template <class T>
T __ldg(const T* address) {
  return *address;
}
using std::fmaxf;
using std::fminf;
