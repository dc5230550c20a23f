// Parameterizations may come from outside: before a run each is held to what core/param/parameterization.h asks of it, as what breaks it
// would only show as a checkpoint that cannot be gone on from, an export of another model, or weights that never learn.
#pragma once

#include "core/train/run_config.h"

namespace tersor {

// UserError, naming the weight, where names, tensors or values of a weight do not fit together.
void check_parameterizations(const RunConfig& config);

// The same of one weight in fp32, of which `build` makes another with each seed; `who` is what messages call it.
using BuildWeight = std::function<std::unique_ptr<Parameterization>(uint64_t seed)>;
void check_weight(const std::string& who, const WeightShape& shape, const BuildWeight& build);

}  // namespace tersor
