#include "kernels/block_sparse_linear.h"

#include <ATen/Parallel.h>

#include <bit>
#include <cstring>
#include <span>

#include "core/base/error.h"
#include "kernels/held_pattern.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"

namespace tersor::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

using Held = HeldPattern<BlockPattern>;

gpu::Blocked on_gpu(const BlockPattern& p, const at::Tensor& like) {
  TERSOR_CHECK(multiplies_blocks_of(p.block), "blocks of {}", p.block);
  return {.type = gpu::number_of(like), .row_starts = p.row_starts.const_data_ptr<int32_t>(), .columns = p.columns.const_data_ptr<int32_t>(),
          .offsets = p.offsets.const_data_ptr<int64_t>(), .lengths = p.lengths.const_data_ptr<int32_t>(),
          .column_starts = p.column_starts.const_data_ptr<int32_t>(), .rows = p.rows.const_data_ptr<int32_t>(),
          .places = p.places.const_data_ptr<int32_t>(), .out = p.out, .in = p.in, .blocks = p.num_blocks(),
          .shift = std::countr_zero(static_cast<uint64_t>(p.block))};
}

// ---- on the CPU: gathering the columns that a row of blocks needs leaves a product of dense matrices ----

constexpr int64_t kGatheredAtOnce = 1 << 20;  // numbers

// Blocks of columns of a matrix, `width` columns in all; the last block may be cut off.
struct Columns {
  std::span<const int32_t> blocks;
  int64_t block;
  int64_t width;
};

// Gathers those columns of rows [begin, end) of a matrix side by side in the buffer.
at::Tensor brought_together(const at::Tensor& matrix, int64_t begin, int64_t end, const Columns& columns, const at::Tensor& buffer) {
  const at::Tensor there = buffer.narrow(0, 0, (end - begin) * columns.width).view({end - begin, columns.width});
  const auto size = static_cast<int64_t>(matrix.element_size());
  const int64_t stride = matrix.size(1) * size;
  const char* from = static_cast<const char*>(matrix.const_data_ptr()) + begin * stride;
  char* to = static_cast<char*>(there.data_ptr());
  at::parallel_for(0, end - begin, 16, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      for (size_t k = 0; k < columns.blocks.size(); ++k) {
        const int64_t place = static_cast<int64_t>(k) * columns.block;
        const int64_t count = std::min(columns.block, columns.width - place);
        std::memcpy(to + (row * columns.width + place) * size, from + row * stride + columns.blocks[k] * columns.block * size, static_cast<size_t>(count * size));
      }
  });
  return there;
}

// Calls each(begin, end) for stretches of tokens, each short enough that `width` of its columns fit into the buffer.
template <class Each>
void for_each_stretch(int64_t tokens, int64_t width, Each each) {
  const int64_t at_once = std::max<int64_t>(1, kGatheredAtOnce / std::max<int64_t>(1, width));
  for (int64_t begin = 0; begin < tokens; begin += at_once) each(begin, std::min(tokens, begin + at_once));
}

// A buffer for stretches of `tokens` rows, with at most `columns` columns of each.
at::Tensor gathering_buffer(int64_t tokens, int64_t columns, const at::TensorOptions& options) {
  return at::empty({std::min(tokens * columns, std::max(kGatheredAtOnce, columns))}, options);
}

// The values of a block in row i of blocks, the `place`th block of all.
at::Tensor values_of(const BlockPattern& p, const at::Tensor& values, int64_t i, int64_t place, int64_t width) {
  const int64_t length = p.lengths.const_data_ptr<int32_t>()[i];
  const at::Tensor row = values.narrow(0, p.offsets.const_data_ptr<int64_t>()[i], p.height_of(i) * length).view({p.height_of(i), length});
  return row.narrow(1, (place - p.row_starts.const_data_ptr<int32_t>()[i]) * p.block, width);
}

// Writes the product of the given columns and w into the columns of `to` from `place` on; zeros if no columns are given.
void multiply_columns(const at::Tensor& from, const Columns& columns, const at::Tensor& w, const at::Tensor& to, int64_t place, const at::Tensor& buffer) {
  for_each_stretch(from.size(0), columns.width, [&](int64_t begin, int64_t end) {
    at::Tensor part = to.slice(0, begin, end).narrow(1, place, w.size(1));
    if (columns.width == 0)
      part.zero_();
    else
      at::mm_out(part, brought_together(from, begin, end, columns, buffer), w);
  });
}

void multiply(const BlockPattern& p, const at::Tensor& x, const at::Tensor& values, const at::Tensor& y) {
  const at::Tensor buffer = gathering_buffer(x.size(0), p.in, x.options());
  if (x.is_meta()) return;
  p.for_each_row([&](int64_t i, std::span<const int32_t> columns, int64_t rows, int64_t length, int64_t offset) {
    const at::Tensor w = values.narrow(0, offset, rows * length).view({rows, length}).t();
    multiply_columns(x, {columns, p.block, length}, w, y, i * p.block, buffer);
  });
}

