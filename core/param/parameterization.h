// How one logical weight W (out, in) is stored, trained and applied: dense, factored, sparse, …
//
//   auto weight = choice.build(WeightShape{.name = "model.layers.0.mlp.up_proj", .out = 1376, .in = 512, …});
//   y = weight->forward(x);
//
// All that changes during training is in `params` or `kept`, so that checkpoints need no more. What can be done to a weight
// at chosen steps, besides updates, it says by the interfaces of operations.h. Before a run core/train/check_methods.h tries that on a
// small weight.
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
  uint64_t seed = 0;  // all that a weight draws follows from it and the name, as every process builds its own
};

// The sizes of a saved tensor of this weight, named without the weight's own name ("values"); nothing when there is none.
using SavedSizes = std::function<std::optional<std::vector<int64_t>>(const std::string& part)>;

class Parameterization : public torch::nn::Module {
 public:
  // (…, in) → (…, out)
  [[nodiscard]] virtual at::Tensor forward(const at::Tensor& x) = 0;
  // The W (out, in) that `forward` applies: for exports, growth and tests.
  [[nodiscard]] virtual at::Tensor materialize() const = 0;
  // Takes the representable weight nearest to `w` (out, in).
  virtual void assign(const at::Tensor& w) = 0;
  // The trained tensors, under full names: "model.layers.0.mlp.up_proj.A".
  [[nodiscard]] virtual std::vector<Param> params() = 0;

  // What a checkpoint holds besides `params`, under full names: frozen weights, masks, pools, counters.
  [[nodiscard]] virtual std::vector<PackedPart> kept() const { return {}; }
  // What follows from those and is not saved, but takes memory as long as the weight lives.
  [[nodiscard]] virtual std::vector<PackedPart> derived() const { return {}; }
  // Before saved tensors are copied in: takes their sizes on, where sizes change during training.
  virtual void resize_like(const SavedSizes&) {}
  // After saved tensors were copied in: whatever follows from them.
  virtual void restored() {}

  // Numbers that take part in a product: of training compute and the mean size of a model that changes on the way.
  [[nodiscard]] virtual int64_t num_active();

  // Whether forward(x) is x·Wᵀ for some W. Where it is not, `materialize` throws a UserError.
  [[nodiscard]] virtual bool linear() const { return true; }
};

using ParameterizationRegistry = Registry<Parameterization, const WeightShape&>;
[[nodiscard]] ParameterizationRegistry& parameterizations();

// What the dense weight of this name begins with: normal, of standard deviation init_std.
[[nodiscard]] at::Tensor initial_weight(const WeightShape& shape, at::ScalarType type);

// The tensors of a checkpoint: params as they rest, then what is kept.
[[nodiscard]] std::vector<PackedPart> tensors_of(Parameterization& weight);
// Copies all that `from` holds into `to`, which is of the same kind and shape.
void copy_weight(Parameterization& from, Parameterization& to);

}  // namespace tersor
