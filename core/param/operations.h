// What can be done to a weight at chosen steps, besides updates. A parameterization that supports an operation implements its
// interface; the action of that name (core/timeline) finds it by dynamic_cast and takes care of the optimizer's state.
#pragma once

#include "core/param/parameterization.h"

namespace tersor {

// Slices of a trained tensor, along its slice axis, whose optimizer state must be forgotten.
struct ForgottenSlices {
  std::string param;
  std::vector<int64_t> slices;
};

// LoRA, ReLoRA: the product of the factors moves into the frozen weight, and the factors start afresh. W stays the same.
class Mergeable {
 public:
  virtual ~Mergeable() = default;
  virtual void merge(const RandomStream& random) = 0;
};

// Factors are replaced by balanced ones with the same product: B ← U√Σ, A ← √ΣVᵀ. W stays the same.
class Refactorizable {
 public:
  virtual ~Refactorizable() = default;
  // Returns false, with nothing changed, if the product is zero: its factors would be zero and never learn again.
  virtual bool refactorize() = 0;
};

// SwitchLoRA: some vectors of the factors swap places with candidates. W stays the same.
class VectorSwitching {
 public:
  virtual ~VectorSwitching() = default;
  // `expected` is how many vectors of each factor are to be switched on average; their counterparts are frozen for `freeze` steps,
  // this one included. Call once per step, before its gradients. Returns what the optimizer must forget.
  virtual std::vector<ForgottenSlices> switch_vectors(double expected, int64_t freeze, const RandomStream& random) = 0;
};

// Sparse weights: entries are removed, or all are brought back.
class Prunable {
 public:
  virtual ~Prunable() = default;
  // |w| of the remaining entries, 1-D fp32; one number per structure where only whole structures (blocks) can be removed.
  [[nodiscard]] virtual at::Tensor magnitudes() const = 0;
  // Keeps the entries where `kept` (of the shape of `magnitudes`, bool) is true. Returns, for each number now trained, its
  // index among those trained before, which the optimizer needs to carry its state over.
  virtual at::Tensor prune(const at::Tensor& kept) = 0;
  // Trains every entry again, removed ones from zero. Returns what `prune` does, with −1 for entries brought back.
  virtual at::Tensor densify() = 0;
  // Share of W's entries that remain.
  [[nodiscard]] virtual double density() const = 0;
};

}  // namespace tersor
