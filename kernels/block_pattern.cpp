#include "kernels/block_pattern.h"

#include <vector>

namespace tersor::kernels {

at::Tensor BlockPattern::blocks_at(int64_t in, int64_t block, const at::Tensor& positions) {
  const at::Tensor row = at::floor_divide(positions, in);
  const at::Tensor column = positions - row * in;
  return at::floor_divide(row, block) * ((in + block - 1) / block) + at::floor_divide(column, block);
}

BlockPattern BlockPattern::of_blocks(int64_t out, int64_t in, int64_t block, const at::Tensor& blocks) {
  BlockPattern p{.out = out, .in = in, .block = block};
  for (at::Tensor* of_each : {&p.columns, &p.rows, &p.places}) *of_each = at::empty({blocks.numel()}, at::kInt);
  p.row_starts = at::zeros({p.blocks_down() + 1}, at::kInt);
  p.offsets = at::empty({p.blocks_down()}, at::kLong);
  p.lengths = at::zeros({p.blocks_down()}, at::kInt);
  p.column_starts = at::zeros({p.blocks_across() + 1}, at::kInt);
  const int64_t across = p.blocks_across();
  const int64_t* block_at = blocks.const_data_ptr<int64_t>();
  int32_t* row_starts = p.row_starts.data_ptr<int32_t>();
  int32_t* column_starts = p.column_starts.data_ptr<int32_t>();
  int32_t* columns = p.columns.data_ptr<int32_t>();
  int32_t* lengths = p.lengths.data_ptr<int32_t>();
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
  for_each_row([&](int64_t, auto, int64_t height, int64_t length, int64_t) { count += height * length; });
  return count;
}

at::Tensor BlockPattern::blocks() const {
  const BlockPattern here = to(at::kCPU);
  const at::Tensor all = at::empty({num_blocks()}, at::kLong);
  int64_t* next = all.data_ptr<int64_t>();
  here.for_each_row([&](int64_t i, std::span<const int32_t> there, int64_t, int64_t, int64_t) {
    for (const int32_t j : there) *next++ = i * blocks_across() + j;
  });
  return all;
}

at::Tensor BlockPattern::positions() const {
  const BlockPattern here = to(at::kCPU);
  const at::Tensor all = at::empty({here.nnz()}, at::kLong);
  int64_t* next = all.data_ptr<int64_t>();
  here.for_each_row([&](int64_t i, std::span<const int32_t> there, int64_t height, int64_t, int64_t) {
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

}  // namespace tersor::kernels
