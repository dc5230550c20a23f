// A trained tensor as the optimizer sees it.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/rng.h"

namespace tersor {

// What a tensor is to the network: parameter groups match on it, and rules refuse by it.
enum class Role { kMatrix, kFactor, kSparse, kVector, kEmbedding, kHead };

// In the order of the enumerators.
inline constexpr std::array<std::string_view, 6> kRoleNames{"matrix", "factor", "sparse", "vector", "embedding", "head"};
[[nodiscard]] constexpr std::string_view role_name(Role role) { return kRoleNames[static_cast<size_t>(role)]; }

// A weight that does not rest as a floating-point tensor. The parameter's `value` is then only what autograd hangs the
// gradient on, and the optimizer reads and writes the weight here.
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  [[nodiscard]] virtual at::Tensor unpack() const = 0;  // fp32, of the parameter's shape
  virtual void pack(const at::Tensor& weight, const RandomStream& random) = 0;
  // What is kept, by name: for checkpoints and memory plans.
  [[nodiscard]] virtual std::vector<std::pair<std::string, at::Tensor>> parts() const = 0;
};

struct Param {
  std::string name;    // unique, in Hugging Face's naming: "model.layers.0.mlp.up_proj.weight"
  at::Tensor value;    // the leaf itself; requires_grad
  Role role = Role::kMatrix;
  std::optional<int64_t> slice_axis;  // axis whose slices may be reset on their own
  std::shared_ptr<PackedWeight> packed = nullptr;
};

}  // namespace tersor
