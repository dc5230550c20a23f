// The passes and the update of one step, which a run repeats and a plan runs on meta tensors.
#pragma once

#include "core/data/mixture.h"
#include "core/model/llama.h"
#include "core/train/recorded_passes.h"
#include "core/train/teachers.h"
#include "optim/optimizer.h"

namespace tersor {

struct StepInput {
  Progress progress;
  double lr = 0;
  int64_t num_micro_batches = 1;  // of all processes; each runs every size-th, from its rank on
  int64_t num_targets = 1;        // in all of them, without padding
  int64_t loss_chunk = 512;
  const Teachers* teachers = nullptr;
  RecordedPasses* recorded = nullptr;  // null: passes are not recorded
  // Returns the micro-batch with this index, or nothing to abandon the step.
  std::function<std::optional<Batch>(int64_t)> read;
};

struct StepResult {
  double loss = 0;  // mean over the step's targets; with several processes, this one's share of it
  StepOutcome outcome;
  double data_ms = 0;
  double update_ms = 0;  // the optimizer's part after the last backward pass
};

// Returns nothing, with no weight changed, if the step was abandoned.
[[nodiscard]] std::optional<StepResult> training_step(Llama& model, Optimizer& optimizer, const StepInput& input);

}  // namespace tersor
