// The passes and the update of one step: what a run does again and again, and a plan once, on tensors without numbers.
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
  int64_t num_micro_batches = 1;  // of all processes; this one runs every size-th, from its rank on
  int64_t num_targets = 1;        // of all of them, padding left out
  int64_t loss_chunk = 512;
  const Teachers* teachers = nullptr;
  RecordedPasses* recorded = nullptr;  // where passes are repeated and not asked for again
  // The micro-batch of an index. Nothing: the step is given up.
  std::function<std::optional<Batch>(int64_t)> read;
};

struct StepResult {
  double loss = 0;  // the mean over the targets of the step; with several processes this one's share of it
  StepOutcome outcome;
  double data_ms = 0;
  double update_ms = 0;  // the optimizer's part after the last backward pass
};

// Nothing, and no weight changed, where the step was given up.
[[nodiscard]] std::optional<StepResult> training_step(Llama& model, Optimizer& optimizer, const StepInput& input);

}  // namespace tersor
