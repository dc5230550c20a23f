#include "kernels/block_sparse_linear.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <bit>
#include <cstring>
#include <span>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"

namespace tersor::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

struct Held : torch::CustomClassHolder {
  explicit Held(std::shared_ptr<const BlockPattern> p) : pattern(std::move(p)) {}
  std::shared_ptr<const BlockPattern> pattern;
};

gpu::Blocked on_gpu(const BlockPattern& p, const at::Tensor& like) {
  TERSOR_CHECK(multiplies_blocks_of(p.block), "blocks of {}", p.block);
  return {.type = gpu::number_of(like), .row_starts = p.row_starts.const_data_ptr<int32_t>(), .columns = p.columns.const_data_ptr<int32_t>(),
          .offsets = p.offsets.const_data_ptr<int64_t>(), .lengths = p.lengths.const_data_ptr<int32_t>(),
          .column_starts = p.column_starts.const_data_ptr<int32_t>(), .rows = p.rows.const_data_ptr<int32_t>(),
          .places = p.places.const_data_ptr<int32_t>(), .out = p.out, .in = p.in, .blocks = p.num_blocks(),
          .shift = std::countr_zero(static_cast<uint64_t>(p.block))};
}

// ---- on the CPU: the columns that a row of blocks needs are brought together, and a product of dense matrices is left ----

constexpr int64_t kGatheredAtOnce = 1 << 20;  // numbers

const int32_t* ints(const at::Tensor& x) { return x.const_data_ptr<int32_t>(); }
const int64_t* longs(const at::Tensor& x) { return x.const_data_ptr<int64_t>(); }

// Of rows [begin, end) of a matrix the blocks of columns that are named, side by side, in the buffer. The last may be cut.
at::Tensor brought_together(const at::Tensor& matrix, int64_t begin, int64_t end, std::span<const int32_t> blocks, int64_t block, int64_t width,
                            const at::Tensor& buffer) {
  const at::Tensor there = buffer.narrow(0, 0, (end - begin) * width).view({end - begin, width});
  const auto size = static_cast<int64_t>(matrix.element_size());
  const int64_t stride = matrix.size(1) * size;
  const char* from = static_cast<const char*>(matrix.const_data_ptr()) + begin * stride;
  char* to = static_cast<char*>(there.data_ptr());
  at::parallel_for(0, end - begin, 16, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      for (size_t k = 0; k < blocks.size(); ++k) {
        const int64_t place = static_cast<int64_t>(k) * block;
        const int64_t count = std::min(block, width - place);
        std::memcpy(to + (row * width + place) * size, from + row * stride + blocks[k] * block * size, static_cast<size_t>(count * size));
      }
  });
  return there;
}

// Calls each(begin, end) for stretches of tokens of which so many columns fit into the buffer.
template <class Each>
void for_each_stretch(int64_t tokens, int64_t width, Each each) {
  const int64_t at_once = std::max<int64_t>(1, kGatheredAtOnce / std::max<int64_t>(1, width));
  for (int64_t begin = 0; begin < tokens; begin += at_once) each(begin, std::min(tokens, begin + at_once));
}

// For stretches of `tokens` rows with at most `columns` of their numbers.
at::Tensor gathering_buffer(int64_t tokens, int64_t columns, const at::TensorOptions& options) {
  return at::empty({std::min(tokens * columns, std::max(kGatheredAtOnce, columns))}, options);
}

class Blocks {
 public:
  explicit Blocks(const BlockPattern& p) : p_(p) {}

  // Calls each(i, blocks of the row, rows of the matrix, columns that are there, where its values begin).
  template <class Each>
  void for_each_row(Each each) const {
    const int32_t* starts = ints(p_.row_starts);
    for (int64_t i = 0; i < p_.blocks_down(); ++i)
      each(i, std::span(ints(p_.columns) + starts[i], ints(p_.columns) + starts[i + 1]), rows_of(i), int64_t{ints(p_.lengths)[i]}, longs(p_.offsets)[i]);
  }
  template <class Each>
  void for_each_column(Each each) const {
    const int32_t* starts = ints(p_.column_starts);
    for (int64_t j = 0; j < p_.blocks_across(); ++j)
      each(j, std::span(ints(p_.rows) + starts[j], ints(p_.rows) + starts[j + 1]), ints(p_.places) + starts[j], std::min(p_.block, p_.in - j * p_.block));
  }
  // The values of a block.
  [[nodiscard]] at::Tensor block(const at::Tensor& values, int64_t i, int64_t place, int64_t width) const {
    const int64_t length = ints(p_.lengths)[i];
    return values.narrow(0, longs(p_.offsets)[i], rows_of(i) * length).view({rows_of(i), length}).narrow(1, (place - ints(p_.row_starts)[i]) * p_.block, width);
  }
  [[nodiscard]] int64_t rows_of(int64_t i) const { return std::min(p_.block, p_.out - i * p_.block); }

