// 4-bit projectors, two numbers per byte.    Zhang et al. 2024 (Q-GaLore), arXiv:2407.08296, section 3.2
//
//   x ≈ scale · (code − zero)        code in 0 … 15; one scale and zero per 256 numbers of a row
//
// Only for bases: moments need more than 16 levels.
#include <c10/util/accumulate.h>

#include "kernels/quantize_affine.h"
#include "optim/state_format.h"

namespace tersor {
namespace {

class Int4Format final : public StateFormat {
 public:
  struct Config {
    void fields(FieldVisitor&) {}
  };
  explicit Int4Format(const Config&) {}

  std::vector<at::Tensor> allocate(at::IntArrayRef shape, SlotKind, const at::TensorOptions& options) const override {
    return kernels::AffineQuantized::zeros(shape, kBits, options).parts();
  }
  void encode(const at::Tensor& fp32, SlotKind, const RandomStream&, std::span<const at::Tensor> resting) const override {
    kernels::quantize_affine(fp32.contiguous(), kernels::AffineQuantized::from_parts(resting, fp32.sizes(), kBits), std::nullopt);
  }
  at::Tensor decode(std::span<const at::Tensor> resting, SlotKind, at::IntArrayRef shape) const override {
    return kernels::dequantize_affine(kernels::AffineQuantized::from_parts(resting, shape, kBits));
  }
  int64_t bytes(at::IntArrayRef shape, SlotKind) const override { return kernels::AffineQuantized::bytes(shape, kBits); }

  std::optional<std::string> refuses(SlotKind kind) const override {
    if (kind == SlotKind::kProjector) return std::nullopt;
    return "int4 has too few levels for moments: it is for 'projector'; use int8 for 'state'";
  }

 private:
  static constexpr int kBits = 4;
};

const bool registered = state_formats().add<Int4Format>("int4", "4-bit bases, Zhang et al. 2024 (Q-GaLore), arXiv:2407.08296");

}  // namespace
}  // namespace tersor
