// Where a run is. All schedules and cadences are pure functions of this, so there is nothing else to save.
#pragma once

#include <cstdint>

namespace tersor {

struct Progress {
  int64_t step = 0;           // optimizer steps done; while a step is under way, its number counted from 1
  int64_t tokens = 0;         // trained tokens up to and including this step
  int64_t tokens_before = 0;  // trained tokens before this step
  int64_t total_steps = 0;
  int64_t total_tokens = 0;

  // As it was, or will be, some steps away.
  [[nodiscard]] Progress shifted(int64_t steps) const {
    const int64_t per_step = tokens - tokens_before;
    return {step + steps, tokens + steps * per_step, tokens_before + steps * per_step, total_steps, total_tokens};
  }
};

}  // namespace tersor
