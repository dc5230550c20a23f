#include "core/model/recompute.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

namespace tersor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

struct Part : torch::CustomClassHolder {
  explicit Part(std::function<at::Tensor(const at::Tensor&)> f) : run(std::move(f)) {}
  std::function<at::Tensor(const at::Tensor&)> run;
};

// `anchor` requires a gradient, so that the part's parameters receive theirs even if x requires none.
class Recomputed : public torch::autograd::Function<Recomputed> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, const Variable& /*anchor*/, const c10::intrusive_ptr<Part>& part) {
    ctx->save_for_backward({x});
    ctx->saved_data["part"] = c10::IValue::make_capsule(part);
    ctx->saved_data["needs_x"] = x.requires_grad();
    const at::NoGradGuard no_grad;
    return part->run(x);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const auto part = c10::static_intrusive_pointer_cast<Part>(ctx->saved_data["part"].toCapsule());
    const at::Tensor x = ctx->get_saved_variables()[0].detach().requires_grad_(ctx->saved_data["needs_x"].toBool());
    at::Tensor y;
    {
      const at::AutoGradMode grad_mode(true);
      y = part->run(x);
    }
    if (!y.requires_grad()) return {Variable(), Variable(), Variable()};  // the whole part is frozen
    torch::autograd::backward({y}, {grads[0]});
    return {x.grad(), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor recompute(const std::function<at::Tensor(const at::Tensor&)>& part, const at::Tensor& x) {
  if (!at::GradMode::is_enabled()) return part(x);
  const at::Tensor anchor = at::empty({0}, x.options().requires_grad(false)).requires_grad_(true);
  return Recomputed::apply(x, anchor, c10::make_intrusive<Part>(part));
}

}  // namespace tersor
