// A linear layer whose weight is composed when needed and never kept.
// Han et al. 2024 (SLTrain), arXiv:2406.02214, section 3.2 and Algorithm 1; without factors: a sparse weight
//
//   W = scale·B·A + S      y = x·Wᵀ      dx = dy·W     dB = scale·dyᵀ·(x·Aᵀ)     dA = scale·(dy·B)ᵀ·x     dv = (dyᵀ·x) at S
//
// x (…, in) · B (out, r) · A (r, in), or both undefined · S: values v (nnz) at a pattern · y (…, out); one dtype
//
// W lives in one buffer per dtype (and, on the CPU, per thread), shared by all layers, and is composed again for the backward pass; only
// x, A, B and v are saved. The gradient of W is never formed. Sums of bf16 are in fp32. Deterministic. If W has two of every four
// neighbors in a row, a GPU multiplies by it in bf16 through cuSPARSELt, which compresses it first; dx, down its columns, is dense.
#pragma once

#include <memory>

#include "kernels/sparse_pattern.h"

namespace tersor::kernels {

[[nodiscard]] at::Tensor sparse_low_rank_linear(const at::Tensor& x, const at::Tensor& b, const at::Tensor& a, double scale,
                                                const std::shared_ptr<const SparsePattern>& pattern, const at::Tensor& values);

// Writes W (out, in) to `w`, a tensor of its own or, from `workspace_matrix`, the shared buffer.
void compose(const at::Tensor& b, const at::Tensor& a, double scale, const SparsePattern& pattern, const at::Tensor& values, at::Tensor w);
// An uninitialized matrix in the buffer of this device and type (on the CPU, of this thread); invalidates the one before it.
[[nodiscard]] at::Tensor workspace_matrix(int64_t rows, int64_t columns, const at::TensorOptions& options);
// Frees the buffers of this device, on the CPU those of this thread.
void free_workspace(at::DeviceType device);

}  // namespace tersor::kernels
