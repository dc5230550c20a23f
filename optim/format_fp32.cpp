#include <c10/util/accumulate.h>

#include "optim/state_format.h"

namespace tersor {
namespace {

class Fp32Format final : public StateFormat {
 public:
  struct Config {
    void fields(FieldVisitor&) {}
  };
  explicit Fp32Format(const Config&) {}

  std::vector<at::Tensor> allocate(at::IntArrayRef shape, SlotKind, const at::TensorOptions& options) const override {
    return {at::zeros(shape, options.dtype(at::kFloat))};
  }
  void encode(const at::Tensor& fp32, SlotKind, const RandomStream&, std::span<const at::Tensor> resting) const override {
    resting[0].copy_(fp32);
  }
  at::Tensor decode(std::span<const at::Tensor> resting, SlotKind, at::IntArrayRef) const override {
    return resting[0];
  }
  bool by_rows() const override { return true; }
  int64_t bytes(at::IntArrayRef shape, SlotKind) const override {
    return c10::multiply_integers(shape) * static_cast<int64_t>(sizeof(float));
  }
};

const bool registered = state_formats().add<Fp32Format>("fp32", "as the rule computes it, 4 bytes a number");

}  // namespace
}  // namespace tersor
