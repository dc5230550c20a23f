// Which process updates which parameter, when several train together.
#pragma once

#include <algorithm>
#include <functional>

#include "core/base/param.h"
#include "core/config/fields.h"
#include "core/dist/communicator.h"

namespace tersor {

// What only the owner holds, instead of every process (Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054).
enum class Shard {
  kNone,       // nothing: every process has all weights, gradients and state
  kStates,     // the moments of the parameters it owns (stage 1)
  kGradients,  // and their gradients, each micro-batch's sent to the owner as it arises (stage 2)
  kWeights,    // and the weights, which all processes receive while a block of the network runs (stage 3)
};

template <>
struct EnumNames<Shard> {
  static constexpr std::array values{std::pair{Shard::kNone, std::string_view("none")},
                                     std::pair{Shard::kStates, std::string_view("states")},
                                     std::pair{Shard::kGradients, std::string_view("gradients")},
                                     std::pair{Shard::kWeights, std::string_view("weights")}};
};

// The processes that train together, and what each holds.
struct Processes {
  Communicator* comm = &alone();
  Shard shard = Shard::kNone;
};

// Returns the owner of each item, given their sizes: the largest first, each to the process with the least so far. The result is
// the same on all processes. `load` is what each process has, and is updated.
[[nodiscard]] std::vector<int> assign_owners(const std::vector<int64_t>& sizes, std::vector<int64_t>& load);

// What one process updates: a parameter, or rows [begin, end) of it.
struct Piece {
  size_t param = 0;
  int owner = 0;
  int64_t begin = 0;
  int64_t end = 0;  // 0: the whole parameter
};

// Gives whole parameters to owners, the largest first, each to the process that has least. Embedding and head come last: where `by_rows`
// allows it, they are cut by rows so that all processes have about as much. The pieces are in the order of the parameters and their rows.
// `by_rows` is asked only about embedding and head.
[[nodiscard]] std::vector<Piece> divide(const std::vector<Param>& params, int processes, const std::function<bool(size_t param)>& by_rows);

[[nodiscard]] inline bool is_table(const Param& param) { return param.role == Role::kEmbedding || param.role == Role::kHead; }

// How many rows of a matrix are updated at a time, and so are in fp32 during a step. Pieces begin at multiples of it, so that rounding
// draws the same numbers however a matrix is cut.
[[nodiscard]] inline int64_t rows_at_once(int64_t columns) {
  constexpr int64_t kNumbers = 1 << 17;
  return std::max<int64_t>(1, kNumbers / std::max<int64_t>(1, columns));
}

// Whether, with Shard::kWeights, a block's tensor is stored only at its owner. Small tensors are stored everywhere, and so are tables.
[[nodiscard]] inline bool rests_at_owner(const at::Tensor& x) {
  constexpr int64_t kSmall = 1 << 14;  // numbers of a vector
  return x.dim() > 1 || x.numel() > kSmall;
}

}  // namespace tersor
