#include "kernels/square_norm.h"

#include <ATen/Parallel.h>

#include <bit>
#include <cmath>
#include <map>
#include <span>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/scalar_math.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kBlock = 4096;
constexpr int64_t kRowsAtOnce = 64;      // rows whose squares are summed in fp32, for norms of columns
constexpr int64_t kColumnsAtOnce = 512;  // columns per thread, whose sums stay in the L1 cache

float to_float(float x) { return x; }
float to_float(uint16_t bf16) { return std::bit_cast<float>(static_cast<uint32_t>(bf16) << 16); }

template <class T>
double exact_sum(const T* x, int64_t size, int64_t stride) {
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) {
    const double value = to_float(x[i * stride]);
    sum += value * value;
  }
  return sum;
}

template <class T>
TERSOR_VECTORIZED float square_sum(const T* x, int64_t size) {
  return lane_sum<float>(size, [x](int64_t i) { return to_float(x[i]) * to_float(x[i]); });
}

bool sure(float sum) { return std::isfinite(sum) && sum > gpu::kSmallestSureSum; }

template <class T>
double block_sum(const T* x, int64_t size) {
  const float sum = square_sum(x, size);
  return sure(sum) ? sum : exact_sum(x, size, 1);
}

template <class T>
double range_sum(const T* x, int64_t size) {
  double sum = 0;
  for (int64_t i = 0; i < size; i += kBlock) sum += block_sum(x + i, std::min(kBlock, size - i));
  return sum;
}

template <class T>
double sum_of_squares(const T* x, int64_t size) {
  const int64_t blocks = (size + kBlock - 1) / kBlock;
  std::vector<double> sums(static_cast<size_t>(blocks));
  at::parallel_for(0, blocks, 8, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      sums[static_cast<size_t>(block)] = block_sum(x + block * kBlock, std::min(kBlock, size - block * kBlock));
  });
  double sum = 0;
  for (const double block : sums) sum += block;
  return sum;
}

TERSOR_VECTORIZED void add_squares(const float* row, int64_t columns, float* sums) {
  for (int64_t j = 0; j < columns; ++j) sums[j] += row[j] * row[j];
}

// Squared norms of the columns [first, first + columns) of a matrix whose rows have `width` numbers.
void column_sums(const float* x, int64_t rows, int64_t width, int64_t first, int64_t columns, double* out) {
  float sums[kColumnsAtOnce];
  std::fill_n(out + first, columns, 0.0);
  for (int64_t begin = 0; begin < rows; begin += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, rows - begin);
    const float* block = x + begin * width + first;
    std::fill_n(sums, columns, 0.0f);
    for (int64_t i = 0; i < count; ++i) add_squares(block + i * width, columns, sums);
    for (int64_t j = 0; j < columns; ++j) {
      out[first + j] += sure(sums[j]) ? sums[j] : exact_sum(block + j, count, width);
    }
  }
}

bool has_kernel(const at::Tensor& x) { return x.is_contiguous() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16); }

// Sums the squares of tensors of one type on a GPU.
at::Tensor sum_on_gpu(std::span<const at::Tensor> all) {
  gpu::ManyTensors many{};
  for (const at::Tensor& x : all) {
    many.at[many.count] = x.const_data_ptr();
    many.sizes[many.count] = x.numel();
    many.blocks[many.count + 1] = many.blocks[many.count] + (x.numel() + gpu::kSquaresOfABlock - 1) / gpu::kSquaresOfABlock;
    ++many.count;
  }
  const at::Tensor sums = at::empty({many.blocks[many.count]}, all[0].options().dtype(at::kDouble).requires_grad(false));
  gpu::square_sums(gpu::number_of(all[0]), many, sums.data_ptr<double>(), gpu::stream_of(all[0]));
  return sums.sum();
}

}  // namespace

