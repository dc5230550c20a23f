// Which blocks of a matrix (out, in) are present: `block` × `block` each, cut off at the lower and right edges. 12 bytes per block.
//
// Values are stored one row of blocks after another, each as a matrix of its rows and of the columns that are present, and so in
// ascending order of the position row · in + column.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <span>

namespace tersor::kernels {

struct BlockPattern {
  int64_t out = 0;
  int64_t in = 0;
  int64_t block = 1;
  at::Tensor row_starts;     // (rows of blocks + 1) int32: the blocks of a row are columns[row_starts[i]], …
  at::Tensor columns;        // (blocks) int32, ascending within a row
  at::Tensor offsets;        // (rows of blocks) int64: where the row's values begin
  at::Tensor lengths;        // (rows of blocks) int32: the number of columns in the row's matrix of values
  at::Tensor column_starts;  // (columns of blocks + 1) int32: the blocks of a column are rows[column_starts[j]], …
  at::Tensor rows;           // (blocks) int32, ascending within a column
  at::Tensor places;         // (blocks) int32: the index in `columns` of each of these blocks

  // `blocks`: those present, ascending, int64, each numbered as row of blocks · number of columns of blocks + column of blocks.
  [[nodiscard]] static BlockPattern of_blocks(int64_t out, int64_t in, int64_t block, const at::Tensor& blocks);
  // The number, as above, of the block of each position row · in + column of a matrix.
  [[nodiscard]] static at::Tensor blocks_at(int64_t in, int64_t block, const at::Tensor& positions);

  [[nodiscard]] int64_t blocks_down() const { return (out + block - 1) / block; }
  [[nodiscard]] int64_t blocks_across() const { return (in + block - 1) / block; }
  [[nodiscard]] int64_t num_blocks() const { return columns.numel(); }
  [[nodiscard]] int64_t nnz() const;           // of a pattern in host memory
  [[nodiscard]] at::Tensor blocks() const;     // as of_blocks takes them, in host memory
  [[nodiscard]] at::Tensor positions() const;  // of the values, ascending, int64, in host memory
  [[nodiscard]] BlockPattern to(const at::Device& device) const;

  // Calls each(i, columns, height, length, offset) for every row i of blocks of a pattern in host memory. The row's values are a
  // (height, length) matrix that begins at `offset`; `columns` holds the columns of blocks that its blocks are in.
  template <class Each>
  void for_each_row(Each each) const {
    const int32_t* starts = row_starts.const_data_ptr<int32_t>();
    for (int64_t i = 0; i < blocks_down(); ++i)
      each(i, named(columns, starts[i], starts[i + 1]), height_of(i), int64_t{lengths.const_data_ptr<int32_t>()[i]}, offsets.const_data_ptr<int64_t>()[i]);
  }
  // Calls each(j, rows, places, width) for every column j of blocks: the rows of blocks that its blocks are in, and their `places`.
  template <class Each>
  void for_each_column(Each each) const {
    const int32_t* starts = column_starts.const_data_ptr<int32_t>();
    for (int64_t j = 0; j < blocks_across(); ++j)
      each(j, named(rows, starts[j], starts[j + 1]), named(places, starts[j], starts[j + 1]), std::min(block, in - j * block));
  }
  // The height of row i of blocks.
  [[nodiscard]] int64_t height_of(int64_t i) const { return std::min(block, out - i * block); }

 private:
  [[nodiscard]] static std::span<const int32_t> named(const at::Tensor& all, int32_t begin, int32_t end) {
    return {all.const_data_ptr<int32_t>() + begin, all.const_data_ptr<int32_t>() + end};
  }
};

}  // namespace tersor::kernels
