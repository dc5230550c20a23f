// Goes through a run as the trainer does, on a model without numbers: which steps each action is due at, and what the model
// and the settings are in between. Of pruning, which changes sizes by numbers, nothing is followed.
#pragma once

#include "core/train/run_config.h"

namespace tersor {

struct WalkVisitor {
  // The model and the settings as they are from this step on; called for the first step, and where something changes.
  std::function<void(int64_t first_step, Llama& shapes, const LiveSettings& settings)> stage = [](int64_t, Llama&, const LiveSettings&) {};
  // An action of the timeline, by its place in the configuration, is due.
  std::function<void(size_t action, int64_t step)> due = [](size_t, int64_t) {};
};

// UserError where an action would find nothing to act on, or would make settings that cannot be.
void walk_run(const RunConfig& config, const WalkVisitor& visitor);

}  // namespace tersor
