// Weights that are not always there: where several processes have one copy of them together (core/train/scattered_weights.h), a block
// has its own only while it runs, forwards and backwards. Embedding and head, which all processes need in every pass, are always there.
//
// A tensor whose numbers are elsewhere keeps its sizes and its place in autograd's graph; its storage is empty.
#pragma once

#include <functional>
#include <vector>

#include "core/base/param.h"

namespace tersor {

enum class Pass { kForward, kBackward };

class WeightKeeper {
 public:
  virtual ~WeightKeeper() = default;
  // Returns when the weights of a block are there, to stay until it is released. `pass` tells which block is next.
  virtual void fetch(int64_t block, Pass pass) = 0;
  virtual void release(int64_t block) = 0;
  // Gives tensors their memory, whatever is in it, to be filled by all processes alike.
  virtual void hold(const std::vector<PackedPart>& tensors) = 0;
  // Of tensors that are whole on all processes, each keeps its own.
  virtual void shed(const std::vector<PackedPart>& tensors) = 0;
};

// f(x), which reads the weights of a block, now and when its gradient is due. With a null keeper they are always there.
[[nodiscard]] at::Tensor with_weights(WeightKeeper* keeper, int64_t block, const std::function<at::Tensor(const at::Tensor&)>& f,
                                      const at::Tensor& x);

// Whether the numbers of a tensor are here, and their bytes.
[[nodiscard]] inline bool is_here(const at::Tensor& x) { return x.numel() == 0 || x.storage().nbytes() > 0; }
[[nodiscard]] inline int64_t bytes_here(const at::Tensor& x) { return is_here(x) ? static_cast<int64_t>(x.nbytes()) : 0; }

}  // namespace tersor
