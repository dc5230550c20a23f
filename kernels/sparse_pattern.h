// Which entries of a matrix (out, in) are present: row-compressed, columns ascending within a row.
//
//   row_starts (out + 1) int32 · columns (nnz): 16 bits each if in ≤ 65536, else 32
//
// 2 · nnz + 4 · (out + 1) bytes for any weight of today's models.
#pragma once

#include <ATen/ATen.h>

#include "core/base/rng.h"
#include "kernels/gpu.h"

namespace tersor::kernels {

struct SparsePattern {
  int64_t out = 0;
  int64_t in = 0;
  at::Tensor row_starts;  // (out + 1) int32
  at::Tensor columns;     // (nnz) int16, to be read as unsigned, or int32
  bool two_of_four = false;  // whether at most two of every four neighbors in a row are present

  [[nodiscard]] int64_t nnz() const { return columns.numel(); }

  // `nnz` positions; every set of that size is equally likely.
  [[nodiscard]] static SparsePattern random(int64_t out, int64_t in, int64_t nnz, const RandomStream& random);
  // Room for `nnz` entries, without positions.
  [[nodiscard]] static SparsePattern uninitialized(int64_t out, int64_t in, int64_t nnz, at::DeviceType device = at::kCPU);
  // Ascending positions row · in + column, int64.
  [[nodiscard]] static SparsePattern of_positions(int64_t out, int64_t in, const at::Tensor& positions);
  [[nodiscard]] static at::ScalarType column_type(int64_t in) { return in <= 65536 ? at::kShort : at::kInt; }

  [[nodiscard]] at::Tensor positions() const;  // in host memory
  [[nodiscard]] SparsePattern to(const at::Device& device) const;
  [[nodiscard]] gpu::Entries on_gpu() const;
};

// `count` of the numbers below `all`, ascending, int64; every set of that size is equally likely.
[[nodiscard]] at::Tensor random_positions(int64_t all, int64_t count, const RandomStream& random);

// W (out, in) += the values (nnz) at the positions. Contiguous, one dtype. In place; deterministic.
void scatter_add(const SparsePattern& pattern, const at::Tensor& values, const at::Tensor& w);
// The entries of W at the positions (nnz).
[[nodiscard]] at::Tensor gather(const SparsePattern& pattern, const at::Tensor& w);

// The entries of dYᵀ·X at the positions, without forming that product:  v[k] = Σ_t dY[t, row k] · X[t, column k]
// dY (T, out) · X (T, in), one dtype · result (nnz): fp32, or fp64 for fp64; sums of bf16 are in fp32. Deterministic.
[[nodiscard]] at::Tensor sampled_product(const SparsePattern& pattern, const at::Tensor& dy, const at::Tensor& x);

}  // namespace tersor::kernels
