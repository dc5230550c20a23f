#include "kernels/linear_cross_entropy.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <numeric>

#include "core/base/error.h"
#include "kernels/on_gpu.h"
#include "kernels/on_host.h"
#include "kernels/scalar_math.h"
#include "kernels/vectorize.h"

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

// Returns −log softmax[target] of a row of logits; if wanted, turns the row into scale · (softmax − one-hot) in place.
template <class T>
TERSOR_INLINE Exact<T> row_loss(T* logits, int64_t size, int64_t target, Exact<T> scale, bool gradients) {
  const Exact<T> largest = lane_max<Exact<T>>(size, [=](int64_t i) { return to_exact(logits[i]); });
  const Exact<T> sum = lane_sum<Exact<T>>(size, [=](int64_t i) { return exponential(to_exact(logits[i]) - largest); });
  const Exact<T> picked = to_exact(logits[target]);
  if (gradients) {
    const Exact<T> each = scale / sum;
    for (int64_t i = 0; i < size; ++i) store(logits[i], each * exponential(to_exact(logits[i]) - largest));
    store(logits[target], scale * (std::exp(picked - largest) / sum - 1));
  }
  return std::log(sum) + largest - picked;
}

template <class T>
TERSOR_VECTORIZED Exact<T> loss_of_row(T* logits, int64_t size, int64_t target, Exact<T> scale, bool gradients) {
  return row_loss(logits, size, target, scale, gradients);
}

// The same for rows (n, V), where rows without a target become zero; returns the sum of the losses.
double chunk_loss(const at::Tensor& logits, const at::Tensor& targets, double scale, bool gradients) {
  const int64_t size = logits.size(1);
  std::vector<double> losses(static_cast<size_t>(logits.size(0)));
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, logits.scalar_type(), "linear_cross_entropy", [&] {
    auto* rows = logits.data_ptr<scalar_t>();
    const auto* target = targets.const_data_ptr<int64_t>();
    at::parallel_for(0, logits.size(0), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        TERSOR_CHECK(target[i] < size, "target {} of {} classes", target[i], size);
        if (target[i] >= 0)
          losses[static_cast<size_t>(i)] =
              loss_of_row(rows + i * size, size, target[i], static_cast<Exact<scalar_t>>(scale), gradients);
        else if (gradients)
          std::fill_n(rows + i * size, size, scalar_t(0));
      }
    });
  });
  return std::accumulate(losses.begin(), losses.end(), 0.0);
}

// The loss of a chunk on a GPU; it stays there, so that nothing waits for it. NaN if a target is not a class.
at::Tensor chunk_loss_on_gpu(const at::Tensor& logits, const at::Tensor& targets, double scale, bool gradients) {
  const at::Tensor losses = at::empty({logits.size(0)}, logits.options().dtype(at::kDouble));
  gpu::cross_entropy({.type = gpu::number_of(logits), .logits = logits.data_ptr(), .targets = targets.const_data_ptr<int64_t>(), .rows = logits.size(0),
                      .classes = logits.size(1), .scale = static_cast<float>(scale), .gradients = gradients, .losses = losses.data_ptr<double>()},
                     gpu::stream_of(logits));
  return losses.sum();
}

// Returns the sum of the rows' losses with soft targets, in fp64; if wanted, overwrites the logits with scale · its gradients.
at::Tensor soft_loss(const at::Tensor& logits, const at::Tensor& targets, double scale, bool gradients, const SoftTargets& soft, const at::Tensor& q) {
  const bool wide = logits.scalar_type() == at::kDouble;
  const at::Tensor z = wide ? logits : logits.to(at::kFloat);
  const at::Tensor there = targets.ge(0);
  const at::Tensor rows = there.to(z.scalar_type()).unsqueeze(1);  // (n, 1): 0 where there is no target
  const at::Tensor target = targets.clamp_min(0).unsqueeze(1);
  const double t = soft.temperature;
  const at::Tensor log_p = at::log_softmax(z, 1);
  const at::Tensor log_pt = t == 1 ? log_p : at::log_softmax(z / t, 1);
  const at::Tensor hard = log_p.gather(1, target).neg();                             // (n, 1)
  const at::Tensor divergence = at::xlogy(q, q).sub_(q * log_pt).sum({1}, true);  // (n, 1)
  const at::Tensor loss = ((1 - soft.weight) * hard + soft.weight * t * t * divergence) * rows;
  if (gradients) {
    at::Tensor d = log_pt.exp().sub_(q).mul_(soft.weight * t);
    if (soft.weight < 1) {
      d.add_(log_p.exp(), 1 - soft.weight);
      d.scatter_(1, target, d.gather(1, target).sub_(1 - soft.weight));
    }
    logits.copy_(d.mul_(rows).mul_(scale));
  }
  return loss.to(at::kDouble).sum();
}

