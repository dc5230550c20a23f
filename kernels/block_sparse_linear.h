// A linear layer with a block-sparse weight.    Gray et al. 2017 (Block-sparse GPU kernels); masks as in SPDF
//
//   y = x·Wᵀ      dx = dy·W      dv = the blocks of dyᵀ·x        missing blocks are skipped and take no memory
//
// x (…, in) · values (nnz) · y (…, out); one dtype
//
// Sums of bf16 are in fp32; on the CPU, dv adds up products over at most about a million numbers of x each. Deterministic.
#pragma once

#include <memory>

#include "kernels/block_pattern.h"

namespace tersor::kernels {

// Whether every device has kernels for blocks of this size; smaller blocks would gain nothing from them.
[[nodiscard]] constexpr bool multiplies_blocks_of(int64_t block) { return block >= 64 && (block & (block - 1)) == 0; }

[[nodiscard]] at::Tensor block_sparse_linear(const at::Tensor& x, const std::shared_ptr<const BlockPattern>& pattern, const at::Tensor& values);

}  // namespace tersor::kernels
