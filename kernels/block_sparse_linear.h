// A linear layer of whose weight whole blocks alone are there.    Gray et al. 2017 (Block-sparse GPU kernels); masks as in SPDF
//
//   y = x·Wᵀ      dx = dy·W      dv = the blocks of dyᵀ·x        what is missing is skipped and takes no memory
//
// x (…, in) · values (nnz) · y (…, out); one dtype
//
// Sums of bf16 are in fp32; those of dv, on the CPU, over up to a million numbers of x at a time. Deterministic.
#pragma once

#include <memory>

#include "kernels/block_pattern.h"

namespace tersor::kernels {

// Whether there are kernels for blocks of this size on every device; smaller ones gain nothing there.
[[nodiscard]] constexpr bool multiplies_blocks_of(int64_t block) { return block >= 64 && (block & (block - 1)) == 0; }

[[nodiscard]] at::Tensor block_sparse_linear(const at::Tensor& x, const std::shared_ptr<const BlockPattern>& pattern, const at::Tensor& values);

}  // namespace tersor::kernels