// d_weight (V, d) ← logitsᵀ·h for the first chunk, and += logitsᵀ·h for later ones. A sum in a wider type is computed in
// parts, because each needs a wide copy of what is added.
void add_product(const at::Tensor& logits, const at::Tensor& h, bool first, at::Tensor& d_weight) {
  constexpr int64_t kPart = 1024;  // rows of d_weight
  if (d_weight.scalar_type() == logits.scalar_type()) {
    at::addmm_out(d_weight, d_weight, logits.t(), h, first ? 0 : 1);  // with a beta of 0, d_weight is not read
    return;
  }
  for (int64_t row = 0; row < d_weight.size(0); row += kPart) {
    const int64_t end = std::min(d_weight.size(0), row + kPart);
    at::Tensor part = d_weight.slice(0, row, end);
    const at::Tensor product = at::mm(logits.slice(1, row, end).t(), h);
    first ? part.copy_(product) : part.add_(product);
  }
}

LossAndGradients forward_and_gradients(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                                       double scale, int64_t chunk, const SoftTargets* soft, bool want_hidden, bool want_weight) {
  const at::ScalarType exact = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  LossAndGradients out{.loss = at::empty({}, hidden.options().dtype(exact))};
  if (want_hidden) out.d_hidden = at::empty_like(hidden);
  const int64_t rows = hidden.size(0);
  const bool several = rows > chunk;
  // One chunk's share of dW is rounded once in any case; a sum of many would lose bits in bf16.
  if (want_weight) out.d_weight = at::empty(weight.sizes(), weight.options().dtype(several ? exact : weight.scalar_type()));
  const at::Tensor buffer = at::empty({std::min(rows, chunk), weight.size(0)}, hidden.options());
  double loss = 0;
  at::Tensor sum = on_host(hidden) && soft == nullptr ? at::Tensor() : at::zeros({}, hidden.options().dtype(at::kDouble));  // of tensor losses
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t end = std::min(rows, begin + chunk);
    const at::Tensor h = hidden.slice(0, begin, end);
    at::Tensor logits = buffer.slice(0, 0, end - begin);
    at::mm_out(logits, h, weight.t());
    const bool gradients = want_hidden || want_weight;
    if (soft != nullptr)
      sum += soft_loss(logits, targets.slice(0, begin, end), scale, gradients, *soft, soft->probabilities(begin, end));
    else if (!on_host(logits))
      sum += chunk_loss_on_gpu(logits, targets.slice(0, begin, end), scale, gradients);
    else if (!logits.is_meta())
      loss += chunk_loss(logits, targets.slice(0, begin, end), scale, gradients);
    if (want_hidden) {
      at::Tensor d_h = out.d_hidden.slice(0, begin, end);
      at::mm_out(d_h, logits, weight);
    }
    if (want_weight) add_product(logits, h, begin == 0, out.d_weight);
  }
  if (sum.defined())
    out.loss.copy_(sum.mul_(scale));
  else if (!out.loss.is_meta())
    out.loss.fill_(loss * scale);
  if (want_weight) out.d_weight = rows > 0 ? out.d_weight.to(weight.scalar_type()) : at::zeros_like(weight);
  return out;
}

class LinearCrossEntropy : public torch::autograd::Function<LinearCrossEntropy> {
 public:
  static Variable forward(AutogradContext* ctx, const Variable& hidden, const Variable& weight,
                          const Variable& targets, double scale, int64_t chunk, const SoftTargets* soft, bool gradients) {
    const at::NoGradGuard no_grad;
    LossAndGradients out =
        forward_and_gradients(hidden.detach(), weight.detach(), targets, scale, chunk, soft,
                              gradients && hidden.requires_grad(), gradients && weight.requires_grad());
    ctx->saved_data["d_hidden"] = out.d_hidden;
    ctx->saved_data["d_weight"] = out.d_weight;
    return out.loss;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list result(7);
    int64_t index = 0;
    for (const char* name : {"d_hidden", "d_weight"}) {
      TERSOR_CHECK(ctx->saved_data.count(name) > 0, "linear_cross_entropy: the backward pass may run only once");
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
                                double scale, int64_t chunk, const SoftTargets* soft) {
  TERSOR_CHECK(hidden.dim() == 2 && weight.dim() == 2 && hidden.size(1) == weight.size(1), "hidden {} x weight {}",
               fmt::join(hidden.sizes(), "x"), fmt::join(weight.sizes(), "x"));
  TERSOR_CHECK(hidden.device() == weight.device() && hidden.device() == targets.device(), "hidden, weight and targets on one device");
  TERSOR_CHECK(targets.dim() == 1 && targets.size(0) == hidden.size(0) && targets.scalar_type() == at::kLong,
               "one int64 target per row");
  TERSOR_CHECK(chunk > 0, "chunk of {} rows", chunk);
  return LinearCrossEntropy::apply(hidden, weight, targets.contiguous(), scale, chunk, soft, at::GradMode::is_enabled());
}

}  // namespace tersor::kernels
