#include "core/base/rng.h"
#include "kernels/launch.h"

namespace tersor::kernels::gpu {
namespace {

constexpr int64_t kBlock = 256;  // numbers that share a scale and a zero: one warp's work, 8 neighbours a lane
constexpr int kEach = static_cast<int>(kBlock / kLanes);
constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kLanes;
constexpr float kSmallestRange = 1e-5f;

struct Place {
  int64_t block;
  int64_t row;
  int64_t column;  // of the lane's first number
};

template <class Each>
__device__ void for_each_block(const Affine& all, Each each) {
  const int64_t in_row = divide_up(all.columns, kBlock);
  const int64_t stride = int64_t{gridDim.x} * kWarps;
  for (int64_t block = int64_t{blockIdx.x} * kWarps + threadIdx.x / kLanes; block < all.rows * in_row; block += stride)
    each(Place{block, block / in_row, block % in_row * kBlock + int64_t{threadIdx.x % kLanes} * kEach});
}

__global__ void __launch_bounds__(kThreads) quantize(const float* x, Affine out, bool stochastic, uint64_t key) {
  const RandomStream random(key);
  const auto levels = static_cast<float>((1 << out.bits) - 1);
  for_each_block(out, [&](const Place& place) {
    float values[kEach];
    float low = 0;
    float high = 0;
    for (int e = 0; e < kEach; ++e) {
      values[e] = place.column + e < out.columns ? x[place.row * out.columns + place.column + e] : 0;
      low = fminf(low, values[e]);
      high = fmaxf(high, values[e]);
    }
    low = -warp_max(-low);
    high = warp_max(high);
    // Zero is a code, and both ends of the range are at most the largest and smallest one away from it: nothing saturates.
    const float even = fmaxf(high - low, kSmallestRange) / levels;
    const float zero = fminf(fmaxf(rintf(-low / even), low < 0 ? 1.0f : 0.0f), high > 0 ? levels - 1 : levels);
    const float scale = fmaxf(fmaxf(low < 0 ? -low / zero : 0.0f, high > 0 ? high / (levels - zero) : 0.0f), kSmallestRange / levels);
    if (threadIdx.x % kLanes == 0) {
      out.scales[place.block] = scale;
      out.zeros[place.block] = static_cast<uint8_t>(zero);
    }
    unsigned codes[kEach];
    for (int e = 0; e < kEach; ++e) {
      const float exact = values[e] / scale;
      const auto index = static_cast<uint64_t>(place.row * out.columns + place.column + e);
      const float rounded = stochastic ? floorf(exact + static_cast<float>(random.uniform(index))) : rintf(exact);
      codes[e] = place.column + e < out.columns ? static_cast<unsigned>(fminf(fmaxf(rounded + zero, 0.0f), levels)) : 0;
    }
    const int step = out.bits == 4 ? 2 : 1;
    uint8_t* row = out.codes + place.row * out.row_bytes;
    for (int e = 0; e < kEach && place.column + e < out.columns; e += step)
      row[(place.column + e) / step] = static_cast<uint8_t>(step == 1 ? codes[e] : codes[e] | codes[e + 1] << 4);
  });
}

__global__ void __launch_bounds__(kThreads) dequantize(Affine in, float* x) {
  for_each_block(in, [&](const Place& place) {
    const uint8_t* row = in.codes + place.row * in.row_bytes;
    const float scale = in.scales[place.block];
    const int zero = in.zeros[place.block];
    for (int e = 0; e < kEach && place.column + e < in.columns; ++e) {
      const int64_t column = place.column + e;
      const int code = in.bits == 8 ? row[column] : row[column / 2] >> (column % 2 * 4) & 0xf;
      x[place.row * in.columns + column] = scale * static_cast<float>(code - zero);
    }
  });
}

Grid grid_of(const Affine& a) { return {.blocks = divide_up(a.rows * divide_up(a.columns, kBlock), kWarps), .threads = kThreads}; }

}  // namespace

void quantize_affine(const float* x, const Affine& out, bool stochastic, uint64_t key, Stream stream) {
  launch(quantize, grid_of(out), stream, x, out, stochastic, key);
}
void dequantize_affine(const Affine& in, float* x, Stream stream) { launch(dequantize, grid_of(in), stream, in, x); }

}  // namespace tersor::kernels::gpu
