// A linear layer of whose weight whole blocks alone are there.    Gray et al. 2017 (Block-sparse GPU kernels); masks as in SPDF
//
//   y = x·Wᵀ      dx = dy·W      dv = the blocks of dyᵀ·x        what is missing is skipped and takes no memory
//
// x (…, in) · values (nnz) · y (…, out); one dtype
//
// Values: a row of blocks after the other, each a matrix of its rows and of the columns that are there. They rise with the position
// row · in + column. Sums of bf16 are in fp32; those of dv, on the CPU, over up to a million numbers of x at a time. Deterministic.
#pragma once

#include <ATen/ATen.h>

#include <memory>

#include "kernels/gpu.h"

namespace tersor::kernels {

// Which blocks of a matrix (out, in) are there: `block` × `block`, at the lower and right edge what is left. 12 bytes a block.
struct BlockPattern {
  int64_t out = 0;
  int64_t in = 0;
  int64_t block = 1;
  at::Tensor row_starts;     // (rows of blocks + 1) int32: the blocks of a row are columns[row_starts[i]], …
  at::Tensor columns;        // (blocks) int32, rising within a row
  at::Tensor offsets;        // (rows of blocks) int64: where their values begin
  at::Tensor lengths;        // (rows of blocks) int32: columns of the matrix that their values are
  at::Tensor column_starts;  // (columns of blocks + 1) int32: the blocks of a column are rows[column_starts[j]], …
  at::Tensor rows;           // (blocks) int32, rising within a column
  at::Tensor places;         // (blocks) int32: where in `columns` these are

  // `blocks`: which are there, rising, int64: row of blocks · columns of blocks + column of blocks.
  [[nodiscard]] static BlockPattern of_blocks(int64_t out, int64_t in, int64_t block, const at::Tensor& blocks);
  // Room for so many.
  [[nodiscard]] static BlockPattern uninitialized(int64_t out, int64_t in, int64_t block, int64_t blocks, const at::Device& device);

  [[nodiscard]] int64_t blocks_down() const { return (out + block - 1) / block; }
  [[nodiscard]] int64_t blocks_across() const { return (in + block - 1) / block; }
  [[nodiscard]] int64_t num_blocks() const { return columns.numel(); }
  [[nodiscard]] int64_t nnz() const;           // of a pattern in host memory
  [[nodiscard]] at::Tensor blocks() const;     // as of_blocks takes them, in host memory
  [[nodiscard]] at::Tensor positions() const;  // of the values, rising, int64, in host memory
  [[nodiscard]] BlockPattern to(const at::Device& device) const;
};

// Whether there are kernels for blocks of this size on every device; smaller ones gain nothing there.
[[nodiscard]] constexpr bool multiplies_blocks_of(int64_t block) { return block >= 64 && (block & (block - 1)) == 0; }

[[nodiscard]] at::Tensor block_sparse_linear(const at::Tensor& x, const std::shared_ptr<const BlockPattern>& pattern, const at::Tensor& values);

}  // namespace tersor::kernels
