// What a run will do and need, stage by stage: a stage ends when an action of the timeline changes the model or the batch.
//
//   const RunPlan plan = plan_run(config);          // nothing is allocated
//   plan.largest().memory.peak();  plan.flops();
//
// Not modeled: what pruning does to weights, and the memory that an action itself takes.
//
// Compute per token: 6 · active parameters for the products with weights, forward and backward, and 6 · blocks · q · (L + 1) for
// those of attention, in which a token sees (L + 1)/2 tokens on average (q: width of all heads together, L: sequence_length).
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
  double weight_flops = 0;     // per token; with the forward passes of teachers
  double attention_flops = 0;  // per token; likewise
  MemoryPlan memory;
};

struct PlannedAction {
  std::string name;
  std::vector<int64_t> steps;
};

// How often a rule that works in a subspace needs whole gradients.
struct WholeGradients {
  std::string rule;
  int64_t steps = 0;
  bool at_most = false;    // refreshes are lazy: how many are skipped depends on the gradients
  bool staggered = false;  // parameters refresh at different steps
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

// The first step of a run with this many parameters. Its `shifted` gives any other, while neither they nor the batch change.
[[nodiscard]] Progress first_step(const RunConfig& config, int64_t active_parameters);

// Passes over each token: 1, plus the share of a step's last micro-batch if it runs twice.
[[nodiscard]] double passes(const RunConfig& config);

[[nodiscard]] RunPlan plan_run(const RunConfig& config);

// FLOPs of training on one token with a model of this depth.
[[nodiscard]] double flops_per_token(RunConfig config, int64_t blocks);

}  // namespace tersor
