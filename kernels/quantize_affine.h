// Evenly spaced 4- and 8-bit numbers with a scale and a zero for every 256 of a row's numbers.
// Zhang et al. 2024 (Q-GaLore), arXiv:2407.08296, section 3.2
//
//   low = min(x, 0), high = max(x, 0) over a block     Q = 2ᵇ − 1     zero = round(−low·Q / (high − low))
//   scale = max(−low / zero, high / (Q − zero))        code = round(x / scale) + zero           x ≈ scale · (code − zero)
//
// x: fp32 (rows…, columns), contiguous · codes: uint8 (rows, ⌈columns·b / 8⌉), 4-bit codes two per byte, the lower half first ·
// scales: fp32 and zeros: uint8, both (rows, blocks). With a random stream, round goes down or up so that the expectation is
// x. Deterministic.
//
// Departs from the authors' code in three points. The range of a block always includes zero and fits the codes; in theirs, blocks of
// one sign and the largest numbers of any block saturate. The arithmetic is fp32; theirs rounds to bf16 before it rounds
// stochastically. 4-bit codes are stored two per byte; theirs, one.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <span>

#include "core/base/rng.h"

namespace tersor::kernels {

struct AffineQuantized {
  std::vector<int64_t> shape;
  int bits = 8;
  at::Tensor codes;
  at::Tensor scales;
  at::Tensor zeros_;

  // Storage that holds zeros.
  [[nodiscard]] static AffineQuantized zeros(at::IntArrayRef shape, int bits, const at::TensorOptions& options);
  [[nodiscard]] static AffineQuantized from_parts(std::span<const at::Tensor> parts, at::IntArrayRef shape, int bits);
  [[nodiscard]] static int64_t bytes(at::IntArrayRef shape, int bits);
  [[nodiscard]] std::vector<at::Tensor> parts() const { return {codes, scales, zeros_}; }
};

void quantize_affine(const at::Tensor& x, const AffineQuantized& out, const std::optional<RandomStream>& random);
// In fp32, or as `.to(type)` would convert that; bf16 is written directly.
[[nodiscard]] at::Tensor dequantize_affine(const AffineQuantized& quantized, at::ScalarType type = at::kFloat);

}  // namespace tersor::kernels
