#include "core/train/growth_advice.h"

#include "core/growth/growth.h"

namespace tersor {

GrowthAdvice advise_growth(const RunConfig& config, const RunPlan& plan) {
  const PlannedStage& last = plan.stages.back();
  GrowthAdvice advice{.tokens = stacking_tokens(static_cast<double>(last.parameters), plan.tokens())};
  advice.bounded = advice.tokens >= plan.tokens() / 10;
  for (const int64_t factor : {4, 3, 2})
    if (advice.factor == 0 && last.blocks % factor == 0) advice.factor = factor;
  if (advice.factor == 0) return advice;
  advice.from = last.blocks / advice.factor;
  const double share = flops_per_token(config, advice.from) / (last.weight_flops + last.attention_flops);
  advice.saved = advice.tokens / plan.tokens() * (1 - share);
  return advice;
}

bool grows(const RunPlan& plan) { return plan.stages.back().blocks > plan.stages.front().blocks; }

double saved_by_growth(const RunPlan& plan) {
  const PlannedStage& last = plan.stages.back();
  return 1 - plan.flops() / (plan.passes * plan.tokens() * (last.weight_flops + last.attention_flops));
}

}  // namespace tersor
