#include "core/base/rng.h"
#include "kernels/affine_range.h"
#include "kernels/warp_blocks.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr unsigned kThreads = kThreadsByPack;

// A lane's codes as stored in a row: 8 bits each, or two of 4 bits per byte, the lower half first. `packed`: the bytes are aligned.
template <int kBits>
struct OwnCodes {
  static constexpr int kBytes = kEachOfWarp * kBits / 8;
  uint8_t x[kEachOfWarp];

  __device__ static int bytes_of(const WarpPlace& at) { return (at.there * kBits + 7) / 8; }
  __device__ void load(const uint8_t* row, const WarpPlace& at, bool packed) {
    const auto bytes = load_bytes<kBytes>(row + at.column * kBits / 8, bytes_of(at), packed);
    for (int i = 0; i < kEachOfWarp; ++i) x[i] = kBits == 8 ? bytes.x[i % kBytes] : bytes.x[i / 2] >> (i % 2 * 4) & 0xf;
  }
  __device__ void store(uint8_t* row, const WarpPlace& at, bool packed) const {
    Pack<uint8_t, kBytes> bytes;
    for (int i = 0; i < kBytes; ++i) bytes.x[i] = kBits == 8 ? x[i] : static_cast<uint8_t>(x[2 * i % kEachOfWarp] | x[(2 * i + 1) % kEachOfWarp] << 4);
    store_bytes(row + at.column * kBits / 8, bytes_of(at), packed, bytes);
  }
};

// RandomStream::uniform in fp32, without fp64.
__device__ __forceinline__ float uniform(const RandomStream& random, int64_t i) {
  return static_cast<float>(random.bits(static_cast<uint64_t>(i)) >> 11) * 0x1p-53f;
}

template <int kBits>
__global__ void __launch_bounds__(kThreads) quantize(const float* x, Affine out, bool stochastic, uint64_t key, bool packed) {
  constexpr float kLevels = (1 << kBits) - 1;
  const RandomStream random(key);
  for_each_warp_block(out.rows, out.columns, [&](const WarpPlace& at) {
    const int64_t first = at.row * out.columns + at.column;
    float values[kEachOfWarp];
    load_own(x + first, at.there, packed, values);
    float low = 0;
    float high = 0;
    for (int e = 0; e < kEachOfWarp; ++e) {
      low = fminf(low, values[e]);
      high = fmaxf(high, values[e]);
    }
    const auto [scale, zero] = affine_range(-warp_max(-low), warp_max(high), kLevels);
    if (threadIdx.x % kLanes == 0) {
      out.scales[at.block] = scale;
      out.zeros[at.block] = static_cast<uint8_t>(zero);
    }
    OwnCodes<kBits> codes;
    for (int e = 0; e < kEachOfWarp; ++e) {
      const float exact = values[e] / scale;
      const float rounded = stochastic ? floorf(exact + uniform(random, first + e)) : rintf(exact);
      codes.x[e] = e < at.there ? static_cast<uint8_t>(fminf(fmaxf(rounded + zero, 0.0f), kLevels)) : 0;
    }
    codes.store(out.codes + at.row * out.row_bytes, at, packed);
  });
}

template <int kBits, class T>
__global__ void __launch_bounds__(kThreads) dequantize(Affine in, T* x, bool packed) {
  for_each_warp_block(in.rows, in.columns, [&](const WarpPlace& at) {
    OwnCodes<kBits> codes;
    codes.load(in.codes + at.row * in.row_bytes, at, packed);
    const float scale = in.scales[at.block];
    const int zero = in.zeros[at.block];
    float values[kEachOfWarp];
    for (int e = 0; e < kEachOfWarp; ++e) values[e] = scale * static_cast<float>(codes.x[e] - zero);
    store_own(x + at.row * in.columns + at.column, at.there, packed, values);
  });
}

bool packs(const Affine& a, const void* x) {
  return a.columns % kEachOfWarp == 0 && in_packs<float>(a.columns, x) && reinterpret_cast<uintptr_t>(a.codes) % kEachOfWarp == 0;
}

}  // namespace

void quantize_affine(const float* x, const Affine& out, bool stochastic, uint64_t key, Stream stream) {
  launch(out.bits == 8 ? quantize<8> : quantize<4>, by_warp(out.rows, out.columns), stream, x, out, stochastic, key, packs(out, x));
}

void dequantize_affine(const Affine& in, Number type, void* x, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    launch(in.bits == 8 ? dequantize<8, T> : dequantize<4, T>, by_warp(in.rows, in.columns), stream, in, static_cast<T*>(x), packs(in, x));
  });
}

}  // namespace tersor::kernels::gpu
