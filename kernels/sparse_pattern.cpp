#include "kernels/sparse_pattern.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <array>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/vectorize.h"

namespace tersor::kernels {
namespace {

constexpr int64_t kRowsOfATask = 8;

// Calls body(row, first, last, columns) for every row in parallel, with columns as unsigned 16- or 32-bit numbers.
template <class Body>
void for_each_row(const SparsePattern& pattern, const Body& body) {
  const int32_t* starts = pattern.row_starts.const_data_ptr<int32_t>();
  const bool narrow = pattern.columns.scalar_type() == at::kShort;
  const void* columns = pattern.columns.const_data_ptr();
  at::parallel_for(0, pattern.out, kRowsOfATask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      if (narrow)
        body(row, starts[row], starts[row + 1], static_cast<const uint16_t*>(columns));
      else
        body(row, starts[row], starts[row + 1], static_cast<const uint32_t*>(columns));
    }
  });
}

void check_dense(const SparsePattern& pattern, const at::Tensor& w) {
  TERSOR_CHECK(w.is_contiguous() && w.dim() == 2 && w.size(0) == pattern.out && w.size(1) == pattern.in,
               "a contiguous matrix {} x {}", pattern.out, pattern.in);
}

constexpr int64_t kTile = 256;  // tokens whose columns of X stay in the cache
constexpr int64_t kLanes = 16;

// Σ a[i]·b[i] over a tile, in lanes, so that the order of the sum is the same on every processor.
template <class T>
TERSOR_VECTORIZED T tile_dot(const T* a, const T* b) {
  std::array<T, kLanes> sums{};
  for (int64_t i = 0; i < kTile; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) sums[static_cast<size_t>(lane)] += a[i + lane] * b[i + lane];
  T total = 0;
  for (const T sum : sums) total += sum;
  return total;
}

// Rows [begin, begin + kTile) of a matrix (T, n), transposed: (n, kTile), zero beyond its end.
at::Tensor tile_of(const at::Tensor& matrix, int64_t begin, at::ScalarType exact) {
  const int64_t rows = std::min(kTile, matrix.size(0) - begin);
  at::Tensor tile = rows == kTile ? at::empty({matrix.size(1), kTile}, matrix.options().dtype(exact))
                                  : at::zeros({matrix.size(1), kTile}, matrix.options().dtype(exact));
  tile.narrow(1, 0, rows).copy_(matrix.narrow(0, begin, rows).t());
  return tile;
}

}  // namespace

// Knuth, The Art of Computer Programming, volume 2, section 3.4.2, Algorithm S: one pass over all positions.
at::Tensor random_positions(int64_t all, int64_t count, const RandomStream& random) {
  TERSOR_CHECK(count >= 0 && count <= all, "{} of {} positions", count, all);
  const at::Tensor positions = at::empty({count}, at::kLong);
  int64_t* next = positions.data_ptr<int64_t>();
  int64_t wanted = count;
  for (int64_t position = 0; wanted > 0; ++position) {
    if (static_cast<int64_t>(random.below(static_cast<uint64_t>(position), static_cast<uint64_t>(all - position))) >= wanted) continue;
    *next++ = position;
    --wanted;
  }
  return positions;
}

SparsePattern SparsePattern::random(int64_t out, int64_t in, int64_t nnz, const RandomStream& random) {
  return of_positions(out, in, random_positions(out * in, nnz, random));
}

SparsePattern SparsePattern::uninitialized(int64_t out, int64_t in, int64_t nnz, at::DeviceType device) {
  const at::TensorOptions options = at::TensorOptions().device(device);
  return {.out = out, .in = in, .row_starts = at::zeros({out + 1}, options.dtype(at::kInt)), .columns = at::empty({nnz}, options.dtype(column_type(in)))};
}

SparsePattern SparsePattern::of_positions(int64_t out, int64_t in, const at::Tensor& positions) {
  TERSOR_CHECK(positions.numel() < int64_t{1} << 31, "{} entries", positions.numel());
  SparsePattern pattern = uninitialized(out, in, positions.numel());
  const int64_t* place = positions.const_data_ptr<int64_t>();
  int32_t* starts = pattern.row_starts.data_ptr<int32_t>();
  void* columns = pattern.columns.data_ptr();
  const bool narrow = pattern.columns.scalar_type() == at::kShort;
  for (int64_t i = 0; i < positions.numel(); ++i) {
    ++starts[place[i] / in + 1];
    if (narrow)
      static_cast<uint16_t*>(columns)[i] = static_cast<uint16_t>(place[i] % in);
    else
      static_cast<uint32_t*>(columns)[i] = static_cast<uint32_t>(place[i] % in);
  }
  for (int64_t row = 0; row < out; ++row) starts[row + 1] += starts[row];
  return pattern;
}

