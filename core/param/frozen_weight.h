// A weight W (out, in) that is applied but not trained, beside factors that are: for LoRA and its kin.
//
//   y = x Wᵀ        only x gets a gradient; none of W's size is ever formed
//
// It is stored in the dtype of the run, or in 8 or 4 bits with a scale and a zero for every 256 numbers of a row
// (kernels/quantize_affine.h), as QLoRA does with another 4-bit code (Dettmers et al. 2023, arXiv:2305.14314). A packed weight
// is unpacked for each product, forward and backward.
#pragma once

#include "core/param/parameterization.h"
#include "kernels/quantize_affine.h"

namespace tersor {

enum class FrozenFormat { kSame, kInt8, kInt4 };
template <>
struct EnumNames<FrozenFormat> {
  static constexpr std::array values{std::pair{FrozenFormat::kSame, std::string_view("same")},
                                     std::pair{FrozenFormat::kInt8, std::string_view("int8")},
                                     std::pair{FrozenFormat::kInt4, std::string_view("int4")}};
};

// The type in which sums over weights are computed: at least fp32.
[[nodiscard]] inline at::ScalarType exact_type(const at::TensorOptions& options) {
  return options.dtype() == at::kDouble ? at::kDouble : at::kFloat;
}

class FrozenWeight {
 public:
  // Holds `w`, or on the meta device only its shape.
  FrozenWeight(const at::Tensor& w, const at::TensorOptions& options, FrozenFormat format = FrozenFormat::kSame);

  [[nodiscard]] at::Tensor apply(const at::Tensor& x) const;  // (…, in) → (…, out)
  [[nodiscard]] at::Tensor read() const;                      // in exact_type; may alias the stored tensor
  // Rounds to nearest without a stream; with one, stochastically if stored in less than fp32.
  void write(const at::Tensor& w, const std::optional<RandomStream>& random = std::nullopt);
  // W ← W + scale·uᵀv        u (k, out)   v (k, in), of exact_type, k small. In one pass over W unless it is packed; rounds stochastically.
  void add_outer(const at::Tensor& u, const at::Tensor& v, double scale, const RandomStream& random);
  [[nodiscard]] int64_t numel() const { return packed_ ? c10::multiply_integers(packed_->shape) : dense_.numel(); }
  // For `kept`: "….base", or "….base.codes" and so on.
  [[nodiscard]] std::vector<PackedPart> parts(const std::string& name) const;

 private:
  at::TensorOptions options_;
  at::Tensor dense_;                                 // undefined when packed
  std::optional<kernels::AffineQuantized> packed_;
};

// y + s·h Bᵀ      y (…, out)   h (…, r)   B (out, r)
[[nodiscard]] at::Tensor add_product(const at::Tensor& y, const at::Tensor& h, const at::Tensor& b, double scale);

}  // namespace tersor
