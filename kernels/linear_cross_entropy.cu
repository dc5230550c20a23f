#include <cmath>

#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr int kThreads = 256;

// The largest of some logits, and Σ exp(logit − largest) over them.
struct Softmax {
  float largest = -INFINITY;
  float sum = 0;

  template <int N>
  __device__ void add(const float (&logits)[N]) {
    float most = logits[0];
    for (int j = 1; j < N; ++j) most = fmaxf(most, logits[j]);
    if (most > largest) {
      sum *= expf(largest - most);  // 0 the first time
      largest = most;
    }
    const float base = largest == -INFINITY ? 0 : largest;
    for (int j = 0; j < N; ++j) sum += expf(logits[j] - base);
  }
};

// A block takes a row and reads it twice: for the softmax sum, and to overwrite it with gradients.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) row_losses(CrossEntropy c) {
  for (int64_t row = blockIdx.x; row < c.rows; row += gridDim.x) {
    T* logits = static_cast<T*>(c.logits) + row * c.classes;
    const int64_t target = c.targets[row];
    if (target < 0 || target >= c.classes) {
      if (c.gradients)
        for (int64_t i = threadIdx.x; i < c.classes; i += kThreads) store(logits[i], 0);
      if (threadIdx.x == 0) c.losses[row] = target < 0 ? 0.0 : static_cast<double>(NAN);
      continue;
    }
    Softmax mine;
    for (int64_t i = threadIdx.x * int64_t{N}; i < c.classes; i += kThreads * N) {
      float values[N];
      load_pack(logits + i, values);
      mine.add(values);
    }
    const float largest = block_max<kThreads>(mine.largest);
    const float sum = block_sum<kThreads>(mine.sum == 0 ? 0.0f : mine.sum * expf(mine.largest - largest));
    const float picked = to_float(logits[target]);
    if (threadIdx.x == 0) c.losses[row] = static_cast<double>(logf(sum) + largest - picked);
    if (!c.gradients) continue;
    __syncthreads();  // all have read the target's logit
    const float each = c.scale / sum;
    for (int64_t i = threadIdx.x * int64_t{N}; i < c.classes; i += kThreads * N) {
      float values[N];
      load_pack(logits + i, values);
      for (int j = 0; j < N; ++j) values[j] = i + j == target ? c.scale * (expf(picked - largest) / sum - 1) : each * expf(values[j] - largest);
      store_pack(logits + i, values);
    }
  }
}

}  // namespace

void cross_entropy(const CrossEntropy& c, Stream stream) {
  dispatch(c.type, [&](auto number) {
    using T = decltype(number);
    const bool packs = in_packs<T>(c.classes, c.logits);
    launch(packs ? row_losses<T, kPack<T>> : row_losses<T, 1>, {.blocks = c.rows, .threads = kThreads}, stream, c);
  });
}

}  // namespace tersor::kernels::gpu