 private:
  const BlockPattern& p_;
};

void multiply(const BlockPattern& p, const at::Tensor& x, const at::Tensor& values, const at::Tensor& y) {
  const at::Tensor buffer = gathering_buffer(x.size(0), p.in, x.options());
  if (x.is_meta()) return;
  Blocks(p).for_each_row([&](int64_t i, std::span<const int32_t> columns, int64_t rows, int64_t length, int64_t offset) {
    const at::Tensor w = values.narrow(0, offset, rows * length).view({rows, length}).t();
    for_each_stretch(x.size(0), length, [&](int64_t begin, int64_t end) {
      at::Tensor part = y.slice(0, begin, end).narrow(1, i * p.block, rows);
      if (length == 0)
        part.zero_();
      else
        at::mm_out(part, brought_together(x, begin, end, columns, p.block, length, buffer), w);
    });
  });
}

void multiply_transposed(const BlockPattern& p, const at::Tensor& dy, const at::Tensor& values, const at::Tensor& dx) {
  const at::Tensor buffer = gathering_buffer(dy.size(0), p.out, dy.options());
  const at::Tensor column = at::empty({p.out * std::min(p.block, p.in)}, dy.options());
  if (dy.is_meta()) return;
  const Blocks blocks(p);
  blocks.for_each_column([&](int64_t j, std::span<const int32_t> rows, const int32_t* places, int64_t width) {
    int64_t depth = 0;
    for (size_t k = 0; k < rows.size(); ++k) {
      const int64_t height = blocks.rows_of(rows[k]);
      column.narrow(0, depth * width, height * width).view({height, width}).copy_(blocks.block(values, rows[k], places[k], width));
      depth += height;
    }
    const at::Tensor w = column.narrow(0, 0, depth * width).view({depth, width});
    for_each_stretch(dy.size(0), depth, [&](int64_t begin, int64_t end) {
      at::Tensor part = dx.slice(0, begin, end).narrow(1, j * p.block, width);
      if (depth == 0)
        part.zero_();
      else
        at::mm_out(part, brought_together(dy, begin, end, rows, p.block, depth, buffer), w);
    });
  });
}

