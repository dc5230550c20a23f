// Weights that are not always there: where several processes have one copy of them together (core/train/scattered_weights.h), a part
// of the network has its own only while it runs, forwards and backwards.
//
// The parts of a decoder are its embedding, its blocks and its head, counted from 0. A tensor whose numbers are elsewhere keeps its sizes
// and its place in autograd's graph; its storage is empty.
#pragma once

#include <functional>
#include <vector>

#include "core/base/param.h"

namespace tersor {

enum class Pass { kForward, kBackward };

class WeightKeeper {
 public:
  virtual ~WeightKeeper() = default;
  // Returns when the weights of a part are there, to stay until as many calls of `release`. `pass` tells which part may be next.
  virtual void fetch(int64_t part, Pass pass) = 0;
  virtual void release(int64_t part) = 0;
  // Gives tensors their memory, whatever is in it, to be filled by all processes alike.
  virtual void hold(const std::vector<PackedPart>& tensors) = 0;
  // Of tensors that are whole on all processes, each keeps its own.
  virtual void shed(const std::vector<PackedPart>& tensors) = 0;
};

// The weights of a part are there for as long as it lives. A null keeper is one whose weights are always there.
class WeightsOf {
 public:
  WeightsOf(WeightKeeper* keeper, int64_t part) : keeper_(keeper), part_(part) {
    if (keeper_ != nullptr) keeper_->fetch(part_, Pass::kForward);
  }
  ~WeightsOf() {
    if (keeper_ != nullptr) keeper_->release(part_);
  }
  WeightsOf(const WeightsOf&) = delete;
  WeightsOf& operator=(const WeightsOf&) = delete;

 private:
  WeightKeeper* keeper_;
  int64_t part_;
};

// f(x), which reads the weights of a part, now and when its gradient is due.
[[nodiscard]] at::Tensor with_weights(WeightKeeper* keeper, int64_t part, const std::function<at::Tensor(const at::Tensor&)>& f,
                                      const at::Tensor& x);

// Whether the numbers of a tensor are here, and their bytes.
[[nodiscard]] inline bool is_here(const at::Tensor& x) { return x.numel() == 0 || x.storage().nbytes() > 0; }
[[nodiscard]] inline int64_t bytes_here(const at::Tensor& x) { return is_here(x) ? static_cast<int64_t>(x.nbytes()) : 0; }

}  // namespace tersor
