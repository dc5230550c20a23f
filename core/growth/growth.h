// Growth in depth: which old block each block of a deeper model starts from. A schedule sees a depth, never tensors; the
// action `grow` (core/timeline/grow.cpp) copies weights and state.
//
//   growths().find("stack")->build()->sources(2)      // g = 4: 0 1 0 1 0 1 0 1
#pragma once

#include "core/config/registry.h"

namespace tersor {

class GrowthSchedule {
 public:
  virtual ~GrowthSchedule() = default;
  // Entry i is the old block, of 0 … depth − 1, that new block i starts from. Every old block occurs, and the first
  // occurrences are in order. Throws UserError if a model of this depth cannot grow this way.
  [[nodiscard]] virtual std::vector<int64_t> sources(int64_t depth) const = 0;
};

using GrowthRegistry = Registry<GrowthSchedule>;
[[nodiscard]] GrowthRegistry& growths();

// Returns the sources after checking that they are as above. Throws UserError, naming `name`, if they are not.
[[nodiscard]] std::vector<int64_t> checked_sources(const GrowthSchedule& schedule, std::string_view name, int64_t depth);

// True for every entry but the first of each source. If the blocks in those places add nothing, the deeper model computes the
// same function: LLaMA-Pro (Wu et al. 2024, arXiv:2401.02415), G_zero of Du et al.
[[nodiscard]] std::vector<bool> copies(const std::vector<int64_t>& sources);

// How many tokens the small model should be trained on before it is stacked, by the fit of Du et al. 2024, arXiv:2405.15319:
//
//   log10 d = 0.88 · log10 N + 163.27 / log10 C − 5.74        C = 6·N·D
//
// for N parameters of the grown model and D tokens of the whole run. It was fitted to large runs and rises without bound as C
// falls, so d is capped at a tenth of D.
[[nodiscard]] double stacking_tokens(double parameters, double tokens);

}  // namespace tersor
