#include "core/param/frozen_weight.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/add_outer.h"
#include "kernels/stochastic_round.h"

namespace tersor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// Saves the packed weight for the backward pass, not the unpacked one.
class PackedProduct : public torch::autograd::Function<PackedProduct> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const kernels::AffineQuantized& w) {
    ctx->save_for_backward(w.parts());
    ctx->saved_data["shape"] = w.shape;
    ctx->saved_data["bits"] = static_cast<int64_t>(w.bits);
    return at::linear(x, kernels::dequantize_affine(w, x.scalar_type()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list parts = ctx->get_saved_variables();
    const auto w = kernels::AffineQuantized::from_parts(parts, ctx->saved_data["shape"].toIntVector(),
                                                        static_cast<int>(ctx->saved_data["bits"].toInt()));
    return {at::matmul(grads[0], kernels::dequantize_affine(w, grads[0].scalar_type())), Variable()};
  }
};

}  // namespace

FrozenWeight::FrozenWeight(const at::Tensor& w, const at::TensorOptions& options, FrozenFormat format) : options_(options) {
  if (format == FrozenFormat::kSame)
    dense_ = at::empty(w.sizes(), options);
  else
    packed_ = kernels::AffineQuantized::zeros(w.sizes(), format == FrozenFormat::kInt8 ? 8 : 4, options);
  if (!w.is_meta()) write(w);
}

at::Tensor FrozenWeight::apply(const at::Tensor& x) const { return packed_ ? PackedProduct::apply(x, *packed_) : at::linear(x, dense_); }

at::Tensor FrozenWeight::read() const {
  return (packed_ ? kernels::dequantize_affine(*packed_) : dense_).to(exact_type(options_));
}

void FrozenWeight::write(const at::Tensor& w, const std::optional<RandomStream>& random) {
  if (packed_)
    kernels::quantize_affine(w.to(at::kFloat).contiguous(), *packed_, random);
  else if (random && dense_.scalar_type() == at::kBFloat16)
    kernels::stochastic_round(w.to(at::kFloat).contiguous(), dense_, *random);
  else
    dense_.copy_(w);
}

void FrozenWeight::add_outer(const at::Tensor& u, const at::Tensor& v, double scale, const RandomStream& random) {
  if (packed_ || dense_.scalar_type() == at::kDouble) return write(at::addmm(read(), u.t(), v, 1, scale), random);
  kernels::add_outer(dense_, u.contiguous(), v.contiguous(), scale, random);
}

std::vector<PackedPart> FrozenWeight::parts(const std::string& name) const {
  if (!packed_) return {{name, dense_}};
  return {{name + ".codes", packed_->codes}, {name + ".scales", packed_->scales}, {name + ".zeros", packed_->zeros_}};
}

at::Tensor add_product(const at::Tensor& y, const at::Tensor& h, const at::Tensor& b, double scale) {
  const at::Tensor rows = at::addmm(y.reshape({-1, b.size(0)}), h.reshape({-1, b.size(1)}), b.t(), 1, scale);
  return rows.view(y.sizes());
}

}  // namespace tersor