void multiply_transposed(const BlockPattern& p, const at::Tensor& dy, const at::Tensor& values, const at::Tensor& dx) {
  const at::Tensor buffer = gathering_buffer(dy.size(0), p.out, dy.options());
  const at::Tensor column = at::empty({p.out * std::min(p.block, p.in)}, dy.options());
  if (dy.is_meta()) return;
  p.for_each_column([&](int64_t j, std::span<const int32_t> rows, std::span<const int32_t> places, int64_t width) {
    int64_t depth = 0;
    for (size_t k = 0; k < rows.size(); ++k) {
      const int64_t height = p.height_of(rows[k]);
      column.narrow(0, depth * width, height * width).view({height, width}).copy_(values_of(p, values, rows[k], places[k], width));
      depth += height;
    }
    const at::Tensor w = column.narrow(0, 0, depth * width).view({depth, width});
    multiply_columns(dy, {rows, p.block, depth}, w, dx, j * p.block, buffer);
  });
}

void sample(const BlockPattern& p, const at::Tensor& dy, const at::Tensor& x, const at::Tensor& dv) {
  const bool rounds = x.scalar_type() == at::kBFloat16;
  const at::Tensor buffer = gathering_buffer(x.size(0), p.in, x.options());
  const int64_t most = std::min(p.block, p.out) * p.in;
  const at::Tensor products = at::empty({rounds ? most : 0}, x.options());
  const at::Tensor sums = at::empty({rounds ? most : 0}, x.options().dtype(at::kFloat));
  if (x.is_meta()) return;
  p.for_each_row([&](int64_t i, std::span<const int32_t> columns, int64_t rows, int64_t length, int64_t offset) {
    if (length == 0) return;
    at::Tensor whole = dv.narrow(0, offset, rows * length).view({rows, length});
    const auto of = [&](const at::Tensor& memory) { return memory.narrow(0, 0, rows * length).view({rows, length}); };
    for_each_stretch(x.size(0), length, [&](int64_t begin, int64_t end) {
      const at::Tensor left = dy.slice(0, begin, end).narrow(1, i * p.block, rows).t();
      const at::Tensor right = brought_together(x, begin, end, {columns, p.block, length}, buffer);
      if (!rounds || end - begin == x.size(0)) {
        at::addmm_out(whole, whole, left, right, begin == 0 ? 0 : 1);  // with a beta of 0, `whole` is not read
        return;
      }
      at::Tensor product = of(products);
      at::mm_out(product, left, right);
      if (begin == 0)
        of(sums).copy_(product);
      else
        of(sums).add_(product);
      if (end == x.size(0)) whole.copy_(of(sums));
    });
  });
}

class BlockSparseLinear : public torch::autograd::Function<BlockSparseLinear> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const c10::intrusive_ptr<Held>& held, const Variable& values) {
    ctx->save_for_backward({x, values});
    held->save(ctx);
    const BlockPattern& p = *held->pattern;
    const at::Tensor rows = x.reshape({-1, p.in}).contiguous();
    std::vector<int64_t> sizes = x.sizes().vec();
    sizes.back() = p.out;
    const at::Tensor y = at::empty(sizes, x.options());
    if (on_host(x))
      multiply(p, rows, values, y.view({-1, p.out}));
    else
      gpu::block_sparse(on_gpu(p, x), rows.const_data_ptr(), values.const_data_ptr(), rows.size(0), y.data_ptr(), gpu::stream_of(x));
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &values = saved[1];
    const BlockPattern& p = Held::of(ctx);
    const at::Tensor dy = grads[0].reshape({-1, p.out}).contiguous();
    variable_list result(3);
    if (ctx->needs_input_grad(0)) {
      const at::Tensor dx = at::empty({dy.size(0), p.in}, x.options());
      if (on_host(x))
        multiply_transposed(p, dy, values, dx);
      else
        gpu::block_sparse_transposed(on_gpu(p, x), dy.const_data_ptr(), values.const_data_ptr(), dy.size(0), dx.data_ptr(), gpu::stream_of(x));
      result[0] = dx.view(x.sizes());
    }
    if (ctx->needs_input_grad(1)) {
      const at::Tensor rows = x.reshape({-1, p.in}).contiguous();
      const at::Tensor dv = at::empty_like(values);
      if (on_host(x))
        sample(p, dy, rows, dv);
      else
        gpu::block_sparse_sampled(on_gpu(p, x), dy.const_data_ptr(), rows.const_data_ptr(), dy.size(0), dv.data_ptr(), gpu::stream_of(x));
      result[2] = dv;
    }
    return result;
  }
};

}  // namespace

at::Tensor block_sparse_linear(const at::Tensor& x, const std::shared_ptr<const BlockPattern>& pattern, const at::Tensor& values) {
  TERSOR_CHECK(x.size(-1) == pattern->in && x.scalar_type() == values.scalar_type(), "x (…, {}) of {}", pattern->in, c10::toString(values.scalar_type()));
  return BlockSparseLinear::apply(x, c10::make_intrusive<Held>(pattern), values);
}

}  // namespace tersor::kernels