at::Tensor square_norm(const std::vector<at::Tensor>& all) {
  std::vector<at::Tensor> parts;
  std::map<at::ScalarType, std::vector<at::Tensor>> by_type;  // those of a type share launches
  for (const at::Tensor& x : all) {
    if (on_host(x) || !has_kernel(x))
      parts.push_back(square_norm(x));
    else
      by_type[x.scalar_type()].push_back(x);
  }
  for (const auto& [type, tensors] : by_type)
    for (size_t begin = 0; begin < tensors.size(); begin += gpu::ManyTensors::kMost)
      parts.push_back(sum_on_gpu(std::span(tensors).subspan(begin, std::min<size_t>(gpu::ManyTensors::kMost, tensors.size() - begin))));
  return parts.size() == 1 ? parts[0] : at::stack(parts).sum();
}

at::Tensor square_norm(const at::Tensor& x) {
  const bool fp32 = x.scalar_type() == at::kFloat;
  if (!has_kernel(x))
    return at::linalg_vector_norm(x, 2, std::nullopt, false, at::kDouble).square();
  at::Tensor result = at::empty({}, x.options().dtype(at::kDouble).requires_grad(false));
  if (x.is_meta()) return result;
  if (!on_host(x)) return sum_on_gpu({&x, 1});
  *result.data_ptr<double>() =
      fp32 ? sum_of_squares(x.const_data_ptr<float>(), x.numel())
           : sum_of_squares(reinterpret_cast<const uint16_t*>(x.const_data_ptr<at::BFloat16>()), x.numel());
  return result;
}

namespace {

at::Tensor square_norms_on_gpu(const at::Tensor& x, int64_t axis) {
  const int64_t rows = x.size(0);
  const int64_t columns = x.size(1);
  const at::TensorOptions exact = x.options().dtype(at::kDouble).requires_grad(false);
  if (axis == 1) {
    at::Tensor sums = at::empty({rows, 1}, exact);
    gpu::row_square_sums(gpu::number_of(x), x.const_data_ptr(), rows, columns, sums.data_ptr<double>(), gpu::stream_of(x));
    return sums;
  }
  const at::Tensor shares = at::empty({(rows + gpu::kSquaresOfRows - 1) / gpu::kSquaresOfRows, columns}, exact);
  gpu::column_square_sums(gpu::number_of(x), x.const_data_ptr(), rows, columns, shares.data_ptr<double>(), gpu::stream_of(x));
  return shares.sum(0, true);
}

}  // namespace

at::Tensor square_norms(const at::Tensor& x, int64_t axis) {
  TERSOR_CHECK(x.dim() == 2 && (axis == 0 || axis == 1), "norms of the rows or the columns of a matrix");
  if (!on_host(x) && has_kernel(x)) return square_norms_on_gpu(x, axis);
  if (!on_host(x) || !x.is_contiguous() || x.scalar_type() != at::kFloat)
    return at::linalg_vector_norm(x, 2, {axis}, true, at::kDouble).square();
  const int64_t rows = x.size(0);
  const int64_t columns = x.size(1);
  at::Tensor result = at::empty({axis == 1 ? rows : 1, axis == 1 ? 1 : columns}, x.options().dtype(at::kDouble));
  if (x.is_meta()) return result;
  const float* in = x.const_data_ptr<float>();
  double* out = result.data_ptr<double>();
  if (axis == 1) {
    at::parallel_for(0, rows, std::max<int64_t>(1, (1 << 14) / std::max<int64_t>(1, columns)), [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) out[i] = range_sum(in + i * columns, columns);
    });
    return result;
  }
  at::parallel_for(0, (columns + kColumnsAtOnce - 1) / kColumnsAtOnce, 1, [=](int64_t begin, int64_t end) {
    for (int64_t chunk = begin; chunk < end; ++chunk) {
      const int64_t first = chunk * kColumnsAtOnce;
      column_sums(in, rows, columns, first, std::min(kColumnsAtOnce, columns - first), out);
    }
  });
  return result;
}

}  // namespace tersor::kernels
