#include "kernels/linear_cross_entropy.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "core/base/error.h"

namespace tersor::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

struct LossAndGradients {
  at::Tensor loss;      // ()
  at::Tensor d_hidden;  // (N, d) or undefined
  at::Tensor d_weight;  // (V, d) or undefined
};

// Turns logits (n, V) into d loss / d logits in place; returns the summed loss of the chunk, unscaled.
at::Tensor chunk_loss(at::Tensor& logits, const at::Tensor& targets, double scale, bool gradients) {
  const at::Tensor counted = targets.ge(0);                     // (n)
  const at::Tensor safe = targets.clamp_min(0).unsqueeze(1);    // (n, 1)
  const at::Tensor log_sum = at::logsumexp(logits, {1}, true);  // (n, 1)
  const at::Tensor picked = logits.gather(1, safe);             // (n, 1)
  const at::Tensor weights = counted.unsqueeze(1).to(logits.scalar_type());
  const at::Tensor loss = ((log_sum - picked) * weights).sum();
  if (gradients) {
    logits.sub_(log_sum).exp_();
    logits.scatter_add_(1, safe, at::full_like(picked, -1));
    logits.mul_(weights * scale);
  }
  return loss;
}

LossAndGradients forward_and_gradients(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                                       double scale, int64_t chunk, bool want_hidden, bool want_weight) {
  const at::ScalarType exact = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  LossAndGradients out{.loss = at::zeros({}, hidden.options().dtype(exact))};
  if (want_hidden) out.d_hidden = at::empty_like(hidden);
  const int64_t rows = hidden.size(0);
  const bool several = rows > chunk;
  // One chunk's share of dW is rounded once in any case; a sum of many would lose bits in bf16.
  if (want_weight) out.d_weight = at::zeros(weight.sizes(), weight.options().dtype(several ? exact : weight.scalar_type()));
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = std::min(rows, begin + chunk);
    const at::Tensor h = hidden.slice(0, begin, end);
    at::Tensor logits = at::mm(h, weight.t()).to(exact);
    out.loss.add_(chunk_loss(logits, targets.slice(0, begin, end), scale, want_hidden || want_weight));
    const at::Tensor d_logits = logits.to(hidden.scalar_type());
    if (want_hidden) {
      at::Tensor d_h = out.d_hidden.slice(0, begin, end);
      at::mm_out(d_h, d_logits, weight);
    }
    if (!want_weight) continue;
    if (out.d_weight.scalar_type() == d_logits.scalar_type())
      out.d_weight.addmm_(d_logits.t(), h);
    else
      out.d_weight.add_(at::mm(d_logits.t(), h));
  }
  out.loss.mul_(scale);
  if (want_weight) out.d_weight = out.d_weight.to(weight.scalar_type());
  return out;
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& hidden, const Variable& weight,
                          const Variable& targets, double scale, int64_t chunk, bool gradients) {
    const at::NoGradGuard no_grad;
    LossAndGradients out =
        forward_and_gradients(hidden.detach(), weight.detach(), targets, scale, chunk,
                              gradients && hidden.requires_grad(), gradients && weight.requires_grad());
    ctx->saved_data["d_hidden"] = out.d_hidden;
    ctx->saved_data["d_weight"] = out.d_weight;
    return out.loss;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list result(6);
    int64_t index = 0;
    for (const char* name : {"d_hidden", "d_weight"}) {
      TERSOR_CHECK(ctx->saved_data.count(name) > 0, "linear_cross_entropy: the backward pass may run once");
      const c10::IValue saved = std::move(ctx->saved_data[name]);
      ctx->saved_data.erase(name);
      at::Tensor gradient = saved.isTensor() ? saved.toTensor() : at::Tensor();
      if (gradient.defined()) result[static_cast<size_t>(index)] = gradient.mul_(grads[0].to(gradient.scalar_type()));
      ++index;
    }
    return result;
  }
};

}  // namespace

at::Tensor linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                                double scale, int64_t chunk) {
  TERSOR_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1), "hidden {} x weight {}",
               fmt::join(hidden.sizes(), "x"), fmt::join(weight.sizes(), "x"));
  TERSOR_CHECK(targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kLong,
               "one int64 target a row");
  TERSOR_CHECK(chunk > 0, "chunk of {} rows", chunk);
  return LinearCrossEntropy::apply(hidden, weight, targets, scale, chunk, at::GradMode::is_enabled());
}

}  // namespace tersor::kernels
