// The memory of a step, found by running it: on meta tensors to plan, or on real ones to measure.
//
//   const StepMemory planned = step_memory(config, shapes);     // shapes_of(config): nothing is allocated
//   const StepMemory real = step_memory(config, *build_model(config));
#pragma once

#include "core/memory/ledger.h"
#include "core/train/run_config.h"
#include "core/train/teachers.h"

namespace tersor {

// Covers all tensors, including the model's weights; the program itself comes on top.
struct StepMemory {
  MemoryPeak first;  // with what happens rarely: bases are found, and whole gradients are needed
  MemoryPeak usual;

  [[nodiscard]] const MemoryPeak& largest() const { return first.whole.total > usual.whole.total ? first : usual; }
};

// Makes an optimizer for the model and takes two steps, of as many micro-batches as a step of the run has but at most two per
// process: a third takes no more memory than the second.
[[nodiscard]] StepMemory step_memory(const RunConfig& config, Llama& model, Processes processes = {});

// Takes one step on arbitrary tokens with a learning rate of 0.
void take_step(const RunConfig& config, Llama& model, Optimizer& optimizer, int64_t micro_batches, int64_t step, const Teachers* teachers = nullptr);

}  // namespace tersor