void sample(const BlockPattern& p, const at::Tensor& dy, const at::Tensor& x, const at::Tensor& dv) {
  const bool rounds = x.scalar_type() == at::kBFloat16;
  const at::Tensor buffer = gathering_buffer(x.size(0), p.in, x.options());
  const int64_t most = std::min(p.block, p.out) * p.in;
  const at::Tensor products = at::empty({rounds ? most : 0}, x.options());
  const at::Tensor sums = at::empty({rounds ? most : 0}, x.options().dtype(at::kFloat));
  if (x.is_meta()) return;
  Blocks(p).for_each_row([&](int64_t i, std::span<const int32_t> columns, int64_t rows, int64_t length, int64_t offset) {
    if (length == 0) return;
    at::Tensor whole = dv.narrow(0, offset, rows * length).view({rows, length});
    const auto of = [&](const at::Tensor& memory) { return memory.narrow(0, 0, rows * length).view({rows, length}); };
    for_each_stretch(x.size(0), length, [&](int64_t begin, int64_t end) {
      const at::Tensor left = dy.slice(0, begin, end).narrow(1, i * p.block, rows).t();
      const at::Tensor right = brought_together(x, begin, end, columns, p.block, length, buffer);
      if (!rounds || end - begin == x.size(0)) {
        at::addmm_out(whole, whole, left, right, begin == 0 ? 0 : 1);  // with a factor of 0 what was there is not read
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
    ctx->saved_data["pattern"] = c10::IValue::make_capsule(held);
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
    const BlockPattern& p = *c10::static_intrusive_pointer_cast<Held>(ctx->saved_data["pattern"].toCapsule())->pattern;
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

BlockPattern BlockPattern::uninitialized(int64_t out, int64_t in, int64_t block, int64_t blocks, const at::Device& device) {
  BlockPattern p{.out = out, .in = in, .block = block};
  const auto ints_of = [&](int64_t count, at::ScalarType type = at::kInt) { return at::empty({count}, at::TensorOptions(type).device(device)); };
  p.row_starts = ints_of(p.blocks_down() + 1);
  p.columns = ints_of(blocks);
  p.offsets = ints_of(p.blocks_down(), at::kLong);
  p.lengths = ints_of(p.blocks_down());
  p.column_starts = ints_of(p.blocks_across() + 1);
  p.rows = ints_of(blocks);
  p.places = ints_of(blocks);
  return p;
}

BlockPattern BlockPattern::of_blocks(int64_t out, int64_t in, int64_t block, const at::Tensor& blocks) {
  BlockPattern p = uninitialized(out, in, block, blocks.numel(), at::kCPU);
  const int64_t across = p.blocks_across();
  const int64_t* block_at = blocks.const_data_ptr<int64_t>();
  int32_t* row_starts = p.row_starts.zero_().data_ptr<int32_t>();
  int32_t* column_starts = p.column_starts.zero_().data_ptr<int32_t>();
  int32_t* columns = p.columns.data_ptr<int32_t>();
  int32_t* lengths = p.lengths.zero_().data_ptr<int32_t>();
  for (int64_t k = 0; k < blocks.numel(); ++k) {
    const int64_t i = block_at[k] / across;
    const int64_t j = block_at[k] % across;
    columns[k] = static_cast<int32_t>(j);
    ++row_starts[i + 1];
    ++column_starts[j + 1];
    lengths[i] += static_cast<int32_t>(std::min(block, in - j * block));
  }
  int64_t begin = 0;
  for (int64_t i = 0; i < p.blocks_down(); ++i) {
    row_starts[i + 1] += row_starts[i];
    p.offsets.data_ptr<int64_t>()[i] = begin;
    begin += std::min(block, out - i * block) * lengths[i];
  }
  for (int64_t j = 0; j < across; ++j) column_starts[j + 1] += column_starts[j];
  std::vector<int32_t> next(column_starts, column_starts + across);
  for (int64_t k = 0; k < blocks.numel(); ++k) {
    const int32_t place = next[static_cast<size_t>(columns[k])]++;
    p.rows.data_ptr<int32_t>()[place] = static_cast<int32_t>(block_at[k] / across);
    p.places.data_ptr<int32_t>()[place] = static_cast<int32_t>(k);
  }
  return p;
}

int64_t BlockPattern::nnz() const {
  int64_t count = 0;
  Blocks(*this).for_each_row([&](int64_t, auto, int64_t height, int64_t length, int64_t) { count += height * length; });
  return count;
}

at::Tensor BlockPattern::blocks() const {
  const BlockPattern here = to(at::kCPU);
  const at::Tensor all = at::empty({num_blocks()}, at::kLong);
  for (int64_t i = 0; i < blocks_down(); ++i)
    for (int32_t k = ints(here.row_starts)[i]; k < ints(here.row_starts)[i + 1]; ++k) all.data_ptr<int64_t>()[k] = i * blocks_across() + ints(here.columns)[k];
  return all;
}

at::Tensor BlockPattern::positions() const {
  const BlockPattern here = to(at::kCPU);
  const at::Tensor all = at::empty({here.nnz()}, at::kLong);
  int64_t* next = all.data_ptr<int64_t>();
  Blocks(here).for_each_row([&](int64_t i, std::span<const int32_t> there, int64_t height, int64_t, int64_t) {
    for (int64_t row = i * block; row < i * block + height; ++row)
      for (const int32_t j : there)
        for (int64_t column = j * block; column < std::min(in, (j + 1) * block); ++column) *next++ = row * in + column;
  });
  return all;
}

BlockPattern BlockPattern::to(const at::Device& device) const {
  BlockPattern p = *this;
  for (at::Tensor* x : {&p.row_starts, &p.columns, &p.offsets, &p.lengths, &p.column_starts, &p.rows, &p.places}) *x = x->to(device);
  return p;
}

at::Tensor block_sparse_linear(const at::Tensor& x, const std::shared_ptr<const BlockPattern>& pattern, const at::Tensor& values) {
  TERSOR_CHECK(x.size(-1) == pattern->in && x.scalar_type() == values.scalar_type(), "x (…, {}) of {}", pattern->in, c10::toString(values.scalar_type()));
  return BlockSparseLinear::apply(x, c10::make_intrusive<Held>(pattern), values);
}

}  // namespace tersor::kernels
