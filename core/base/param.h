// A trained tensor as the optimizer sees it.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace tersor {

// What a tensor is to the network: parameter groups match on it, and rules refuse by it.
enum class Role { kMatrix, kFactor, kSparse, kVector, kEmbedding, kHead };

// In the order of the enumerators.
inline constexpr std::array<std::string_view, 6> kRoleNames{"matrix", "factor", "sparse", "vector", "embedding", "head"};
[[nodiscard]] constexpr std::string_view role_name(Role role) { return kRoleNames[static_cast<size_t>(role)]; }

struct Param {
  std::string name;    // unique, in Hugging Face's naming: "model.layers.0.mlp.up_proj.weight"
  at::Tensor value;    // the leaf itself; requires_grad
  Role role = Role::kMatrix;
  std::optional<int64_t> slice_axis;  // axis whose slices may be reset on their own
};

}  // namespace tersor
