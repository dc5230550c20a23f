// What a run will do and need, stage by stage: a stage ends where an action of the timeline changes the model or the batch.
//
//   const RunPlan plan = plan_run(config);          // nothing is allocated
//   plan.largest().memory.peak();  plan.flops();
//
// Of what actions do, weights that are pruned are not followed, nor the memory that an action itself takes.
//
// Compute a token: 6 · active parameters for the products with weights, forward and backward, and 6 · blocks · q · (L + 1) for
// those of attention, in which a token sees (L + 1)/2 tokens on average (q: width of all heads, L: sequence_length).
#pragma once

#include "core/train/memory_plan.h"

namespace tersor {

struct PlannedStage {
  int64_t first_step = 1;
  int64_t steps = 0;
  int64_t blocks = 0;
  int64_t parameters = 0;
  int64_t active = 0;
  int64_t micro_batch_size = 0;  // sequences
  int64_t sequence_length = 0;
  int64_t tokens_per_step = 0;
  double weight_flops = 0;     // a token; with the forward passes of teachers
  double attention_flops = 0;  // a token
  MemoryPlan memory;
};

struct PlannedAction {
  std::string name;
  std::vector<int64_t> steps;
};

// How often a rule that works in a subspace needs gradients whole.
struct WholeGradients {
  std::string rule;
  int64_t steps = 0;
  bool at_most = false;    // refreshes are lazy: how many are left out depends on the gradients
  bool staggered = false;  // not all parameters at the same steps
};

struct RunPlan {
  std::vector<PlannedStage> stages;
  std::vector<PlannedAction> actions;
  std::vector<WholeGradients> whole_gradients;
  int64_t steps = 0;
  double passes = 1;  // over each token

  [[nodiscard]] const PlannedStage& largest() const;
  [[nodiscard]] double flops() const;
  [[nodiscard]] double tokens() const;
};

// The first step of a run of this many parameters; `shifted`, any other, as long as neither they nor the batch change.
[[nodiscard]] Progress first_step(const RunConfig& config, int64_t active_parameters);

// Over each token: 1, and what the last micro-batch of a step is of the step where it runs twice.
[[nodiscard]] double passes(const RunConfig& config);

[[nodiscard]] RunPlan plan_run(const RunConfig& config);

// Compute of one token through a model of this depth.
[[nodiscard]] double flops_per_token(RunConfig config, int64_t blocks);

}  // namespace tersor
