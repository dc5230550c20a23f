// When to grow a model from a shallower one, by the guideline of G_stack (core/growth/growth.h), and what growth saves.
#pragma once

#include "core/train/run_plan.h"

namespace tersor {

struct GrowthAdvice {
  int64_t factor = 0;    // 0: the depth has no divisor near the best factor
  int64_t from = 0;      // blocks of the small model
  double tokens = 0;     // to train the small model on
  bool bounded = false;  // capped at a tenth of the run; the guideline says more
  double saved = 0;      // share of what the deep model's compute would be on as many tokens
};

[[nodiscard]] GrowthAdvice advise_growth(const RunConfig& config, const RunPlan& plan);

[[nodiscard]] bool grows(const RunPlan& plan);
// As a share of what the compute of the last stage's model would be on as many tokens.
[[nodiscard]] double saved_by_growth(const RunPlan& plan);

}  // namespace tersor
