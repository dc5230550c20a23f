// Where a run is. All schedules and cadences are pure functions of this.
#pragma once

#include <cstdint>

namespace tersor {

struct Progress {
  int64_t step = 0;           // optimizer steps done; while a step is under way, its number counted from 1
  int64_t tokens = 0;         // trained tokens up to and including this step
  int64_t tokens_before = 0;  // trained tokens before this step
  int64_t total_steps = 0;
  int64_t total_tokens = 0;
  double flops = 0;           // of training up to and including this step: 6 · active parameters · tokens
  double flops_before = 0;

  // As it was, or will be, some steps away.
  [[nodiscard]] Progress shifted(int64_t steps) const {
    const int64_t per_step = tokens - tokens_before;
    const double compute = static_cast<double>(steps) * (flops - flops_before);
    return {step + steps, tokens + steps * per_step, tokens_before + steps * per_step, total_steps, total_tokens,
            flops + compute, flops_before + compute};
  }
};

}  // namespace tersor
