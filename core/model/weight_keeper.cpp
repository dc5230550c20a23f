#include "core/model/weight_keeper.h"

#include <torch/csrc/autograd/custom_function.h>

namespace tersor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// An identity that acts in the backward pass: at a block's output it fetches the block's weights, at its input it releases them.
// Autograd runs the newest node first, and all nodes of the block are newer than the one at its input.
class Border : public torch::autograd::Function<Border> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& x, WeightKeeper* keeper, int64_t block, bool enters) {
    ctx->saved_data["keeper"] = reinterpret_cast<int64_t>(keeper);
    ctx->saved_data["block"] = block;
    ctx->saved_data["enters"] = enters;
    return x;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    auto* keeper = reinterpret_cast<WeightKeeper*>(ctx->saved_data["keeper"].toInt());
    const int64_t block = ctx->saved_data["block"].toInt();
    if (ctx->saved_data["enters"].toBool())
      keeper->release(block);
    else
      keeper->fetch(block, Pass::kBackward);
    return {grads[0], Variable(), Variable(), Variable()};
  }
};

}  // namespace

at::Tensor with_weights(WeightKeeper* keeper, int64_t block, const std::function<at::Tensor(const at::Tensor&)>& f, const at::Tensor& x) {
  if (keeper == nullptr) return f(x);
  const bool learns = at::GradMode::is_enabled();
  keeper->fetch(block, Pass::kForward);
  at::Tensor y = learns ? Border::apply(f(Border::apply(x, keeper, block, true)), keeper, block, false) : f(x);
  keeper->release(block);
  return y;
}

}  // namespace tersor
