#include "kernels/launch.h"

namespace tersor::kernels::gpu {
namespace {

constexpr int kThreads = 512;

// In fp64, whose range holds every square. Memory is what this waits for, not arithmetic.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) sums_of_blocks(const T* x, int64_t size, double* sums) {
  for (int64_t block = blockIdx.x; block * kSquaresOfABlock < size; block += gridDim.x) {
    const int64_t first = block * kSquaresOfABlock;
    const int64_t end = first + kSquaresOfABlock < size ? first + kSquaresOfABlock : size;
    double sum = 0;
    for (int64_t i = first + threadIdx.x * int64_t{N}; i < end; i += kThreads * N) {
      float values[N];
      load_pack(x + i, values);
      for (int j = 0; j < N; ++j) sum += static_cast<double>(values[j]) * static_cast<double>(values[j]);
    }
    sum = block_sum<kThreads>(sum);
    if (threadIdx.x == 0) sums[block] = sum;
  }
}

}  // namespace

void square_sums(Number type, const void* x, int64_t size, double* sums, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    const bool packs = in_packs<T>(size, x);
    launch(packs ? sums_of_blocks<T, kPack<T>> : sums_of_blocks<T, 1>, {.blocks = divide_up(size, kSquaresOfABlock), .threads = kThreads}, stream,
           static_cast<const T*>(x), size, sums);
  });
}

}  // namespace tersor::kernels::gpu
