#include "core/model/linear.h"

#include <typeinfo>

#include "core/base/blame.h"
#include "core/base/pattern.h"

namespace tersor {

bool ParameterizationConfig::matches(const std::string& name) const {
  return std::any_of(targets.begin(), targets.end(), [&](const std::string& p) { return fits_pattern(p, name); });
}

Choice<parameterizations> method_of(const std::vector<ParameterizationConfig>& all, const std::string& name) {
  const auto last = std::find_if(all.rbegin(), all.rend(), [&](const ParameterizationConfig& config) { return config.matches(name); });
  return last == all.rend() ? Choice<parameterizations>("dense") : last->method;
}

Linear::Linear(const BuildContext& context, const std::string& name, int64_t in, int64_t out, bool bias)
    : shape_{.name = name, .out = out, .in = in, .options = context.options, .init_std = context.init_std, .seed = context.seed} {
  weight_ = register_module("weight", std::shared_ptr<Parameterization>(method_of(context.parameterizations, name).build(shape_)));
  if (bias) bias_ = register_parameter("bias", at::zeros({out}, context.options));
}

void Linear::reparameterize(const Choice<parameterizations>& method) {
  const at::NoGradGuard no_grad;
  std::shared_ptr<Parameterization> fresh = method.build(shape_);
  if (!shape_.options.device().is_meta()) fresh->assign(weight_->materialize());
  weight_ = replace_module("weight", std::move(fresh));
}

namespace {

// Whether the tensors of one weight can be copied into those of the other: not if two blocks store the weight differently.
bool same_storage(Parameterization& a, Parameterization& b) {
  if (typeid(a) != typeid(b)) return false;
  const auto count = [](Parameterization& weight) { return tensors_of(weight).size(); };
  return count(a) == count(b);
}

}  // namespace

void Linear::copy_from(const Linear& other) {
  const at::NoGradGuard no_grad;
  if (same_storage(*other.weight_, *weight_))
    copy_weight(*other.weight_, *weight_);
  else
    weight_->assign(other.weight_->materialize());
  if (bias_.defined()) bias_.copy_(other.bias_);
}

void Linear::zero_output() {
  const at::NoGradGuard no_grad;
  weight_->assign(at::zeros({shape_.out, shape_.in}, shape_.options));
  if (bias_.defined()) bias_.zero_();
}

at::Tensor Linear::forward(const at::Tensor& x) {
  const auto who = [&] { return fmt::format("the parameterization of '{}'", shape_.name); };
  const at::Tensor y = blaming(who, [&] { return weight_->forward(x); });
  if (!y.defined() || y.dim() != x.dim() || y.size(-1) != shape_.out || y.numel() / std::max<int64_t>(1, shape_.out) != x.numel() / shape_.in)
    throw std::runtime_error(fmt::format("{}: forward returns [{}] for [{}]; its last axis must be {}, the others unchanged", who(),
                                         y.defined() ? fmt::format("{}", fmt::join(y.sizes(), ", ")) : "nothing", fmt::join(x.sizes(), ", "), shape_.out));
  return bias_.defined() ? y + bias_ : y;
}

std::vector<Param> Linear::params() const {
  std::vector<Param> all = weight_->params();
  for (Param& param : all)
    if (param.role == Role::kMatrix) param.rows_per_head = rows_per_head_;
  if (bias_.defined()) all.push_back({shape_.name + ".bias", bias_, Role::kVector, std::nullopt});
  return all;
}

}  // namespace tersor
