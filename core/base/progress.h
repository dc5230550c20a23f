// How far a run has come. All schedules and cadences are pure functions of this.
#pragma once

#include <cstdint>

namespace tersor {

// Training compute, forward and backward.    Kaplan et al. 2020, arXiv:2001.08361, section 2.1
[[nodiscard]] constexpr double training_flops(double active_parameters, double tokens) { return 6 * active_parameters * tokens; }

struct Progress {
  int64_t step = 0;           // optimizer steps done; during a step, its number, counted from 1
  int64_t tokens = 0;         // trained tokens up to and including this step
  int64_t tokens_before = 0;  // trained tokens before this step
  int64_t total_steps = 0;
  int64_t total_tokens = 0;
  double flops = 0;           // training compute up to and including this step
  double flops_before = 0;

  // Progress at the next step.
  [[nodiscard]] Progress next(int64_t its_tokens, double its_flops) const {
    return {step + 1, tokens + its_tokens, tokens, total_steps, total_tokens, flops + its_flops, flops};
  }
  // Progress `steps` steps later, or earlier if negative, if all steps are as large as this one.
  [[nodiscard]] Progress shifted(int64_t steps) const {
    const int64_t per_step = tokens - tokens_before;
    const double compute = static_cast<double>(steps) * (flops - flops_before);
    return {step + steps, tokens + steps * per_step, tokens_before + steps * per_step, total_steps, total_tokens,
            flops + compute, flops_before + compute};
  }
};

}  // namespace tersor
