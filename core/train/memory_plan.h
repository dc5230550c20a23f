// The memory of a run, computed on the meta device before anything is allocated.
//
// Weights and optimizer state are those of the model and the optimizer that the run would build, to the byte. What else a step takes
// is counted by running the run's own steps on meta tensors (core/train/step_memory.h); tests compare it with the ledger of real
// steps. The program itself (LibTorch's libraries, the data) and the workspaces of LibTorch's matrix-product libraries come on top.
#pragma once

#include "core/train/step_memory.h"

namespace tersor {

struct WeightBytes {
  std::string role;  // as in Param; "kept": not trained, "derived": not saved
  std::string part;  // the parameterization's name for it
  int64_t tensors = 0;
  int64_t numbers = 0;
  int64_t bytes = 0;
};

struct StateBytes {
  std::string rule;
  std::string slot;
  std::string format;
  bool host = false;  // in host memory, whatever the device
  int64_t tensors = 0;
  int64_t bytes = 0;
};

struct MemoryPlan {
  std::vector<WeightBytes> weights;
  std::vector<StateBytes> state;
  StepMemory step;

  [[nodiscard]] int64_t weight_bytes() const;
  [[nodiscard]] int64_t state_bytes() const;
  // Tensor data of a checkpoint; headers and texts add a few hundred bytes per tensor.
  [[nodiscard]] int64_t checkpoint_bytes() const;
  [[nodiscard]] int64_t peak() const { return step.largest().whole.total; }
};

// `shapes` is on the meta device. Throws UserError if a group or rule does not suit the model.
[[nodiscard]] MemoryPlan plan_memory(const RunConfig& config, Llama& shapes);

}  // namespace tersor
