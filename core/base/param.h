// A trained tensor as the optimizer sees it.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/rng.h"

namespace tersor {

struct PackedPart {
  std::string name;
  at::Tensor value;
  bool idle = false;  // no matrix product reads it
};

// What a tensor is to the network: parameter groups match on it, and update rules may refuse it.
enum class Role { kMatrix, kFactor, kSparse, kVector, kEmbedding, kHead };

// In the order of the enumerators.
inline constexpr std::array<std::string_view, 6> kRoleNames{"matrix", "factor", "sparse", "vector", "embedding", "head"};
[[nodiscard]] constexpr std::string_view role_name(Role role) { return kRoleNames[static_cast<size_t>(role)]; }

// A weight that is not stored as a floating-point tensor. The parameter's `value` then only carries the gradient in
// autograd, and the optimizer reads and writes the weight through this interface.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  [[nodiscard]] virtual at::Tensor unpack() const = 0;  // fp32, of the parameter's shape
  // Rounds stochastically if given a stream, else to nearest.
  virtual void pack(const at::Tensor& weight, const std::optional<RandomStream>& random) = 0;
  // The stored tensors, by name: for checkpoints and memory plans.
  [[nodiscard]] virtual std::vector<PackedPart> parts() const = 0;
};

struct Param {
  std::string name;    // unique, in Hugging Face's naming: "model.layers.0.mlp.up_proj.weight"
  at::Tensor value;    // the leaf itself; requires_grad
  Role role = Role::kMatrix;
  std::optional<int64_t> slice_axis;  // axis whose slices may be reset individually
  std::shared_ptr<PackedWeight> packed = nullptr;
  int64_t rows_per_head = 0;  // of query and key projections: rows of the matrix per head; else 0
  at::Tensor mask = {};  // bool, broadcast over `value`: where false, the weight is not trained; undefined: all of it is

  // The tensors stored in memory and in checkpoints, under full names.
  [[nodiscard]] std::vector<PackedPart> resting() const {
    if (!packed) return {{name, value.detach()}};
    std::vector<PackedPart> all = packed->parts();
    for (PackedPart& part : all) part.name = name + "." + part.name;
    return all;
  }
  [[nodiscard]] int64_t bytes() const {
    int64_t total = 0;
    for (const PackedPart& part : resting()) total += static_cast<int64_t>(part.value.nbytes());
    return total;
  }
};

}  // namespace tersor
