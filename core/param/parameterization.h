// How one logical weight W (out, in) is stored, trained and applied: dense, factored, sparse, …
//
//   auto weight = choice.build(WeightShape{.name = "model.layers.0.mlp.up_proj", .out = 1376, .in = 512, …});
//   y = weight->forward(x);
//
// Everything that changes during training is a registered parameter or buffer, so that checkpoints need no more.
#pragma once

#include <torch/nn/module.h>

#include "core/base/param.h"
#include "core/config/registry.h"

namespace tersor {

struct WeightShape {
  std::string name;  // without ".weight"
  int64_t out = 0;
  int64_t in = 0;
  at::TensorOptions options;
  double init_std = 0.02;
  uint64_t seed = 0;
};

class Parameterization : public torch::nn::Module {
 public:
  // (…, in) → (…, out)
  [[nodiscard]] virtual at::Tensor forward(const at::Tensor& x) = 0;
  // The W (out, in) that `forward` applies: for exports, growth and tests.
  [[nodiscard]] virtual at::Tensor materialize() const = 0;
  // Takes the representable weight nearest to `w` (out, in).
  virtual void assign(const at::Tensor& w) = 0;
  [[nodiscard]] virtual std::vector<Param> params() = 0;
};

using ParameterizationRegistry = Registry<Parameterization, const WeightShape&>;
[[nodiscard]] ParameterizationRegistry& parameterizations();

}  // namespace tersor
