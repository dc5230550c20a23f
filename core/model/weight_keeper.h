// Weights that are not always present: where processes share one copy of the weights (core/train/scattered_weights.h), those of a block
// are present only while it runs, forward or backward. Embedding and head, which every process needs in every pass, always are.
//
// A tensor whose data is elsewhere keeps its sizes and its place in autograd's graph; its storage is empty.
#pragma once

#include <functional>
#include <vector>

#include "core/base/param.h"

namespace tersor {

enum class Pass { kForward, kBackward };

class WeightKeeper {
 public:
  virtual ~WeightKeeper() = default;
  // Returns once the weights of a block are present; they stay until it is released. `pass` tells which block is next.
  virtual void fetch(int64_t block, Pass pass) = 0;
  virtual void release(int64_t block) = 0;
  // Allocates the memory of tensors, uninitialized, for all processes to fill with the same values.
  virtual void hold(const std::vector<PackedPart>& tensors) = 0;
  // Of tensors that are whole on all processes, each process keeps only those that it owns.
  virtual void shed(const std::vector<PackedPart>& tensors) = 0;
};

// Returns f(x), which reads the weights of a block, now and in the backward pass. With a null keeper they are always present.
[[nodiscard]] at::Tensor with_weights(WeightKeeper* keeper, int64_t block, const std::function<at::Tensor(const at::Tensor&)>& f,
                                      const at::Tensor& x);

// Whether a tensor's data is in this process, and its bytes there.
[[nodiscard]] inline bool is_here(const at::Tensor& x) { return x.numel() == 0 || x.storage().nbytes() > 0; }
[[nodiscard]] inline int64_t bytes_here(const at::Tensor& x) { return is_here(x) ? static_cast<int64_t>(x.nbytes()) : 0; }

}  // namespace tersor
