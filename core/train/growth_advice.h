// When a model could be grown from a shallower one, by the guideline of G_stack (core/growth/growth.h), and what growth saves.
#pragma once

#include "core/train/run_plan.h"

namespace tersor {

struct GrowthAdvice {
  int64_t factor = 0;    // 0: the depth has no divisor that is near the best
  int64_t from = 0;      // blocks
  double tokens = 0;     // of the small model
  bool bounded = false;  // by a tenth of the run, because the guideline says more
  double saved = 0;      // share of the compute of the deep model on as many tokens
};

[[nodiscard]] GrowthAdvice advise_growth(const RunConfig& config, const RunPlan& plan);

[[nodiscard]] bool grows(const RunPlan& plan);
// Of the compute of the last stage's model on as many tokens.
[[nodiscard]] double saved_by_growth(const RunPlan& plan);

}  // namespace tersor
