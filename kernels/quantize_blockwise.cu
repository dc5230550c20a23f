#include "kernels/adamw_math.cuh"
#include "kernels/dynamic_key.h"
#include "kernels/warp_blocks.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr unsigned kThreads = kThreadsByPack;

struct Tables {
  float values[256];
  float boundaries[256];
  uint8_t lowest[2 * kDynamicKeys];
};

// All threads of the block must call it.
__device__ void read_tables(const Map& map, Tables& tables) {
  for (unsigned i = threadIdx.x; i < 256; i += kThreads) {
    tables.values[i] = map.values[i];
    tables.boundaries[i] = map.boundaries[i];
  }
  for (unsigned i = threadIdx.x; i < 2 * kDynamicKeys; i += kThreads) tables.lowest[i] = map.lowest[i];
  __syncthreads();
}

__device__ __forceinline__ uint8_t nearest(float x, const Tables& tables) {
  const unsigned code = tables.lowest[dynamic_key(x)];
  return static_cast<uint8_t>(code + (x > tables.boundaries[code] ? 1 : 0));
}

// The lane's share of 256 numbers, whose scale is their largest magnitude, with zeros beyond a row's end.
struct Share {
  float x[kEachOfWarp];

  __device__ void decode(const Codes& from, const WarpPlace& at, int64_t first, bool packed, const Tables& tables) {
    const auto codes = load_bytes<kEachOfWarp>(from.codes + first, at.there, packed);
    const float scale = from.scales[at.block];
    for (int e = 0; e < kEachOfWarp; ++e) x[e] = e < at.there ? tables.values[codes.x[e]] * scale : 0;
  }
  // All lanes must have read the scale.
  __device__ void encode(const Codes& to, const WarpPlace& at, int64_t first, bool packed, const Tables& tables) const {
    int32_t largest = 0;  // read as integers, magnitudes keep their order, a NaN above all
    for (int e = 0; e < kEachOfWarp; ++e) {
      const int32_t magnitude = std::bit_cast<int32_t>(x[e]) & 0x7fffffff;
      if (magnitude > largest) largest = magnitude;
    }
    largest = warp_max(largest);
    const float scale = std::bit_cast<float>(largest);
    Pack<uint8_t, kEachOfWarp> codes;
    for (int e = 0; e < kEachOfWarp; ++e) codes.x[e] = largest == 0 ? static_cast<uint8_t>(to.map.zero) : nearest(x[e] / scale, tables);
    store_bytes(to.codes + first, at.there, packed, codes);
    if (threadIdx.x % kLanes == 0) to.scales[at.block] = scale;
  }
};

__global__ void __launch_bounds__(kThreads) quantize(const float* x, Blocks blocks, Codes out, bool packed) {
  __shared__ Tables tables;
  read_tables(out.map, tables);
  for_each_warp_block(blocks.rows, blocks.columns, [&](const WarpPlace& at) {
    const int64_t first = at.row * blocks.columns + at.column;
    Share share;
    load_own(x + first, at.there, packed, share.x);
    share.encode(out, at, first, packed, tables);
  });
}

__global__ void __launch_bounds__(kThreads) dequantize(Codes in, Blocks blocks, float* x, bool packed) {
  __shared__ Tables tables;
  read_tables(in.map, tables);
  for_each_warp_block(blocks.rows, blocks.columns, [&](const WarpPlace& at) {
    const int64_t first = at.row * blocks.columns + at.column;
    Share share;
    share.decode(in, at, first, packed, tables);
    store_own(x + first, at.there, packed, share.x);
  });
}

template <class W, class G>
__global__ void __launch_bounds__(kThreads) adamw(W* w, const G* grad, Codes m, Codes v, Blocks blocks, AdamNumbers numbers, Rounding rounding, bool packed) {
  const AdamNumbers a = corrected(numbers);
  __shared__ Tables m_tables;
  __shared__ Tables v_tables;
  read_tables(m.map, m_tables);
  read_tables(v.map, v_tables);
  for_each_warp_block(blocks.rows, blocks.columns, [&](const WarpPlace& at) {
    const int64_t first = at.row * blocks.columns + at.column;
    float weight[kEachOfWarp];
    float g[kEachOfWarp];
    Share m_share;
    Share v_share;
    load_own(w + first, at.there, packed, weight);
    load_own(grad + first, at.there, packed, g);
    m_share.decode(m, at, first, packed, m_tables);
    v_share.decode(v, at, first, packed, v_tables);
    __syncwarp();  // all lanes have read the scales that one of them writes
    for (int e = 0; e < kEachOfWarp; ++e)
      if (e < at.there) weight[e] = adamw_weight(weight[e], g[e], m_share.x[e], v_share.x[e], a);
    if (packed && at.there > 0)
      store_rounded(w + first, weight, rounding, first);
    else
      for (int e = 0; e < kEachOfWarp; ++e)
        if (e < at.there) store_rounded(w + first + e, {weight[e]}, rounding, first + e);
    m_share.encode(m, at, first, packed, m_tables);
    v_share.encode(v, at, first, packed, v_tables);
  });
}

bool packs(const Blocks& b, const Codes& codes) { return b.columns % kEachOfWarp == 0 && reinterpret_cast<uintptr_t>(codes.codes) % kEachOfWarp == 0; }

}  // namespace

void quantize_blockwise(const float* x, const Blocks& blocks, const Codes& out, Stream stream) {
  launch(quantize, by_warp(blocks.rows, blocks.columns), stream, x, blocks, out, packs(blocks, out) && in_packs<float>(blocks.columns, x));
}
void dequantize_blockwise(const Codes& in, const Blocks& blocks, float* x, Stream stream) {
  launch(dequantize, by_warp(blocks.rows, blocks.columns), stream, in, blocks, x, packs(blocks, in) && in_packs<float>(blocks.columns, x));
}
void adamw_step_int8(const Weights& w, const Codes& m, const Codes& v, const Blocks& blocks, const AdamNumbers& a, Stream stream) {
  with_types(w, [&](auto weight, auto gradient) {
    using W = decltype(weight);
    using G = decltype(gradient);
    launch(adamw<W, G>, by_warp(blocks.rows, blocks.columns), stream, static_cast<W*>(w.w), static_cast<const G*>(w.grad), m, v, blocks, a, w.rounding,
           packs(blocks, m) && packs(blocks, v) && in_packs<float>(blocks.columns, w.w, w.grad));
  });
}

}  // namespace tersor::kernels::gpu