gpu::Entries SparsePattern::on_gpu() const {
  return {.row_starts = row_starts.const_data_ptr<int32_t>(), .columns = columns.const_data_ptr(), .narrow = columns.scalar_type() == at::kShort,
          .out = out, .in = in};
}

SparsePattern SparsePattern::to(const at::Device& device) const {
  return {.out = out, .in = in, .row_starts = row_starts.to(device), .columns = columns.to(device), .two_of_four = two_of_four};
}

at::Tensor SparsePattern::positions() const {
  if (!on_host(columns)) return to(at::kCPU).positions();
  const at::Tensor all = at::empty({nnz()}, at::kLong);
  int64_t* place = all.data_ptr<int64_t>();
  for_each_row(*this, [this, place](int64_t row, int64_t first, int64_t last, const auto* column) {
    for (int64_t k = first; k < last; ++k) place[k] = row * in + static_cast<int64_t>(column[k]);
  });
  return all;
}

void scatter_add(const SparsePattern& pattern, const at::Tensor& values, const at::Tensor& w) {
  check_dense(pattern, w);
  TERSOR_CHECK(values.is_contiguous() && values.scalar_type() == w.scalar_type() && values.numel() == pattern.nnz(), "{} values", pattern.nnz());
  if (w.is_meta()) return;
  if (!on_host(w)) return gpu::scatter_add(gpu::number_of(w), pattern.on_gpu(), values.const_data_ptr(), w.data_ptr(), gpu::stream_of(w));
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, w.scalar_type(), "scatter_add", [&] {
    const scalar_t* from = values.const_data_ptr<scalar_t>();
    scalar_t* to = w.data_ptr<scalar_t>();
    for_each_row(pattern, [&](int64_t row, int64_t first, int64_t last, const auto* columns) {
      scalar_t* out_row = to + row * pattern.in;
      for (int64_t k = first; k < last; ++k) out_row[columns[k]] += from[k];
    });
  });
}

at::Tensor gather(const SparsePattern& pattern, const at::Tensor& w) {
  check_dense(pattern, w);
  const at::Tensor values = at::empty({pattern.nnz()}, w.options());
  if (w.is_meta()) return values;
  if (!on_host(w)) {
    gpu::gather(gpu::number_of(w), pattern.on_gpu(), w.const_data_ptr(), values.data_ptr(), gpu::stream_of(w));
    return values;
  }
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, w.scalar_type(), "gather", [&] {
    const scalar_t* from = w.const_data_ptr<scalar_t>();
    scalar_t* to = values.data_ptr<scalar_t>();
    for_each_row(pattern, [&](int64_t row, int64_t first, int64_t last, const auto* columns) {
      const scalar_t* in_row = from + row * pattern.in;
      for (int64_t k = first; k < last; ++k) to[k] = in_row[columns[k]];
    });
  });
  return values;
}

at::Tensor sampled_product(const SparsePattern& pattern, const at::Tensor& dy, const at::Tensor& x) {
  TERSOR_CHECK(dy.dim() == 2 && x.dim() == 2 && dy.size(0) == x.size(0) && dy.size(1) == pattern.out && x.size(1) == pattern.in,
               "(T, {}) and (T, {})", pattern.out, pattern.in);
  const at::ScalarType exact = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  if (!on_host(x)) {
    const at::Tensor left = dy.contiguous();
    const at::Tensor right = x.contiguous();
    const at::Tensor values = at::empty({pattern.nnz()}, x.options().dtype(at::kFloat));
    gpu::sampled_product(gpu::number_of(x), pattern.on_gpu(), left.const_data_ptr(), right.const_data_ptr(), x.size(0), values.data_ptr<float>(),
                         gpu::stream_of(x));
    return values;
  }
  const at::Tensor values = at::zeros({pattern.nnz()}, x.options().dtype(exact));
  for (int64_t begin = 0; begin < x.size(0); begin += kTile) {
    const at::Tensor dy_tile = tile_of(dy, begin, exact);
    const at::Tensor x_tile = tile_of(x, begin, exact);
    if (x.is_meta()) break;
    AT_DISPATCH_FLOATING_TYPES(exact, "sampled_product", [&] {
      const scalar_t* left = dy_tile.const_data_ptr<scalar_t>();
      const scalar_t* right = x_tile.const_data_ptr<scalar_t>();
      scalar_t* sums = values.data_ptr<scalar_t>();
      for_each_row(pattern, [&](int64_t row, int64_t first, int64_t last, const auto* columns) {
        for (int64_t k = first; k < last; ++k)
          sums[k] += tile_dot(left + row * kTile, right + static_cast<int64_t>(columns[k]) * kTile);
      });
    });
  }
  return values;
}

}  // namespace tersor::kernels
