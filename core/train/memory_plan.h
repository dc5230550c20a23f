// The memory of a run, worked out on a model without numbers before anything is allocated.
//
// Weights and optimizer state are those of the model and the optimizer that the run would build, to the byte. What a step takes
// besides is counted by taking the run's own steps on tensors without numbers (core/train/step_memory.h); tests hold it against
// the ledger of real steps. The program itself (LibTorch's libraries, the data) comes on top, and memory that LibTorch's
// libraries of matrix products take for themselves.
#pragma once

#include "core/train/step_memory.h"

namespace tersor {

struct WeightBytes {
  std::string role;  // of Param; "kept" is what is not trained, "derived" what is not saved
  std::string part;  // as the parameterization calls it
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
  // The numbers of a checkpoint; headers and texts are some hundred bytes a tensor.
  [[nodiscard]] int64_t checkpoint_bytes() const;
  [[nodiscard]] int64_t peak() const { return step.largest().whole.total; }
};

// `shapes` is on the meta device. UserError where a group or rule does not go with the model.
[[nodiscard]] MemoryPlan plan_memory(const RunConfig& config, Llama& shapes);

}  // namespace tersor
