// What can be done to a weight at chosen steps, besides updates. A parameterization that can do it has the interface; the
// action of that name (core/timeline) finds it by dynamic_cast and looks after the optimizer's state.
#pragma once

#include "core/param/parameterization.h"

namespace tersor {

// Slices of a trained tensor, along its slice axis, of whose past nothing may be remembered.
struct ForgottenSlices {
  std::string param;
  std::vector<int64_t> slices;
};

// LoRA, ReLoRA: the product of the factors moves into the frozen weight, and the factors begin anew. W stays.
class Mergeable {
 public:
  virtual ~Mergeable() = default;
  virtual void merge(const RandomStream& random) = 0;
};

// Factors are replaced by balanced ones of the same product: B ← U√Σ, A ← √ΣVᵀ. W stays.
class Refactorizable {
 public:
  virtual ~Refactorizable() = default;
  // False, with nothing changed, where the product is zero: factors of it would be zero and never learn again.
  virtual bool refactorize() = 0;
};

// SwitchLoRA: some vectors of the factors change places with candidates. W stays.
class VectorSwitching {
 public:
  virtual ~VectorSwitching() = default;
  // `expected` is how many vectors of each factor are to be switched on average; counterparts stand still for `freeze` steps,
  // this one included. To be called once a step, before its gradients. Returns what the optimizer must forget.
  virtual std::vector<ForgottenSlices> switch_vectors(double expected, int64_t freeze, const RandomStream& random) = 0;
};

// Sparse weights: entries leave for good, or all come back.
class Prunable {
 public:
  virtual ~Prunable() = default;
  // |w| of the entries that are left, 1-D fp32; where only whole structures (blocks) can leave, one number a structure.
  [[nodiscard]] virtual at::Tensor magnitudes() const = 0;
  // Keeps the entries where `kept` (of the shape of `magnitudes`, bool) is true. Returns, for each number that is now trained,
  // its place among those trained before: what the optimizer needs to take its state along.
  virtual at::Tensor prune(const at::Tensor& kept) = 0;
  // Trains every entry again, from zero where it had left. Returns as `prune` does, with −1 for entries that came back.
  virtual at::Tensor densify() = 0;
  // Share of W's entries that are left.
  [[nodiscard]] virtual double density() const = 0;
};

}  // namespace tersor
