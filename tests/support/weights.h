// Parameterized weights for tests, by name or with options: "low_rank", "{type: low_rank, rank: 2}".
#pragma once

#include "core/param/operations.h"
#include "kernels/fill_normal.h"
#include "optim/optimizer.h"

namespace tersor::testing {

inline at::Tensor normal_double(at::IntArrayRef shape, const std::string& name) {
  const at::Tensor x = at::empty(shape, at::kDouble);
  kernels::fill_normal(x, 1, random_stream(1, name));
  return x;
}

inline WeightShape weight_shape(int64_t out, int64_t in, const at::TensorOptions& options = at::kDouble) {
  return {.name = "w", .out = out, .in = in, .options = options, .init_std = 0.5, .seed = 3};
}

inline std::unique_ptr<Parameterization> make_weight(const std::string& text, const WeightShape& shape) {
  Diagnostics out;
  Choice<parameterizations> choice;
  choice.read(*parse_config("method: " + text, "test", out).find("method"), out);
  out.throw_if_any();
  return choice.build(shape);
}

// Adds normal noise to everything trained, so that initial zeros hide nothing.
inline void disturb(Parameterization& weight, double std = 1) {
  for (const Param& param : weight.params()) {
    if (param.packed) continue;
    at::Tensor noise = at::empty(param.value.sizes(), param.value.options().requires_grad(false));
    kernels::fill_normal(noise, std, random_stream(2, param.name));
    param.value.detach().add_(noise);
  }
}

inline at::Tensor part_of(Parameterization& weight, const std::string& name) {
  for (const PackedPart& part : tensors_of(weight))
    if (part.name == name) return part.value;
  throw std::out_of_range(name);
}

// AdamW over the trained tensors of one weight.
inline std::unique_ptr<Optimizer> adamw_for(Parameterization& weight, const std::string& state = "fp32", const std::string& more = "") {
  Diagnostics out;
  OptimizerConfig config;
  read_fields(config, parse_config(fmt::format("{{groups: [{{match: any, rule: adamw, state: {}}}]{}}}", state, more), "test", out), out);
  out.throw_if_any();
  return std::make_unique<Optimizer>(weight.params(), config, 1);
}

// MiB that training takes with AdamW and everything in bf16: weights, gradients, moments; the parts whose names contain `host`
// are left out.
inline double mebibytes(const std::string& method, int64_t out, int64_t in, const std::string& host = "nothing") {
  const auto weight = make_weight(method, weight_shape(out, in, at::TensorOptions(at::kBFloat16).device(at::kMeta)));
  int64_t bytes = adamw_for(*weight, "bf16")->state().bytes();
  for (const Param& param : weight->params()) bytes += 2 * param.bytes();  // itself and its gradient
  for (const PackedPart& part : weight->kept())
    if (part.name.find(host) == std::string::npos) bytes += static_cast<int64_t>(part.value.nbytes());
  return static_cast<double>(bytes) / (1 << 20);
}

}  // namespace tersor::testing
