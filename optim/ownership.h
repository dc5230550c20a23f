// Which process updates which parameter, where several train together.
#pragma once

#include "core/base/param.h"
#include "core/config/fields.h"
#include "core/dist/communicator.h"

namespace tersor {

// What one process alone holds, the others doing without (Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054).
enum class Shard {
  kNone,       // nothing: every process has all weights, gradients and state
  kStates,     // the moments of the parameters that it owns (stage 1)
  kGradients,  // and their gradients, each micro-batch's going to the owner as it arises (stage 2)
  kWeights,    // and the weights, which come to all for as long as a block of the network runs (stage 3)
};

template <>
struct EnumNames<Shard> {
  static constexpr std::array values{std::pair{Shard::kNone, std::string_view("none")},
                                     std::pair{Shard::kStates, std::string_view("states")},
                                     std::pair{Shard::kGradients, std::string_view("gradients")},
                                     std::pair{Shard::kWeights, std::string_view("weights")}};
};

[[nodiscard]] inline std::string shard_name(Shard shard) {
  for (const auto& [value, name] : EnumNames<Shard>::values)
    if (value == shard) return std::string(name);
  return "";
}

// The processes that train together, and what each holds.
struct Processes {
  Communicator* comm = &alone();
  Shard shard = Shard::kNone;
};

// The owner of each of things of these sizes: the largest first, each to the process with the least so far. The same on all
// processes.
[[nodiscard]] std::vector<int> assign_owners(const std::vector<int64_t>& sizes, int processes);
// Of whole parameters, by how many numbers they have.
[[nodiscard]] std::vector<int> assign_owners(const std::vector<Param>& params, int processes);

// Whether, with Shard::kWeights, a tensor rests at its owner alone. What is small rests everywhere.
[[nodiscard]] inline bool rests_at_owner(const at::Tensor& x) {
  constexpr int64_t kSmall = 1 << 14;  // numbers of a vector
  return x.dim() > 1 || x.numel() > kSmall;
}

}  // namespace tersor
