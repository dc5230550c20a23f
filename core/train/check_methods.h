// Parameterizations may come from plugins, so each is checked before a run against the contract in core/param/parameterization.h. A
// violation would otherwise show only as a checkpoint that cannot be resumed, an export of a different model, or weights that never learn.
#pragma once

#include "core/train/run_config.h"

namespace tersor {

// Throws UserError, naming the weight, if a weight's names, tensors or values are inconsistent.
void check_parameterizations(const RunConfig& config);

// Checks one fp32 weight. `build` makes a different one for each seed; `who` is what messages call it.
using BuildWeight = std::function<std::unique_ptr<Parameterization>(uint64_t seed)>;
void check_weight(const std::string& who, const WeightShape& shape, const BuildWeight& build);

}  // namespace tersor
