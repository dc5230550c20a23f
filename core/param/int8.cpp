// Weights in 8 bits, updated with stochastic rounding.    Zhang et al. 2024 (Q-GaLore), arXiv:2407.08296, section 3.3
//
//   W ≈ scale · (code − zero), blocks of 256 of a row        y = x Wᵀ        codes (out, in), scales and zeros (out, in / 256)
//
// There is no copy of W in higher precision. Each product unpacks it; the optimizer unpacks it, adds the step in fp32 and
// rounds stochastically, so that steps smaller than the spacing of codes are not lost.
#include <torch/csrc/autograd/custom_function.h>

#include "core/param/parameterization.h"
#include "kernels/quantize_affine.h"

namespace tersor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

class Int8Weight final : public PackedWeight {
 public:
  Int8Weight(at::IntArrayRef shape, const at::TensorOptions& options) : packed_(kernels::AffineQuantized::zeros(shape, 8, options)) {}

  at::Tensor unpack() const override { return kernels::dequantize_affine(packed_); }
  void pack(const at::Tensor& weight, const std::optional<RandomStream>& random) override {
    kernels::quantize_affine(weight.to(at::kFloat).contiguous(), packed_, random);
  }
  std::vector<PackedPart> parts() const override {
    return {{"codes", packed_.codes}, {"scales", packed_.scales}, {"zeros", packed_.zeros_}};
  }

 private:
  kernels::AffineQuantized packed_;
};

// `handle` stands for W in the graph: it has W's shape and receives W's gradient, but takes no memory.
class Int8Linear : public torch::autograd::Function<Int8Linear> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& /*handle*/, const Int8Weight* weight) {
    ctx->save_for_backward({x});
    ctx->saved_data["weight"] = reinterpret_cast<int64_t>(weight);
    return at::linear(x, weight->unpack().to(x.scalar_type()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const at::Tensor x = ctx->get_saved_variables()[0];
    const auto* weight = reinterpret_cast<const Int8Weight*>(ctx->saved_data["weight"].toInt());
    const at::Tensor dy = grads[0].reshape({-1, grads[0].size(-1)});  // (N, out)
    const at::Tensor dx = dy.mm(weight->unpack().to(dy.scalar_type())).view(x.sizes());
    return {dx, dy.t().mm(x.reshape({-1, x.size(-1)})), Variable()};
  }
};

class Int8 final : public Parameterization {
 public:
  struct Config {
    void fields(FieldVisitor&) {}
  };
  Int8(const Config&, const WeightShape& shape) : name_(shape.name), weight_(std::make_shared<Int8Weight>(at::IntArrayRef{shape.out, shape.in}, shape.options)) {
    const at::Tensor dense = initial_weight(shape, at::kFloat);
    if (!dense.is_meta()) weight_->pack(dense, std::nullopt);
    handle_ = register_parameter("weight", at::zeros({1}, shape.options).expand({shape.out, shape.in}));
  }

  at::Tensor forward(const at::Tensor& x) override { return Int8Linear::apply(x, handle_, weight_.get()); }
  at::Tensor materialize() const override { return weight_->unpack().to(handle_.scalar_type()); }
  void assign(const at::Tensor& w) override { weight_->pack(w, std::nullopt); }
  std::vector<Param> params() override { return {{name_ + ".weight", handle_, Role::kMatrix, std::nullopt, weight_}}; }

 private:
  std::string name_;
  std::shared_ptr<Int8Weight> weight_;
  at::Tensor handle_;  // (out, in), expanded from one number
};

const bool registered = parameterizations().add<Int8>("int8", "8-bit weights, Zhang et al. 2024 (Q-GaLore), arXiv:2407.08296");

}  // namespace
}  // namespace tersor
