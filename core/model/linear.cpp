#include "core/model/linear.h"

#include "core/base/pattern.h"

namespace tersor {
Linear::Linear(const BuildContext& context, const std::string& name, int64_t in, int64_t out, bool bias) : name_(name) {
  const WeightShape shape{.name = name, .out = out, .in = in, .options = context.options,
                          .init_std = context.init_std, .seed = context.seed};
  const std::vector<std::string>& targets = context.parameterization->targets;
  const bool target = std::any_of(targets.begin(), targets.end(), [&](const std::string& p) { return fits_pattern(p, name); });
  const Choice<parameterizations> dense("dense");
  weight_ = (target ? context.parameterization->method : dense).build(shape);
  register_module("weight", weight_);
  if (bias) bias_ = register_parameter("bias", at::zeros({out}, context.options));
}

at::Tensor Linear::forward(const at::Tensor& x) {
  const at::Tensor y = weight_->forward(x);
  return bias_.defined() ? y + bias_ : y;
}

std::vector<Param> Linear::params() const {
  std::vector<Param> all = weight_->params();
  if (bias_.defined()) all.push_back({name_ + ".bias", bias_, Role::kVector, std::nullopt});
  return all;
}

}  // namespace tersor
