#include "kernels/adamw_math.h"

namespace tersor::kernels::gpu {
namespace {

constexpr int kBlock = 256;                     // numbers that share a scale: one warp's work
constexpr int kEach = kBlock / static_cast<int>(kLanes);
constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kLanes;

struct Tables {
  float values[256];
  float boundaries[256];
};

// All threads of the block.
__device__ void read_tables(const Map& map, Tables& tables) {
  for (unsigned i = threadIdx.x; i < 256; i += kThreads) {
    tables.values[i] = map.values[i];
    tables.boundaries[i] = map.boundaries[i];
  }
  __syncthreads();
}

// The first entry whose upper boundary is not below x, among those that have x's sign.
__device__ uint8_t nearest(float x, const Map& map, const Tables& tables) {
  int low = x < 0 ? 0 : map.zero;
  int high = x < 0 ? map.last_negative : 255;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (x <= tables.boundaries[middle])
      high = middle;
    else
      low = middle + 1;
  }
  return static_cast<uint8_t>(low);
}

// Calls each(block, first number, how many there are), the numbers of lane i being i, i + 32, …
template <class Each>
__device__ void for_each_block(const Blocks& all, Each each) {
  const int64_t in_row = divide_up(all.columns, kBlock);
  const int64_t stride = int64_t{gridDim.x} * kWarps;
  for (int64_t block = int64_t{blockIdx.x} * kWarps + threadIdx.x / kLanes; block < all.rows * in_row; block += stride) {
    const int64_t inside = block % in_row * kBlock;
    const int64_t left = all.columns - inside;
    each(block, block / in_row * all.columns + inside, static_cast<int>(left < kBlock ? left : kBlock));
  }
}

// Calls each(e, i) for the e-th number of this lane, the i-th of a block of `size`.
template <class Each>
__device__ void for_each_own(int size, Each each) {
  for (int e = 0; e < kEach; ++e) {
    const int i = e * static_cast<int>(kLanes) + static_cast<int>(threadIdx.x % kLanes);
    if (i < size) each(e, i);
  }
}

// The lane's share of a block, with zeros beyond the block's end.
struct Share {
  float x[kEach] = {};

  __device__ void decode(const uint8_t* codes, float scale, int size, const Tables& tables) {
    for_each_own(size, [&](int e, int i) { x[e] = tables.values[codes[i]] * scale; });
  }
  __device__ void encode(int size, const Map& map, const Tables& tables, uint8_t* codes, float* scale) const {
    float largest = 0;
    for (int e = 0; e < kEach; ++e) largest = x[e] != x[e] ? INFINITY : fmaxf(largest, fabsf(x[e]));
    largest = warp_max(largest);
    for_each_own(size, [&](int e, int i) { codes[i] = largest == 0 ? static_cast<uint8_t>(map.zero) : nearest(x[e] / largest, map, tables); });
    if (threadIdx.x % kLanes == 0) *scale = largest;
  }
};

__global__ void __launch_bounds__(kThreads) quantize(const float* x, Blocks blocks, Codes out) {
  __shared__ Tables tables;
  read_tables(out.map, tables);
  for_each_block(blocks, [&](int64_t block, int64_t first, int size) {
    Share share;
    for_each_own(size, [&](int e, int i) { share.x[e] = x[first + i]; });
    share.encode(size, out.map, tables, out.codes + first, out.scales + block);
  });
}

__global__ void __launch_bounds__(kThreads) dequantize(Codes in, Blocks blocks, float* x) {
  __shared__ Tables tables;
  read_tables(in.map, tables);
  for_each_block(blocks, [&](int64_t block, int64_t first, int size) {
    Share share;
    share.decode(in.codes + first, in.scales[block], size, tables);
    for_each_own(size, [&](int e, int i) { x[first + i] = share.x[e]; });
  });
}

template <class W, class G>
__global__ void __launch_bounds__(kThreads) adamw(W* w, const G* grad, Codes m, Codes v, Blocks blocks, AdamNumbers numbers, Rounding rounding) {
  const AdamNumbers a = corrected(numbers);
  __shared__ Tables m_tables;
  __shared__ Tables v_tables;
  read_tables(m.map, m_tables);
  read_tables(v.map, v_tables);
  for_each_block(blocks, [&](int64_t block, int64_t first, int size) {
    Share m_share;
    Share v_share;
    m_share.decode(m.codes + first, m.scales[block], size, m_tables);
    v_share.decode(v.codes + first, v.scales[block], size, v_tables);
    __syncwarp();  // all lanes have read the scales that one of them writes
    for_each_own(size, [&](int e, int i) {
      const float stepped = adamw_weight(to_float(w[first + i]), to_float(grad[first + i]), m_share.x[e], v_share.x[e], a);
      store_rounded(w[first + i], stepped, rounding, first + i);
    });
    m_share.encode(size, m.map, m_tables, m.codes + first, m.scales + block);
    v_share.encode(size, v.map, v_tables, v.codes + first, v.scales + block);
  });
}

Grid grid_of(const Blocks& blocks) { return {.blocks = divide_up(blocks.rows * divide_up(blocks.columns, kBlock), kWarps), .threads = kThreads}; }

}  // namespace

void quantize_blockwise(const float* x, const Blocks& blocks, const Codes& out, Stream stream) { launch(quantize, grid_of(blocks), stream, x, blocks, out); }
void dequantize_blockwise(const Codes& in, const Blocks& blocks, float* x, Stream stream) { launch(dequantize, grid_of(blocks), stream, in, blocks, x); }
void adamw_step_int8(const Weights& w, const Codes& m, const Codes& v, const Blocks& blocks, const AdamNumbers& a, Stream stream) {
  with_types(w, [&](auto weight, auto gradient) {
    using W = decltype(weight);
    using G = decltype(gradient);
    launch(adamw<W, G>, grid_of(blocks), stream, static_cast<W*>(w.w), static_cast<const G*>(w.grad), m, v, blocks, a, w.rounding);
  });
}

}  // namespace tersor::kernels::gpu
