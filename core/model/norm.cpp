#include "core/model/norm.h"

namespace tersor {

RmsNorm::RmsNorm(const std::string& name, int64_t width, double eps, const at::TensorOptions& options)
    : name_(name + ".weight"), eps_(eps) {
  gain_ = register_parameter("weight", at::ones({width}, options));
}

at::Tensor RmsNorm::forward(const at::Tensor& x) const {
  const at::ScalarType exact = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor wide = x.to(exact);
  const at::Tensor scale = (wide.square().mean({-1}, true) + eps_).rsqrt();
  return gain_ * (wide * scale).to(x.scalar_type());
}

}  // namespace tersor
