#include "kernels/launch.cuh"

namespace tersor::kernels::gpu {
namespace {

constexpr int kThreads = 512;

// Whether an fp32 sum of squares has lost none to overflow or underflow.
__device__ __forceinline__ bool sure(float sum) {
  return sum > kSmallestSureSum && sum < INFINITY;
}
__device__ __forceinline__ double exact_square(float x) { return static_cast<double>(x) * static_cast<double>(x); }

// Sums each pack in fp32 and only the packs' sums in fp64, which is slow on many GPUs.
template <int N, class T>
__device__ double sum_of(const T* x, int64_t size) {
  double sum = 0;
  for (int64_t i = threadIdx.x * int64_t{N}; i < size; i += kThreads * N) {
    float values[N];
    load_pack(x + i, values);
    float squares = 0;
    for (int j = 0; j < N; ++j) squares += values[j] * values[j];
    if (sure(squares))
      sum += static_cast<double>(squares);
    else
      for (int j = 0; j < N; ++j) sum += exact_square(values[j]);
  }
  return sum;
}

template <class T>
__device__ bool packed(const T* x, int64_t size) {
  return size % kPack<T> == 0 && reinterpret_cast<uintptr_t>(x) % 16 == 0;
}

template <class T>
__global__ void __launch_bounds__(kThreads) sums_of_blocks(ManyTensors all, double* sums) {
  for (int64_t block = blockIdx.x; block < all.blocks[all.count]; block += gridDim.x) {
    int tensor = 0;  // the last one that begins at or before this block
    for (int step = ManyTensors::kMost / 2; step > 0; step /= 2)
      if (tensor + step < all.count && all.blocks[tensor + step] <= block) tensor += step;
    const int64_t first = (block - all.blocks[tensor]) * kSquaresOfABlock;
    const int64_t left = all.sizes[tensor] - first;
    const int64_t size = left < kSquaresOfABlock ? left : kSquaresOfABlock;
    const T* x = static_cast<const T*>(all.at[tensor]) + first;
    const double sum = block_sum<kThreads>(packed(x, size) ? sum_of<kPack<T>>(x, size) : sum_of<1>(x, size));
    if (threadIdx.x == 0) sums[block] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) sums_of_rows(const T* x, int64_t rows, int64_t columns, double* sums) {
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const T* these = x + row * columns;
    const double sum = block_sum<kThreads>(packed(these, columns) ? sum_of<kPack<T>>(these, columns) : sum_of<1>(these, columns));
    if (threadIdx.x == 0) sums[row] = sum;
  }
}

// A thread goes down N columns of 64 rows.
template <class T, int N>
__global__ void __launch_bounds__(kThreadsByPack) sums_of_columns(const T* x, int64_t rows, int64_t columns, double* sums) {
  for_each_pack<N>(divide_up(rows, kSquaresOfRows) * columns, [&](int64_t place) {
    const int64_t begin = place / columns * kSquaresOfRows;
    const int64_t end = begin + kSquaresOfRows < rows ? begin + kSquaresOfRows : rows;
    const int64_t column = place % columns;
    float squares[N] = {};
    for (int64_t row = begin; row < end; ++row) {
      float values[N];
      load_pack(x + row * columns + column, values);
      for (int j = 0; j < N; ++j) squares[j] += values[j] * values[j];
    }
    for (int j = 0; j < N; ++j) {
      double sum = static_cast<double>(squares[j]);
      if (!sure(squares[j])) {
        sum = 0;
        for (int64_t row = begin; row < end; ++row) sum += exact_square(to_float(x[row * columns + column + j]));
      }
      sums[place + j] = sum;
    }
  });
}

}  // namespace

void square_sums(Number type, const ManyTensors& x, double* sums, Stream stream) {
  dispatch(type, [&](auto number) { launch(sums_of_blocks<decltype(number)>, {.blocks = x.blocks[x.count], .threads = kThreads}, stream, x, sums); });
}

void row_square_sums(Number type, const void* x, int64_t rows, int64_t columns, double* sums, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    launch(sums_of_rows<T>, {.blocks = rows, .threads = kThreads}, stream, static_cast<const T*>(x), rows, columns, sums);
  });
}

void column_square_sums(Number type, const void* x, int64_t rows, int64_t columns, double* sums, Stream stream) {
  dispatch(type, [&](auto number) {
    using T = decltype(number);
    constexpr int kN = kPack<T> / 2;  // fewer columns per thread, so that there are more threads
    const bool packs = in_packs<T>(columns, x);
    launch(packs ? sums_of_columns<T, kN> : sums_of_columns<T, 1>, by_pack(divide_up(rows, kSquaresOfRows) * columns, packs ? kN : 1), stream,
           static_cast<const T*>(x), rows, columns, sums);
  });
}

}  // namespace tersor::kernels::gpu
