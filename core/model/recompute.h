// Activation recomputation: a part of the network keeps only its input and runs again when its gradient is needed.
// Chen et al. 2016, arXiv:1604.06174
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <functional>

#include "core/config/fields.h"

namespace tersor {

// Which parts of every block run again.
enum class Recompute { kNone, kAttention, kMlp, kBlock };
template <>
struct EnumNames<Recompute> {
  static constexpr std::array values{std::pair{Recompute::kNone, std::string_view("none")},
                                     std::pair{Recompute::kAttention, std::string_view("attention")},
                                     std::pair{Recompute::kMlp, std::string_view("mlp")},
                                     std::pair{Recompute::kBlock, std::string_view("block")}};
};

// Returns part(x), keeping only x for the backward pass. Whatever `part` reads must not change before then, and running it again
// must give the same result. The gradients of parameters arrive as they would without recomputation.
[[nodiscard]] at::Tensor recompute(const std::function<at::Tensor(const at::Tensor&)>& part, const at::Tensor& x);

}  // namespace tersor
