// The memory of a run, worked out on a model without numbers before anything is allocated.
//
// Weights and optimizer state are exact: they are those of the model and the optimizer that the run would build. Gradients are
// exact for what is added up. Activations, workspace and the peak are estimates, by the formulas below, of what LibTorch's
// autograd keeps of one micro-batch of T tokens; tests hold them against measurements. The program itself (LibTorch's
// libraries, the data) comes on top.
//
//   e: bytes of a number (4 or 2), d: hidden_size, q: width of all heads, k: of all key heads (q where they are repeated),
//   f: intermediate_size, h: heads, V: vocab_size, c: loss_chunk or T, whichever is less; fp32 statistics throughout
//
//   norms       blocks · 2 · T · (12·d + 4)        fp32: input, normalized, scaled, 1/rms    bf16: (4 + 2·e)·d + 4
//               and of the last norm 8·d + 4 (bf16: (4 + e)·d + 4)
//   attention   blocks · T · ((2·q + 2·k)·e + 4·h)     queries, keys, values, output; log-sums of the softmax
//   mlp         blocks · T · 4·f·e                     gate, its SiLU, up, their product
//   factors     T · r·e for every factored weight      between its factors
//   loss        c · 8·V + T · 2·d·e                     logits and what the softmax makes of them; hidden states and their gradient
#pragma once

#include "core/train/run_config.h"

namespace tersor {

struct WeightBytes {
  std::string role;  // of Param; "kept" is what is not trained
  std::string part;  // as the parameterization calls it
  int64_t tensors = 0;
  int64_t numbers = 0;
  int64_t bytes = 0;
};

struct StateBytes {
  std::string rule;
  std::string slot;
  std::string format;
  bool host = false;  // in host memory on any device
  int64_t tensors = 0;
  int64_t bytes = 0;
};

struct GradientBytes {
  int64_t most = 0;     // added up and held at the same time, on steps whose gradients must be whole; the first is one
  int64_t usual = 0;    // on others
  int64_t largest = 0;  // one as the backward pass makes it
  int64_t head = 0;     // that of the output matrix, which the forward pass makes
};

struct ActivationBytes {
  int64_t norms = 0;
  int64_t attention = 0;
  int64_t mlp = 0;
  int64_t factors = 0;
  int64_t loss = 0;
  int64_t backward = 0;  // what the backward pass of one block needs besides
  [[nodiscard]] int64_t saved() const { return norms + attention + mlp + factors; }
};

struct MemoryPlan {
  std::vector<WeightBytes> weights;
  std::vector<StateBytes> state;
  GradientBytes gradients;
  ActivationBytes activations;
  int64_t update = 0;    // workspace of the largest update, factorizations included
  bool adds_up = false;  // several micro-batches: gradients are held while the next runs

  [[nodiscard]] int64_t weight_bytes() const;
  [[nodiscard]] int64_t state_bytes() const;
  // The numbers of a checkpoint; headers and texts are some hundred bytes a tensor.
  [[nodiscard]] int64_t checkpoint_bytes() const { return weight_bytes() + state_bytes(); }
  [[nodiscard]] int64_t peak() const;
};

// `shapes` is on the meta device. UserError where a group or rule does not go with the model.
[[nodiscard]] MemoryPlan plan_memory(const RunConfig& config, const Llama& shapes);

}  // namespace tersor
