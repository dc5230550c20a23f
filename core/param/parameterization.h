// How one logical weight W (out, in) is stored, trained and applied: dense, factored, sparse, …
//
//   auto weight = choice.build(WeightShape{.name = "model.layers.0.mlp.up_proj", .out = 1376, .in = 512, …});
//   y = weight->forward(x);
//
// Everything that changes during training is in `params` or `kept`, so that checkpoints need nothing else. Before a run,
// core/train/check_methods.h checks this contract on a small weight. Operations that a weight supports at chosen steps, besides
// updates, are declared by implementing the interfaces of operations.h.
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
  uint64_t seed = 0;  // with the name it determines all that a weight draws, as every process builds its own
};

// The sizes of a saved tensor of this weight, named without the weight's own name ("values"); nullopt if there is none.
using SavedSizes = std::function<std::optional<std::vector<int64_t>>(const std::string& part)>;

class Parameterization : public torch::nn::Module {
 public:
  // (…, in) → (…, out)
  [[nodiscard]] virtual at::Tensor forward(const at::Tensor& x) = 0;
  // The W (out, in) that `forward` applies: for exports, growth and tests.
  [[nodiscard]] virtual at::Tensor materialize() const = 0;
  // Sets the weight to the representable one nearest to `w` (out, in).
  virtual void assign(const at::Tensor& w) = 0;
  // The trained tensors, under full names: "model.layers.0.mlp.up_proj.A".
  [[nodiscard]] virtual std::vector<Param> params() = 0;

  // What a checkpoint holds besides `params`, under full names: frozen weights, masks, pools, counters.
  [[nodiscard]] virtual std::vector<PackedPart> kept() const { return {}; }
  // What is derived from those and not saved, but takes memory as long as the weight lives.
  [[nodiscard]] virtual std::vector<PackedPart> derived() const { return {}; }
  // Called before saved tensors are copied in: adopts their sizes, where sizes change during training.
  virtual void resize_like(const SavedSizes&) {}
  // Called after saved tensors were copied in: recomputes whatever is derived from them.
  virtual void restored() {}

  // How many numbers take part in products: for training compute, and for the mean size of a model that changes during a run.
  [[nodiscard]] virtual int64_t num_active();

  // Whether forward(x) is x·Wᵀ for some W. If not, `materialize` throws a UserError.
  [[nodiscard]] virtual bool linear() const { return true; }
};

using ParameterizationRegistry = Registry<Parameterization, const WeightShape&>;
[[nodiscard]] ParameterizationRegistry& parameterizations();

// The initial value of the dense weight of this name: normal, with standard deviation init_std.
[[nodiscard]] at::Tensor initial_weight(const WeightShape& shape, at::ScalarType type);

// The tensors of a checkpoint: params as stored, then what is kept.
[[nodiscard]] std::vector<PackedPart> tensors_of(Parameterization& weight);
// Copies everything that `from` holds into `to`, which has the same kind and shape.
void copy_weight(Parameterization& from, Parameterization& to);

}  // namespace tersor
