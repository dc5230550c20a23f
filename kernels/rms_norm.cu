#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kFewThreads = 128;  // for short rows

// A block takes a row. N numbers are read at once.
template <class T, int N, int kBlock>
__global__ void __launch_bounds__(kBlock) forward(RmsNorm n) {
  const T* gain = static_cast<const T*>(n.gain);
  for (int64_t row = blockIdx.x; row < n.rows; row += gridDim.x) {
    const T* x = static_cast<const T*>(n.x) + row * n.width;
    T* y = static_cast<T*>(n.y) + row * n.width;
    float sum = 0;
    for (int64_t i = threadIdx.x * int64_t{N}; i < n.width; i += kBlock * N) {
      float values[N];
      load_pack(x + i, values);
      for (int j = 0; j < N; ++j) sum += values[j] * values[j];
    }
    sum = block_sum<kBlock>(sum);
    const float s = 1 / sqrtf(sum / static_cast<float>(n.width) + n.eps);
    for (int64_t i = threadIdx.x * int64_t{N}; i < n.width; i += kBlock * N) {
      float values[N];
      float gains[N];
      load_pack(x + i, values);
      load_pack(gain + i, gains);
      for (int j = 0; j < N; ++j) values[j] = gains[j] * rounded<T>(values[j] * s);
      store_pack(y + i, values);
    }
    if (threadIdx.x == 0) n.scale[row] = s;
  }
}

// What the backward pass of N numbers of a row needs.
template <int N>
struct Numbers {
  float x[N];
  float gain[N];
  float dy[N];

  template <class T>
  __device__ Numbers(const T* from_x, const T* from_gain, const T* from_dy) {
    load_pack(from_x, x);
    load_pack(from_gain, gain);
    load_pack(from_dy, dy);
  }
};

// A block takes 8 rows, one after another, and keeps their share of d gain; each of its columns belongs to one thread.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) backward(RmsNormBackward n) {
  const T* gain = static_cast<const T*>(n.gain);
  float* d_gain = shared_memory<float>();
  for (int64_t chunk = blockIdx.x; chunk * kNormRowsAtOnce < n.rows; chunk += gridDim.x) {
    for (int64_t i = threadIdx.x * int64_t{N}; i < n.width; i += kThreads * N)
      for (int j = 0; j < N; ++j) d_gain[i + j] = 0;
    const int64_t last = chunk * kNormRowsAtOnce + kNormRowsAtOnce;
    for (int64_t row = chunk * kNormRowsAtOnce; row < last && row < n.rows; ++row) {
      const T* x = static_cast<const T*>(n.x) + row * n.width;
      const T* dy = static_cast<const T*>(n.dy) + row * n.width;
      const float s = n.scale[row];
      float sum = 0;
      for (int64_t i = threadIdx.x * int64_t{N}; i < n.width; i += kThreads * N) {
        const Numbers<N> at(x + i, gain + i, dy + i);
        for (int j = 0; j < N; ++j) {
          const float unit = at.x[j] * s;
          sum += at.gain[j] * at.dy[j] * unit;
          d_gain[i + j] += at.dy[j] * unit;
        }
      }
      const float mean = block_sum<kThreads>(sum) / static_cast<float>(n.width);
      for (int64_t i = threadIdx.x * int64_t{N}; i < n.width; i += kThreads * N) {
        const Numbers<N> at(x + i, gain + i, dy + i);
        float d[N];
        for (int j = 0; j < N; ++j) d[j] = s * (at.gain[j] * at.dy[j] - at.x[j] * s * mean);
        if (n.around != nullptr) {
          float around[N];
          load_pack(static_cast<const T*>(n.around) + row * n.width + i, around);
          for (int j = 0; j < N; ++j) d[j] += around[j];
        }
        store_pack(static_cast<T*>(n.dx) + row * n.width + i, d);
      }
    }
    for (int64_t i = threadIdx.x * int64_t{N}; i < n.width; i += kThreads * N)
      for (int j = 0; j < N; ++j) n.d_gains[chunk * n.width + i + j] = d_gain[i + j];
  }
}

}  // namespace

void rms_norm(const RmsNorm& n, Stream stream) {
  dispatch(n.type, [&](auto number) {
    using T = decltype(number);
    const bool packs = in_packs<T>(n.width, n.x, n.gain, n.y);
    const bool few = n.width <= kFewThreads * kPack<T>;
    launch(!packs ? forward<T, 1, kThreads> : few ? forward<T, kPack<T>, kFewThreads> : forward<T, kPack<T>, kThreads>,
           {.blocks = n.rows, .threads = static_cast<unsigned>(packs && few ? kFewThreads : kThreads)}, stream, n);
  });
}

void rms_norm_backward(const RmsNormBackward& n, Stream stream) {
  dispatch(n.type, [&](auto number) {
    using T = decltype(number);
    const bool packs = in_packs<T>(n.width, n.x, n.gain, n.dy, n.around, n.dx);
    launch(packs ? backward<T, kPack<T>> : backward<T, 1>,
           {.blocks = divide_up(n.rows, kNormRowsAtOnce), .threads = kThreads, .shared_bytes = static_cast<size_t>(n.width) * sizeof(float)},
           stream, n);
  });
}

}  // namespace tersor::kernels::gpu
