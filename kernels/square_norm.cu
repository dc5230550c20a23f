#include "kernels/launch.h"

namespace tersor::kernels::gpu {
namespace {

constexpr int kThreads = 512;

// In fp64, whose range holds every square. Memory is what this waits for, not arithmetic.
template <int N, class T>
__device__ double sum_of(const T* x, int64_t size) {
  double sum = 0;
  for (int64_t i = threadIdx.x * int64_t{N}; i < size; i += kThreads * N) {
    float values[N];
    load_pack(x + i, values);
    for (int j = 0; j < N; ++j) sum += static_cast<double>(values[j]) * static_cast<double>(values[j]);
  }
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads) sums_of_blocks(ManyTensors all, double* sums) {
  for (int64_t block = blockIdx.x; block < all.blocks[all.count]; block += gridDim.x) {
    int tensor = 0;  // the last that begins at this block or before it
    for (int step = ManyTensors::kMost / 2; step > 0; step /= 2)
      if (tensor + step < all.count && all.blocks[tensor + step] <= block) tensor += step;
    const int64_t first = (block - all.blocks[tensor]) * kSquaresOfABlock;
    const int64_t left = all.sizes[tensor] - first;
    const int64_t size = left < kSquaresOfABlock ? left : kSquaresOfABlock;
    const T* x = static_cast<const T*>(all.at[tensor]) + first;
    const bool packs = size % kPack<T> == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
    const double sum = block_sum<kThreads>(packs ? sum_of<kPack<T>>(x, size) : sum_of<1>(x, size));
    if (threadIdx.x == 0) sums[block] = sum;
  }
}

}  // namespace

void square_sums(Number type, const ManyTensors& x, double* sums, Stream stream) {
  dispatch(type, [&](auto number) { launch(sums_of_blocks<decltype(number)>, {.blocks = x.blocks[x.count], .threads = kThreads}, stream, x, sums); });
}

}  // namespace tersor::kernels::gpu
