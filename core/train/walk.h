// Goes through a run as the trainer does, on the meta device: at which steps each action is due, and what the model and the
// settings are in between. Pruning is not followed, as the resulting sizes depend on the values of weights.
#pragma once

#include "core/train/run_config.h"

namespace tersor {

struct WalkVisitor {
  // The model and the settings from this step on; called for the first step, and whenever something changes.
  std::function<void(int64_t first_step, Llama& shapes, const LiveSettings& settings)> stage = [](int64_t, Llama&, const LiveSettings&) {};
  // An action of the timeline, given by its index in the configuration, is due.
  std::function<void(size_t action, int64_t step)> due = [](size_t, int64_t) {};
};

// Throws UserError if an action would find nothing to act on, or would make settings invalid.
void walk_run(const RunConfig& config, const WalkVisitor& visitor);

}  // namespace tersor
