// Squared 2-norms in one pass, without temporaries of x's size.
//
//   square_norm(x)        Σ x²                                    0-dim fp64          square_norm({x, y, …})    of all together
//   square_norms(x, 1)    Σⱼ x[i,j]²   (rows, 1) fp64             square_norms(x, 0)    Σᵢ x[i,j]²   (1, columns) fp64
//
// x: fp32 or bf16; for square_norms (rows, columns), and on the CPU fp32. Squares are summed in fp32 over blocks of at most 4096
// numbers, on the CPU in 64 lanes, and blocks in fp64: the relative error is below 1e-5 whatever the size, and near 1e-8 for numbers of
// random sign. A block whose squares leave fp32's range is summed in fp64, so only x itself can make the result infinite.
// Deterministic with any number of threads. On a GPU, one launch handles up to 512 tensors of one type. x of other types or
// not contiguous goes through LibTorch.
#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace tersor::kernels {

[[nodiscard]] at::Tensor square_norm(const at::Tensor& x);
[[nodiscard]] at::Tensor square_norm(const std::vector<at::Tensor>& all);  // at least one, on one device
[[nodiscard]] at::Tensor square_norms(const at::Tensor& x, int64_t axis);

}  // namespace tersor::kernels
